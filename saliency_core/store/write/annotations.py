"""What analysts add to a file: slices, notes, proposed labels, verdicts.

As a JSON file it is carried over by stable ids and words, never by row, so that it survives a
changed dataset.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from saliency_core.errors import UserError
from saliency_core.records import Example
from saliency_core.store.connection import now, writing
from saliency_core.store.format.keys import text_digest
from saliency_core.store.query import parser
from saliency_core.store.read.store import open_store

KIND = "saliency annotations"
VERSION = 1

_NOTES = "SELECT id, note, proposed_label, updated FROM notes WHERE run = ? ORDER BY id"
_VERDICTS = (
    "SELECT word, class, verdict, note, updated FROM verdicts WHERE run = ? ORDER BY word, class"
)
_ADD_NOTE = (
    "INSERT INTO notes (run, id, note, proposed_label, updated) VALUES (?, ?, ?, ?, ?)"
    " ON CONFLICT (run, id) DO UPDATE SET note = excluded.note,"
    " proposed_label = excluded.proposed_label, updated = excluded.updated"
    " WHERE excluded.updated > notes.updated"
)
_ADD_VERDICT = (
    "INSERT INTO verdicts (run, word, class, verdict, note, updated) VALUES (?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (run, word, class) DO UPDATE SET verdict = excluded.verdict,"
    " note = excluded.note, updated = excluded.updated"
    " WHERE excluded.updated > verdicts.updated"
)


def save_slice(path: str | Path, name: str, where: str, note: str = "") -> None:
    """Save a slice under a name, replacing an older one of that name."""
    name = name.strip()
    if not name:
        raise UserError("A saved slice needs a name.")
    parser.parse(where)
    with writing(path) as connection:
        connection.execute(
            "INSERT INTO slices VALUES (?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET"
            " condition = excluded.condition, note = excluded.note",
            (name, where, note, now()),
        )


def delete_slice(path: str | Path, name: str) -> None:
    """Delete a saved slice."""
    with writing(path) as connection:
        if not connection.execute("DELETE FROM slices WHERE name = ?", (name,)).rowcount:
            raise UserError(f"There is no saved slice {name!r}.")


def set_note(
    path: str | Path, run: int, id: str, note: str, proposed_label: str | None = None
) -> None:
    """Keep a note and a proposed label for an example; both empty removes them."""
    with writing(path) as connection:
        known = connection.execute(
            "SELECT 1 FROM examples WHERE run = ? AND id = ?", (run, str(id))
        ).fetchone()
        if not known:
            raise UserError(f"Run {run} has no example with id {str(id)!r}.")
        if not note and proposed_label is None:
            connection.execute("DELETE FROM notes WHERE run = ? AND id = ?", (run, str(id)))
            return
        connection.execute(
            "INSERT INTO notes VALUES (?, ?, ?, ?, ?) ON CONFLICT (run, id) DO UPDATE SET"
            " note = excluded.note, proposed_label = excluded.proposed_label,"
            " updated = excluded.updated",
            (run, str(id), note, proposed_label, now()),
        )


def set_verdict(
    path: str | Path, run: int, word: str, class_name: str, verdict: str | None, note: str = ""
) -> None:
    """Keep the analyst's verdict on a word for a class; None removes it."""
    if verdict is not None and verdict not in parser.VERDICTS:
        raise UserError(f"{verdict!r} is not a verdict; choose from {', '.join(parser.VERDICTS)}.")
    with writing(path) as connection:
        if verdict is None:
            connection.execute(
                "DELETE FROM verdicts WHERE run = ? AND word = ? AND class = ?",
                (run, word.lower(), class_name),
            )
            return
        connection.execute(
            "INSERT INTO verdicts VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (run, word, class)"
            " DO UPDATE SET verdict = excluded.verdict, note = excluded.note,"
            " updated = excluded.updated",
            (run, word.lower(), class_name, verdict, note, now()),
        )


def export_annotations(path: str | Path, run: int | None = None) -> dict[str, Any]:
    """Return slices, notes and verdicts of a run as what `json.dumps` takes.

    `orphans` are the notes whose row the dataset no longer has; they are not imported.
    """
    store = open_store(path)
    audited = store.run(run)
    texts = _digests(store.connection, audited.number)
    notes = [
        {
            "id": id,
            "text": texts.get(id),
            "note": note,
            "proposed_label": proposed,
            "updated": updated,
        }
        for id, note, proposed, updated in store.connection.execute(_NOTES, (audited.number,))
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
    names = ("id", "text", "pair", "note", "proposed_label", "updated")
    rows = connection.execute(
        f"SELECT {', '.join(names)} FROM orphaned_notes LEFT JOIN texts USING (text_id)"
        " WHERE run = ? ORDER BY id, orphan",
        (run,),
    )
    return [dict(zip(names, row, strict=True)) for row in rows]


def _digests(connection: sqlite3.Connection, run: int) -> dict[str, str]:
    """Return id -> digest of the text as it was annotated."""
    rows = connection.execute(
        "SELECT e.id, t.text, t.pair FROM notes n"
        " JOIN examples e ON e.run = n.run AND e.id = n.id JOIN texts t USING (text_id)"
        " WHERE n.run = ?",
        (run,),
    )
    return {id: text_digest(Example(0, id, text, pair)).hex() for id, text, pair in rows}


def import_annotations(
    path: str | Path, annotations: Mapping[str, Any], run: int | None = None
) -> dict[str, Any]:
    """Add annotations to a run; of two on the same example or word the newer one holds.

    Args:
        path: The file.
        annotations: What `export_annotations` returned.
        run: Run number; the newest by default.

    Returns:
        Counts of `slices`, `notes` and `verdicts` taken, and `unknown_ids` (the run lacks them),
        `changed_ids` (their text is another now: look again), `kept_slices` (a different slice of
        that name was there and stays).
    """
    run = open_store(path).run(run).number
    notes, verdicts, saved = _checked(annotations)
    with writing(path) as connection:
        known = {
            row[0]
            for row in connection.execute("SELECT DISTINCT id FROM examples WHERE run = ?", (run,))
        }
        unknown = [note["id"] for note in notes if note["id"] not in known]
        notes = [note for note in notes if note["id"] in known]
        connection.executemany(
            _ADD_NOTE,
            [(run, n["id"], n["note"], n["proposed_label"], n["updated"]) for n in notes],
        )
        connection.executemany(
            _ADD_VERDICT,
            [(run, v["word"], v["class"], v["verdict"], v["note"], v["updated"]) for v in verdicts],
        )
        kept = _add_slices(connection, saved)
        texts = _digests(connection, run)
    changed = [n["id"] for n in notes if n["text"] and texts.get(n["id"]) != n["text"]]
    return {
        "run": run,
        "slices": len(saved) - len(kept),
        "notes": len(notes),
        "verdicts": len(verdicts),
        "unknown_ids": unknown,
        "changed_ids": changed,
        "kept_slices": kept,
    }


def _checked(annotations: Mapping[str, Any]) -> tuple[list[dict], list[dict], list[tuple]]:
    """Return notes, verdicts and slices with every field as the file needs it."""
    if not isinstance(annotations, Mapping) or annotations.get("kind") != KIND:
        raise UserError(f'This is not an export of annotations: it lacks "kind": "{KIND}".')
    if annotations.get("version", 0) > VERSION:
        raise UserError(
            f"These annotations have version {annotations['version']}; this program reads up to "
            f"{VERSION}. Upgrade it."
        )
    try:
        notes = [
            {
                "id": str(row["id"]),
                "text": row.get("text"),
                "note": str(row.get("note") or ""),
                "proposed_label": _text(row.get("proposed_label")),
                "updated": str(row.get("updated") or now()),
            }
            for row in annotations.get("notes", [])
        ]
        verdicts = [
            {
                "word": str(row["word"]).lower(),
                "class": str(row["class"]),
                "verdict": str(row["verdict"]),
                "note": str(row.get("note") or ""),
                "updated": str(row.get("updated") or now()),
            }
            for row in annotations.get("verdicts", [])
        ]
        saved = [
            (
                str(row["name"]),
                str(row["where"]),
                str(row.get("note") or ""),
                str(row.get("created") or now()),
            )
            for row in annotations.get("slices", [])
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"These annotations are not complete: {error} is missing.") from error
    for row in verdicts:
        if row["verdict"] not in parser.VERDICTS:
            raise UserError(
                f"{row['verdict']!r} (word {row['word']!r}) is not a verdict; choose from "
                f"{', '.join(parser.VERDICTS)}."
            )
    for _, where, _, _ in saved:
        parser.parse(where)
    return notes, verdicts, saved


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _add_slices(connection: sqlite3.Connection, rows: list[tuple]) -> list[str]:
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
    """Copy notes and verdicts of a run of another file; the newer of two holds."""
    for read, add in ((_NOTES, _ADD_NOTE), (_VERDICTS, _ADD_VERDICT)):
        rows = source.execute(read, (theirs,)).fetchall()
        target.executemany(add, [(run, *row) for row in rows])
