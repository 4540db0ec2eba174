"""What analysts add to a file: saved slices, notes, verdicts."""

from __future__ import annotations

from pathlib import Path

from saliency_core.errors import UserError
from saliency_core.store.connection import now, writing
from saliency_core.store.query import parser


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
