"""What analysts decided, noted and tagged: on an example, over a slice, and how it came about."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from saliency_core.store.connection import consistent

if TYPE_CHECKING:
    from saliency_core.store.read.run import Run, Slice

PROGRESS = ("reviewed", "relabelled")
SAID = {
    "label": "label {}",
    "right": "label is right",
    "reviewed": "reviewed",
    "skipped": "skipped",
    "open": "decision removed",
    "note": "note “{}”",
    "tag": "tag {}",
    "untag": "tag {} removed",
}
"""What an edit did, in words."""


@consistent
def annotation(run: Run, position: int) -> dict[str, Any]:
    """Return what holds on one example: decision, label, note, tags, updated."""
    return run.store.annotations(run.number).at(int(position))


@consistent
def annotations_at(run: Run, positions: Sequence[int] | np.ndarray) -> list[dict[str, Any]]:
    """Return what holds on each of these examples, as `annotation`."""
    held = run.store.annotations(run.number)
    return [held.at(int(position)) for position in positions]


@consistent
def note(run: Run, id: str) -> dict[str, str | None] | None:
    """Return the note and correct label of an example, None where there is neither."""
    position = run.position_of(id)
    found = {} if position is None else annotation(run, position)
    if not found.get("note") and found.get("label") is None:
        return None
    return {"note": found["note"], "proposed_label": found["label"]}


@consistent
def notes(run: Run) -> pd.DataFrame:
    """Return all annotated examples of a run, by id."""
    return _frame(run, run.store.annotations(run.number).any()).drop(columns="row")


@consistent
def corrections(part: Slice) -> pd.DataFrame:
    """Return the annotated examples of a slice with their texts, in the order of the dataset."""
    held = part.run.store.annotations(part.run.number).any()
    frame = _frame(part.run, np.intersect1d(held, part.positions()))
    frame = frame.sort_values("row", ignore_index=True)
    shown = part.run.examples_at(frame["row"].tolist())
    labels = [row["label"] for row in part.run.details(frame["row"].tolist())]
    gold = shown["gold"].where(shown["gold"].notna(), labels)
    frame.insert(2, "text", shown["text"])
    frame.insert(3, "pair", shown["pair"])
    frame.insert(4, "gold", gold)
    frame.insert(5, "predicted", shown["predicted"])
    return frame.rename(columns={"proposed_label": "correct_label"})


def _frame(run: Run, positions: np.ndarray) -> pd.DataFrame:
    """Return the annotations at positions, by id."""
    held = run.store.annotations(run.number)
    ids: dict[int, str] = dict(
        run.store.rows(
            "SELECT e.position, e.id FROM json_each(?) j"
            " JOIN examples e ON e.run = ? AND e.position = j.value",
            (json.dumps(positions.tolist()), run.number),
        )
    )
    columns = ("note", "label", "decision", "tags", "updated")
    rows = sorted(
        (id, position, *(held.at(position)[name] for name in columns))
        for position, id in ids.items()
    )
    names = ["id", "row", "note", "proposed_label", "decision", "tags", "updated"]
    return pd.DataFrame(rows, columns=names)


@consistent
def progress(part: Slice) -> dict[str, int]:
    """Return how many examples of a slice there are, and were reviewed and relabelled."""
    mask = part.mask()
    found = {name: int(np.count_nonzero(mask & part.run.filter(name).mask())) for name in PROGRESS}
    return {"examples": int(np.count_nonzero(mask)), **found}


@consistent
def actions(run: Run, limit: int | None = None) -> pd.DataFrame:
    """Return what was done to examples, the last action first.

    `id` is that of the example where an action was on one alone, None otherwise.
    """
    rows = run.store.rows(
        # Of the positions of many examples none is read.
        "WITH mine AS (SELECT action, done, what, value, examples, condition, undone,"
        " CASE WHEN examples = 1 THEN json_extract(positions, '$[0]') END AS place"
        " FROM edits WHERE run = ? ORDER BY action, edit),"
        " actions AS (SELECT action, max(done), json_group_array(json_array(what, value)),"
        " max(examples), max(condition), max(undone),"
        " CASE WHEN max(examples) = 1 AND min(place) = max(place) THEN max(place) END AS place"
        " FROM mine GROUP BY action ORDER BY action DESC LIMIT ?)"
        " SELECT a.*, e.id FROM actions a LEFT JOIN examples e ON e.run = ?"
        " AND e.position = a.place ORDER BY a.action DESC",
        (run.number, -1 if limit is None else limit, run.number),
    )
    found = [
        (action, done, in_words(json.loads(edits)), examples, where, undone, id)
        for action, done, edits, examples, where, undone, _, id in rows
    ]
    names = ["action", "done", "did", "examples", "where", "undone", "id"]
    return pd.DataFrame(found, columns=names, dtype=object)


@consistent
def last_action_on(run: Run, id: str) -> int | None:
    """Return the last action on an example alone that is not undone, None where there is none."""
    return run.store.rows(
        "SELECT max(action) FROM edits WHERE run = ? AND undone IS NULL AND positions = ?",
        (run.number, json.dumps([run.position_of(id)])),
    )[0][0]


def is_undone(run: Run, action: int) -> bool:
    """Return whether an action was taken back; False for one that does not exist."""
    return bool(
        run.store.rows(
            "SELECT 1 FROM edits WHERE run = ? AND action = ? AND undone IS NOT NULL LIMIT 1",
            (run.number, action),
        )
    )


def in_words(edits: Sequence[Sequence[str]]) -> str:
    """Return what edits did, e.g. `label billing, tag doubtful`."""
    said = dict.fromkeys(
        "note removed" if (what, value) == ("note", "") else SAID[what].format(value)
        for what, value in edits
    )
    few = list(said)[:3]
    return ", ".join([*few, "..."] if len(said) > len(few) else few)


@consistent
def orphaned_notes(run: Run) -> pd.DataFrame:
    """Return the notes whose row the dataset no longer has, with the text of that row."""
    columns = ["id", "text", "pair", "note", "proposed_label", "updated"]
    rows = "orphaned_notes LEFT JOIN texts USING (text_id) WHERE run = ? ORDER BY id, orphan"
    return run.store.frame(columns, rows, run.number)


@consistent
def verdicts(run: Run) -> pd.DataFrame:
    """Return the analyst's verdicts on words."""
    columns = ["word", "class", "verdict", "note", "updated"]
    return run.store.frame(columns, "verdicts WHERE run = ? ORDER BY word, class", run.number)
