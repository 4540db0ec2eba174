"""Notes while the rows they stand at change: loosened from their rows, attached again, or kept.

A note belongs to a row by its id where a column gives the ids, else by its text and by how many
rows of that text come before; never by a row number. What belongs to no row is an orphan.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator

_LOOSEN = (
    "INSERT INTO orphaned_notes"
    " (run, id, id_column, text_id, occurrence, note, proposed_label, updated)"
    " SELECT n.run, n.id, ?, e.text_id, (SELECT count(*) FROM examples b"
    "  WHERE b.text_id = e.text_id AND b.run = e.run AND b.position < e.position),"
    " n.note, n.proposed_label, n.updated"
    " FROM notes n LEFT JOIN examples e ON e.run = n.run AND e.id = n.id AND e.position ="
    "  (SELECT min(position) FROM examples WHERE run = n.run AND id = n.id)"
    " WHERE n.run = ? ORDER BY n.id"
)


def loosen(connection: sqlite3.Connection, run: int) -> None:
    """Take the notes of a run off their rows, each with what tells its row from the others."""
    connection.execute(_LOOSEN, (id_column(connection, run), run))
    connection.execute("DELETE FROM notes WHERE run = ?", (run,))


def id_column(connection: sqlite3.Connection, run: int) -> str | None:
    """Return the column that gives the ids of a run, None where its rows are numbered."""
    (info,) = connection.execute("SELECT dataset_info FROM runs WHERE run = ?", (run,)).fetchone()
    return json.loads(info)["columns"].get("id")


def attach(connection: sqlite3.Connection, run: int) -> list[str]:
    """Put loose notes to their rows; return the ids of rows whose text is not the noted one.

    Those that find none, or one that somebody wrote another note on since, stay orphans.
    """
    edited = []
    taken = {id for (id,) in connection.execute("SELECT id FROM notes WHERE run = ?", (run,))}
    for by in (_by_id, _by_text):
        for orphan, id, same_text in list(by(connection, run)):
            if id in taken:
                continue
            taken.add(id)
            connection.execute(
                "INSERT INTO notes (run, id, note, proposed_label, updated)"
                " SELECT run, ?, note, proposed_label, updated FROM orphaned_notes"
                " WHERE orphan = ?",
                (id, orphan),
            )
            connection.execute("DELETE FROM orphaned_notes WHERE orphan = ?", (orphan,))
            if not same_text:
                edited.append(id)
    return edited


def _by_id(connection: sqlite3.Connection, run: int) -> Iterator[tuple[int, str, bool]]:
    """Yield the loose notes whose id the dataset still gives, the newest of an id first."""
    rows = connection.execute(
        "SELECT o.orphan, o.id, o.text_id IS NULL OR o.text_id = e.text_id"
        " FROM orphaned_notes o JOIN examples e ON e.run = o.run AND e.id = o.id"
        " WHERE o.run = ? AND o.id_column = ? ORDER BY o.updated DESC, o.orphan DESC",
        (run, id_column(connection, run)),
    )
    return ((orphan, id, bool(same)) for orphan, id, same in rows)


def _by_text(connection: sqlite3.Connection, run: int) -> Iterator[tuple[int, str, bool]]:
    """Yield the loose notes whose text stands in the dataset often enough, the newest first."""
    loose = connection.execute(
        "SELECT orphan, text_id, occurrence FROM orphaned_notes WHERE run = ?"
        " ORDER BY updated DESC, orphan DESC",
        (run,),
    ).fetchall()
    for orphan, text_id, occurrence in loose:
        row = connection.execute(
            "SELECT id FROM examples WHERE text_id = ? AND run = ?"
            " ORDER BY position LIMIT 1 OFFSET ?",
            (text_id, run, occurrence),
        ).fetchone()
        if row is not None:
            yield orphan, row[0], True
