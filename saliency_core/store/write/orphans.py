"""Notes while the rows they stand at change: loosened from their rows, attached again, or kept.

A note belongs to a row by its id where a column gives the ids, else by its text and by how many
rows of that text come before; never by a row number. What belongs to no row is an orphan.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from typing import Any

from saliency_core.store.format.chunk_io import run_fact
from saliency_core.store.sqlite_files import SqlRow, by_name
from saliency_core.store.write.annotation_files import add_notes
from saliency_core.store.write.annotations import held_annotations

_LOOSEN = (
    "INSERT INTO orphaned_notes (run, id, id_column, text_id, occurrence, note, proposed_label,"
    " decision, tags, updated)"
    " SELECT e.run, e.id, ?, e.text_id, (SELECT count(*) FROM examples b"
    "  WHERE b.text_id = e.text_id AND b.run = e.run AND b.position < e.position), ?, ?, ?, ?, ?"
    " FROM examples e WHERE e.run = ? AND e.position = ?"
)


def loosen(connection: sqlite3.Connection, run: int) -> None:
    """Take the annotations of a run off their rows, each with what tells its row from the others.

    What they come to is kept, not how they came about: undo begins anew with the new rows.
    """
    held, column = held_annotations(connection, run), id_column(connection, run)
    rows = []
    for position in held.any().tolist():
        one = held.at(position)
        decided = (one["note"], one["label"], one["decision"], json.dumps(one["tags"]))
        rows.append((column, *decided, one["updated"], run, position))
    connection.executemany(_LOOSEN, rows)
    connection.execute("DELETE FROM edits WHERE run = ?", (run,))


def id_column(connection: sqlite3.Connection, run: int) -> str | None:
    """Return the column that gives the ids of a run, None where its rows are numbered."""
    return run_fact(connection, run, "dataset_info")["columns"].get("id")


def attach(connection: sqlite3.Connection, run: int) -> list[str]:
    """Put loose annotations to their rows; return the ids of rows whose text is another now.

    Those that find none, or one that somebody annotated since, stay orphans.
    """
    edited, attached = [], set()
    notes: dict[int, dict[str, Any]] = {}
    taken = set(held_annotations(connection, run).any().tolist())
    for by in (_by_id, _by_text):
        for orphan, position, id, same_text in list(by(connection, run)):
            if position in taken or orphan in attached:
                continue
            taken.add(position)
            attached.add(orphan)
            notes[position] = _taken_up(connection, orphan)
            if not same_text:
                edited.append(id)
    add_notes(connection, run, notes)
    return edited


def _taken_up(connection: sqlite3.Connection, orphan: int) -> dict[str, Any]:
    """Return what a loose annotation says, and take it out of the loose ones."""
    sql = (
        "DELETE FROM orphaned_notes WHERE orphan = ?"
        " RETURNING note, proposed_label, decision, tags, updated"
    )
    (note,) = by_name(connection.execute(sql, (orphan,)))
    return note | {"tags": json.loads(note["tags"])}


def _by_id(connection: sqlite3.Connection, run: int) -> Iterator[SqlRow]:
    """Return the loose notes whose id the dataset still gives, the newest of an id first."""
    return connection.execute(
        "SELECT o.orphan, e.position, o.id, o.text_id IS NULL OR o.text_id = e.text_id"
        " FROM orphaned_notes o JOIN examples e ON e.run = o.run AND e.id = o.id"
        " WHERE o.run = ? AND o.id_column = ? ORDER BY o.updated DESC, o.orphan DESC",
        (run, id_column(connection, run)),
    )


def _by_text(connection: sqlite3.Connection, run: int) -> Iterator[SqlRow]:
    """Yield the loose notes whose text stands in the dataset often enough, the newest first."""
    loose = connection.execute(
        "SELECT orphan, text_id, occurrence FROM orphaned_notes WHERE run = ?"
        " ORDER BY updated DESC, orphan DESC",
        (run,),
    ).fetchall()
    for orphan, text_id, occurrence in loose:
        row = connection.execute(
            "SELECT position, id FROM examples WHERE text_id = ? AND run = ?"
            " ORDER BY position LIMIT 1 OFFSET ?",
            (text_id, run, occurrence),
        ).fetchone()
        if row is not None:
            yield orphan, *row, True
