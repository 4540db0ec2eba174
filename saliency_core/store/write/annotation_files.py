"""Annotations as a JSON file, and from one database file to another.

They are carried over by stable ids and words, so that they survive a changed dataset.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from saliency_core.errors import UserError
from saliency_core.records import Example
from saliency_core.store.connection import now, writing
from saliency_core.store.format.keys import text_digest
from saliency_core.store.query.annotations import DECISIONS, Edit
from saliency_core.store.query.parser import parse
from saliency_core.store.query.terms import VERDICTS
from saliency_core.store.read.store import open_store
from saliency_core.store.sqlite_files import SqlRow, by_name, first_value
from saliency_core.store.write.annotations import add_action, held_annotations

_SAME = "done, what, value, positions"
"""Columns by which an edit is known in two files."""

KIND = "saliency annotations"
VERSION = 1

_VERDICTS = (
    "SELECT word, class, verdict, note, updated FROM verdicts WHERE run = ? ORDER BY word, class"
)
_ADD_VERDICT = (
    "INSERT INTO verdicts (run, word, class, verdict, note, updated) VALUES (?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (run, word, class) DO UPDATE SET verdict = excluded.verdict,"
    " note = excluded.note, updated = excluded.updated"
    " WHERE excluded.updated > verdicts.updated"
)


def export_annotations(path: str | Path, run: int | None = None) -> dict[str, Any]:
    """Return slices, annotated examples and verdicts of a run as what `json.dumps` takes.

    `orphans` are those whose row the dataset no longer has; they are not imported.
    """
    store = open_store(path)
    audited = store.run(run)
    with audited.steady():
        held = store.annotations(audited.number)
        notes = [
            {
                "id": id,
                "row": position,
                "text": digest,
                "note": (found := held.at(position))["note"],
                "proposed_label": found["label"],
                "decision": found["decision"],
                "tags": found["tags"],
                "updated": found["updated"],
            }
            for position, id, digest in _digests(store.connection, audited.number, held.any())
        ]
        return {
            "kind": KIND,
            "version": VERSION,
            "model": audited.model.name,
            "dataset": audited.dataset.name,
            "exported": now(),
            "slices": store.slices().to_dict("records"),
            "notes": notes,
            "orphans": _orphans(store.connection, audited.number),
            "verdicts": audited.verdicts().to_dict("records"),
        }


def _orphans(connection: sqlite3.Connection, run: int) -> list[dict[str, Any]]:
    """Return the notes whose row the dataset no longer has, with the text they were written on."""
    rows = connection.execute(
        "SELECT id, text, pair, note, proposed_label, decision, tags, updated"
        " FROM orphaned_notes LEFT JOIN texts USING (text_id) WHERE run = ? ORDER BY id, orphan",
        (run,),
    )
    return [row | {"tags": json.loads(row["tags"])} for row in by_name(rows)]


def _digests(
    connection: sqlite3.Connection, run: int, positions: np.ndarray
) -> Iterator[tuple[int, str, str]]:
    """Yield position, id and digest of the text of these examples."""
    rows = connection.execute(
        "SELECT e.position, e.id, t.text, t.pair FROM json_each(?) j"
        " JOIN examples e ON e.run = ? AND e.position = j.value JOIN texts t USING (text_id)"
        " ORDER BY e.position",
        (json.dumps(positions.tolist()), run),
    )
    for position, id, text, pair in rows:
        yield position, id, text_digest(Example(0, id, text, pair)).hex()


def import_annotations(
    path: str | Path, annotations: Mapping[str, Any], run: int | None = None, *, by: str = "id"
) -> dict[str, Any]:
    """Add annotations to a run; of two on the same example or word the newer one holds.

    Args:
        path: The file.
        annotations: What `export_annotations` returned.
        run: Run number; the newest by default.
        by: `id`, or `row` for a dataset whose ids changed while its rows did not.

    Returns:
        Counts of `slices`, `notes` and `verdicts` taken, and `unknown_ids` (the run lacks them),
        `changed_ids` (their text is another now: look again), `kept_slices` (a different slice of
        that name was there and stays).
    """
    run = open_store(path).run(run).number
    notes, verdicts, saved = _checked(annotations, by)
    with writing(path) as connection:
        place = "position" if by == "row" else "id"
        homes = dict(
            connection.execute(
                f"SELECT {place}, min(position) FROM examples WHERE run = ? GROUP BY {place}",
                (run,),
            )
        )
        unknown = [note["id"] for note in notes if note[by] not in homes]
        known = {homes[note[by]]: note for note in notes if note[by] in homes}
        held = held_annotations(connection, run)
        newer = {
            position: note
            for position, note in known.items()
            if note["updated"] > (held.at(position)["updated"] or "")
        }
        add_notes(connection, run, newer)
        connection.executemany(_ADD_VERDICT, [(run, *row) for row in verdicts])
        kept = _add_slices(connection, saved)
        texts = {
            position: digest
            for position, _, digest in _digests(connection, run, np.array([*known], np.int64))
        }
    changed = [
        note["id"]
        for position, note in known.items()
        if note["text"] and texts[position] != note["text"]
    ]
    return {
        "run": run,
        "slices": len(saved) - len(kept),
        "notes": len(known),
        "verdicts": len(verdicts),
        "unknown_ids": unknown,
        "changed_ids": changed,
        "kept_slices": kept,
    }


def add_notes(
    connection: sqlite3.Connection, run: int, notes: Mapping[int, Mapping[str, Any]]
) -> None:
    """Make one action of what annotations, by their positions, change."""
    held = held_annotations(connection, run)
    parts: dict[tuple[Edit, str], list[int]] = {}
    for position, note in notes.items():
        for edit in _edits_of(note, held.at(position)["tags"]):
            parts.setdefault((edit, note["updated"]), []).append(position)
    edits, done = [], []
    for (edit, updated), members in parts.items():
        positions = np.array(sorted(members), np.int64)
        positions = positions[~held.says(edit, positions)]
        if len(positions):
            edits.append((edit, positions))
            done.append(updated)
    add_action(connection, run, edits, done=done)


def _edits_of(note: Mapping[str, Any], tags: Collection[str]) -> list[Edit]:
    """Return the edits that make an example what an annotation says, where these tags hold."""
    decision = note["decision"] or "open"
    return [
        Edit("note", note["note"]),
        Edit(decision, note["proposed_label"] if decision == "label" else ""),
        *(Edit("tag", name) for name in note["tags"] if name not in tags),
        *(Edit("untag", name) for name in tags if name not in note["tags"]),
    ]


def _checked(
    annotations: Mapping[str, Any], by: str
) -> tuple[list[dict[str, Any]], list[SqlRow], list[SqlRow]]:
    """Return notes, verdicts and slices with every field as the file needs it."""
    if not isinstance(annotations, Mapping) or annotations.get("kind") != KIND:
        raise UserError(f'This is not an export of annotations: it lacks "kind": "{KIND}".')
    if annotations.get("version", 0) > VERSION:
        raise UserError(
            f"These annotations have version {annotations['version']}; this program reads up to "
            f"{VERSION}. Upgrade it."
        )
    try:
        notes = [_note(row, by) for row in annotations.get("notes", [])]
        verdicts = [
            (
                str(row["word"]).lower(),
                str(row["class"]),
                str(row["verdict"]),
                _text(row, "note"),
                _text(row, "updated", now()),
            )
            for row in annotations.get("verdicts", [])
        ]
        saved = [
            (str(row["name"]), str(row["where"]), _text(row, "note"), _text(row, "created", now()))
            for row in annotations.get("slices", [])
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"These annotations are not complete: {error} is missing.") from error
    for word, _, verdict, *_ in verdicts:
        if verdict not in VERDICTS:
            raise UserError(
                f"{verdict!r} (word {word!r}) is not a verdict; choose from {', '.join(VERDICTS)}."
            )
    for _, where, _, _ in saved:
        parse(where)
    return notes, verdicts, saved


def _note(row: Mapping[str, Any], by: str) -> dict[str, Any]:
    """Return an annotation with every field; older exports have neither decision nor tags."""
    label = None if row.get("proposed_label") is None else str(row["proposed_label"])
    decision = row.get("decision") or ("label" if label else None)
    if decision not in (None, *DECISIONS):
        raise UserError(f"{decision!r} is not a decision; choose from {', '.join(DECISIONS)}.")
    if decision == "label" and not label:
        raise UserError(f"The annotation of {row['id']!r} gives no label.")
    return {
        "id": str(row["id"]),
        "row": int(row["row"]) if by == "row" else None,
        "text": row.get("text"),
        "note": _text(row, "note"),
        "proposed_label": label,
        "decision": decision,
        "tags": [str(name) for name in row.get("tags") or []],
        "updated": _text(row, "updated", now()),
    }


def _text(row: Mapping[str, Any], name: str, default: str = "") -> str:
    return str(row.get(name) or default)


def _add_slices(connection: sqlite3.Connection, rows: list[SqlRow]) -> list[str]:
    """Add slices; return the names that stood for something else and stay so."""
    known = dict(connection.execute("SELECT name, condition FROM slices"))
    connection.executemany(
        "INSERT INTO slices (name, condition, note, created) VALUES (?, ?, ?, ?)",
        [row for row in rows if row[0] not in known],
    )
    return [row[0] for row in rows if known.get(row[0], row[1]) != row[1]]


def merge_slices(target: sqlite3.Connection, source: sqlite3.Connection) -> list[str]:
    """Copy the slices of another file; return the names that differ and were not taken."""
    rows = source.execute("SELECT name, condition, note, created FROM slices").fetchall()
    return _add_slices(target, rows)


def merge_notes(
    target: sqlite3.Connection, run: int, source: sqlite3.Connection, theirs: int
) -> None:
    """Copy edits and verdicts of a run of another file; the newer of two holds."""
    verdicts = source.execute(_VERDICTS, (theirs,)).fetchall()
    target.executemany(_ADD_VERDICT, [(run, *row) for row in verdicts])
    before = first_value(target, "SELECT coalesce(max(action), 0) FROM edits")
    known = set(target.execute(f"SELECT {_SAME} FROM edits WHERE run = ?", (run,)))
    for action, examples, condition, undone, *same in source.execute(
        f"SELECT action, examples, condition, undone, {_SAME} FROM edits WHERE run = ?"
        " ORDER BY edit",
        (theirs,),
    ).fetchall():
        if tuple(same) not in known:
            target.execute(
                f"INSERT INTO edits (run, action, examples, condition, undone, {_SAME})"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (run, before + action, examples, condition, undone, *same),
            )
