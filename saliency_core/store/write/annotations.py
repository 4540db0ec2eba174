"""What analysts add to a file: slices, verdicts, and decisions, notes and tags on examples.

Each thing somebody does to examples is one action of one or more edits, which name all of its
examples at once; so it costs the same for a million as for one, and can be undone whole.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from saliency_core.errors import UserError
from saliency_core.store.connection import now, writing
from saliency_core.store.query.annotations import EDITS, Annotations, Edit
from saliency_core.store.query.parser import parse
from saliency_core.store.query.terms import VERDICTS
from saliency_core.store.query.tree import text_of
from saliency_core.store.read.store import open_store
from saliency_core.store.sqlite_files import first_value


@dataclass(frozen=True)
class Action:
    """What somebody did to examples, as the history has it."""

    number: int | None
    """None where nothing was to change."""
    examples: int
    """How many it changed."""
    chosen: int
    """How many it was asked for."""


def save_slice(path: str | Path, name: str, where: str, note: str = "") -> None:
    """Save a slice under a name, replacing an older one of that name.

    Its filter is kept in the canonical form, which says the same of any run.
    """
    name = name.strip()
    if not name:
        raise UserError("A saved slice needs a name.")
    runs = open_store(path).all_runs()
    columns = dict.fromkeys(column for run in runs for column in run.metadata_columns())
    where = text_of(parse(where, [*columns]))
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


def annotate(
    path: str | Path,
    run: int,
    edits: Sequence[Edit],
    *,
    where: str | None = None,
    ids: Iterable[str] | None = None,
) -> Action:
    """Do one thing to some examples: decide on them, note something, tag them.

    Args:
        path: The file.
        run: Run number.
        edits: What to do; those that would change nothing on an example pass it over.
        where: The filter that names the examples; or
        ids: Their stable ids.

    Raises:
        UserError: an unknown id, an edit that is none, a filter that can't be read.
    """
    edits = [_checked(edit) for edit in edits]
    with writing(path) as connection:
        # Asked under the write lock: what the filter names is what is changed.
        if ids is None:
            positions = open_store(path).run(run).filter(where or "").positions()
        else:
            positions = _positions(connection, run, ids)
        held = held_annotations(connection, run)
        parts = [(edit, positions[~held.says(edit, positions)]) for edit in edits]
        parts = [part for part in parts if len(part[1])]
        number = add_action(connection, run, parts, where=where)
    changed = np.unique(np.concatenate([part for _, part in parts])) if parts else parts
    return Action(number, len(changed), len(positions))


def held_annotations(connection: sqlite3.Connection, run: int) -> Annotations:
    """Return what holds on the examples of a run, within a transaction."""
    return Annotations(lambda sql, values: connection.execute(sql, values).fetchall(), run)


def _checked(edit: Edit) -> Edit:
    edit = Edit(edit.what, edit.value.strip())
    if edit.what not in EDITS:
        raise UserError(f"{edit.what!r} is not an edit; choose from {', '.join(EDITS)}.")
    if edit.what in ("label", "tag", "untag") and not edit.value:
        raise UserError(f"Give the name of the {'label' if edit.what == 'label' else 'tag'}.")
    return edit


def _positions(connection: sqlite3.Connection, run: int, ids: Iterable[str]) -> np.ndarray:
    """Return the positions of ids, the first one where the dataset repeats an id."""
    found = []
    for id in ids:
        sql = "SELECT min(position) FROM examples WHERE run = ? AND id = ?"
        position = first_value(connection, sql, run, str(id))
        if position is None:
            raise UserError(f"Run {run} has no example with id {str(id)!r}.")
        found.append(position)
    return np.unique(np.array(found, np.int64))


def add_action(
    connection: sqlite3.Connection,
    run: int,
    edits: Sequence[tuple[Edit, np.ndarray]],
    *,
    where: str | None = None,
    done: Sequence[str] | None = None,
) -> int | None:
    """Write one action, each edit with the positions it changes; return its number.

    Args:
        connection: in a transaction.
        run: Run number.
        edits: none: nothing is written.
        where: The filter that named the examples.
        done: when each edit was made, where that was elsewhere; else now.
    """
    if not edits:
        return None
    number, last = connection.execute(
        "SELECT (SELECT coalesce(max(action), 0) + 1 FROM edits),"
        " (SELECT coalesce(max(done), '') FROM edits WHERE run = ?)",
        (run,),
    ).fetchone()
    # A clock that was set back must not put an edit behind those it follows.
    times = done or [max(now(), last)] * len(edits)
    connection.executemany(
        "INSERT INTO edits (run, action, done, what, value, positions, examples, condition)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (run, number, time, *edit, json.dumps(positions.tolist()), len(positions), where)
            for time, (edit, positions) in zip(times, edits, strict=True)
        ],
    )
    return number


def undo(path: str | Path, run: int, action: int | None = None) -> int:
    """Undo an action, the last one by default; what was done since stays. Return its number.

    Raises:
        UserError: there is none, or it is undone already.
    """
    with writing(path) as connection:
        if action is None:
            sql = "SELECT max(action) FROM edits WHERE run = ? AND undone IS NULL"
            action = first_value(connection, sql, run)
            if action is None:
                raise UserError(f"There is nothing to undo in run {run}.")
        _mark(connection, run, action, now())
    return action


def redo(path: str | Path, run: int, action: int) -> None:
    """Let an undone action hold again."""
    with writing(path) as connection:
        _mark(connection, run, action, None)


def _mark(connection: sqlite3.Connection, run: int, action: int, undone: str | None) -> None:
    changed = connection.execute(
        "UPDATE edits SET undone = ? WHERE run = ? AND action = ? AND (undone IS NULL) = ?",
        (undone, run, action, undone is not None),
    )
    if not changed.rowcount:
        sql = "SELECT EXISTS (SELECT 1 FROM edits WHERE run = ? AND action = ?)"
        known = first_value(connection, sql, run, action)
        state = "undone already" if undone else "not undone"
        raise UserError(
            f"Action {action} is {state}." if known else f"Run {run} has no action {action}."
        )


def set_verdict(
    path: str | Path, run: int, word: str, class_name: str, verdict: str | None, note: str = ""
) -> None:
    """Keep the analyst's verdict on a word for a class; None removes it."""
    if verdict is not None and verdict not in VERDICTS:
        raise UserError(f"{verdict!r} is not a verdict; choose from {', '.join(VERDICTS)}.")
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
