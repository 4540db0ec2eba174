"""Examples of a slice: which they are, a page of them, everything of one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from saliency_core.errors import UserError
from saliency_core.jsonable import plain
from saliency_core.store.connection import consistent
from saliency_core.store.format import chunk as columnar
from saliency_core.store.format import chunk_io, word_math
from saliency_core.store.format.filter_columns import read_meta_values
from saliency_core.store.query.masks import metadata_text
from saliency_core.store.read.annotations import annotation, note
from saliency_core.store.sqlite_files import matching

if TYPE_CHECKING:
    from saliency_core.store.read.run import Run, Slice

SORTS = ("position", "confidence", "margin", "coherence", "length", "label_quality")

EXAMPLE_COLUMNS = (
    "example id text pair gold predicted confidence margin length coherence chars_seen chars_total"
    " failure"
).split()


@consistent
def metadata_values(run: Run, column: str) -> np.ndarray:
    """Return the texts of a metadata column by rising position, as filters compare them.

    An example without the value has an empty text.
    """
    texts, codes = metadata_codes(run, column)
    return np.array(texts, object)[codes]


@consistent
def metadata_texts(run: Run, column: str) -> list[str]:
    """Return the distinct texts of a metadata column, sorted."""
    found: set[str] = set()
    for (data,) in run.store.rows(
        "SELECT data FROM columns WHERE run = ? AND name = ?", (run.number, f"meta:{column}")
    ):
        found |= {metadata_text(value) for value in read_meta_values(data) if value is not None}
    return sorted(found)


@consistent
def metadata_codes(run: Run, column: str) -> tuple[list[str], np.ndarray]:
    """Return the distinct texts of a metadata column, and (example,) the index of each.

    The first text is the empty one of examples without the value.
    """
    number_of: dict[str, int] = {"": 0}

    def number(value: Any) -> int:
        text = "" if value is None else metadata_text(value)
        return number_of.setdefault(text, len(number_of))

    codes = run.columns.metadata(column, number, np.int32)
    return list(number_of), codes


@consistent
def positions(part: Slice, sort: str = "position", descending: bool = False) -> np.ndarray:
    """Return the positions of a slice, sorted; ties and unknown values by position, last."""
    return _first(part, sort, descending, None)


def _first(part: Slice, sort: str, descending: bool, end: int | None) -> np.ndarray:
    """Return the first positions of a sorted slice, without sorting the rest of it."""
    columns = part.run.columns
    rows = np.flatnonzero(part.mask())
    if sort not in SORTS:
        raise UserError(f"Cannot sort by {sort!r}; choose from {', '.join(SORTS)}.")
    if sort == "position":
        return columns.position[(rows[::-1] if descending else rows)[:end]]
    keys = _sort_column(part.run, sort)[rows].astype(np.float64)
    if descending:
        keys = -keys
    if end is not None and 0 < end < len(keys):
        last = np.partition(keys, end - 1)[end - 1]
        # Not a number is sorted last, so a page that reaches those needs them all.
        near = np.flatnonzero(keys <= last) if last == last else np.arange(len(keys))
        rows, keys = rows[near], keys[near]
    return columns.position[rows[np.argsort(keys, kind="stable")[:end]]]


def _sort_column(run: Run, sort: str) -> np.ndarray:
    """Return the column that examples are sorted by."""
    if sort == "coherence":
        return _coherence(run)
    if sort != "label_quality":
        return run.columns.column(sort)
    found = run.columns.quality(sort)
    if found is None:
        raise UserError(
            f"Run {run.number} cannot be sorted by {sort} yet; `data-quality --run {run.number}`"
            " finds it."
        )
    return found


def _coherence(run: Run) -> np.ndarray:
    """Return the examples' coherence at the layer to read."""
    return run.columns.column(f"coherence:{run.layer_to_read()}")


@consistent
def examples(
    part: Slice,
    sort: str = "position",
    descending: bool = False,
    limit: int | None = None,
    offset: int = 0,
) -> pd.DataFrame:
    """Return a page of a slice."""
    end = None if limit is None else offset + limit
    return examples_at(part.run, _first(part, sort, descending, end)[offset:])


@consistent
def examples_at(run: Run, positions: Sequence[int] | np.ndarray) -> pd.DataFrame:
    """Return the rows of these positions, in this order."""
    names = run.label_names
    positions = [int(position) for position in positions]
    stored = matching(
        run.store.connection,
        "SELECT e.position, e.id, t.text, t.pair, e.gold, e.predicted, e.confidence, e.margin,"
        " e.length, e.chars_seen, e.chars_total, e.failure"
        " FROM examples e JOIN texts t USING (text_id) WHERE e.run = ? AND e.position IN ({})",
        positions,
        run.number,
    )
    found = {row[0]: row for row in stored}
    coherence = _coherence(run)
    places = run.columns.rows_of(np.array(positions, np.int64))
    rows = []
    for position, place in zip(positions, places, strict=True):
        row = found[position]
        rows.append(
            (
                *row[:4],
                *(None if label is None else names[label] for label in row[4:6]),
                *row[6:9],
                coherence[place] if place >= 0 else None,
                *row[9:],
            )
        )
    frame = pd.DataFrame(rows, columns=EXAMPLE_COLUMNS)
    numbers = ["confidence", "margin", "coherence"]
    texts = ["id", "text", "pair", "gold", "predicted", "failure"]
    # What is missing in a column of texts is NaN to pandas, which no reader asks for.
    known = frame[texts].astype(object).where(frame[texts].notna(), None)
    return frame.astype({name: float for name in numbers}).assign(**known)


@consistent
def position_of(run: Run, id: str) -> int | None:
    """Return the position of an external id, the first one where the dataset repeats it."""
    sql = "SELECT min(position) FROM examples WHERE run = ? AND id = ?"
    return run.store.rows(sql, (run.number, str(id)))[0][0]


@consistent
def example(run: Run, example: int | str) -> dict[str, Any]:
    """Return everything of one example, by position (int) or external id (str)."""
    position = position_of(run, example) if isinstance(example, str) else int(example)
    index = run.columns
    place = -1 if position is None else int(index.rows_of(np.array([position]))[0])
    if position is None or place < 0:
        raise UserError(f"Run {run.number} has no audited example {example!r}.")
    row = plain(examples_at(run, [position]).iloc[0].to_dict())
    number, slot = index.place(place)
    chunk = columnar.take(chunk_io.load_chunk(run.store.connection, run.number, number), [slot])
    (besides,) = details(run, [position])
    return {
        **row,
        **besides,
        "label_names": run.label_names,
        "probabilities": probabilities(besides["logits"], run.model.task),
        **_tokens(chunk, row),
        **_targets(chunk, run.targets),
        "explanation": chunk.explanation[:, 0],
        "coherence_by_layer": np.array(
            [index.column(f"coherence:{layer}")[place] for layer in range(chunk.layers)], np.float32
        ),
        "note": note(run, row["id"]),
        "annotation": annotation(run, position),
    }


@consistent
def details(run: Run, positions: Sequence[int] | np.ndarray) -> list[dict[str, Any]]:
    """Return what these examples have besides, in order: label, metadata, logits, `incomplete`."""
    positions = [int(position) for position in positions]
    rows = matching(
        run.store.connection,
        "SELECT position, label, metadata, logits, incomplete FROM examples"
        " WHERE run = ? AND position IN ({})",
        positions,
        run.number,
    )
    found = {
        position: {
            "label": label,
            "metadata": json.loads(metadata) if metadata else {},
            "logits": np.frombuffer(logits or b"", "<f4"),
            "incomplete": bool(incomplete),
        }
        for position, label, metadata, logits, incomplete in rows
    }
    return [found[position] for position in positions]


@consistent
def logits(run: Run) -> np.ndarray:
    """Return (example, class) float32 by rising position; not a number for examples without."""
    index, classes = run.columns, len(run.label_names)
    found = np.full((len(index), classes), np.nan, np.float32)
    for rows, (blobs,) in index.batches(
        "SELECT position, logits FROM examples WHERE run = ? AND length(logits) = ?", 4 * classes
    ):
        found[rows] = np.frombuffer(b"".join(blobs), "<f4").reshape(-1, classes)
    return found


def probabilities(logits: np.ndarray, task: str) -> np.ndarray:
    """Return the probabilities of logits as the task reads them."""
    if task == "regression" or not len(logits):
        return logits
    wide = logits.astype(np.float64)
    if task == "multi-label":
        return (1 / (1 + np.exp(-wide))).astype(np.float32)
    powers = np.exp(wide - wide.max())
    return (powers / powers.sum()).astype(np.float32)


def _tokens(chunk: columnar.Chunk, row: dict[str, Any]) -> dict[str, Any]:
    """Return tokens and words of a chunk of one example."""
    texts = (row["text"], row["pair"] or "")
    spans = np.stack([chunk.token_starts, chunk.token_ends], axis=1)
    word_spans = np.stack([chunk.word_starts, chunk.word_ends], axis=1)
    owner = np.repeat(np.arange(len(chunk.pieces)), chunk.pieces)
    word_sides = chunk.sides[word_math.starts_of(chunk.pieces)[:-1]]
    return {
        "tokens": [texts[s][a:b] for s, (a, b) in zip(chunk.sides, spans.tolist(), strict=True)],
        "token_ids": chunk.token_ids,
        "spans": spans,
        "sides": chunk.sides.astype(np.int8),
        "words": [texts[s][a:b] for s, (a, b) in zip(word_sides, word_spans.tolist(), strict=True)],
        "word_spans": word_spans,
        "word_sides": word_sides.astype(np.int8),
        "word_of_token": owner.astype(np.int32),
    }


def _targets(chunk: columnar.Chunk, names: list[str]) -> dict[str, Any]:
    """Return saliency and completeness by target of a chunk of one example."""
    targets: dict[int, columnar.Chunk | columnar.Extra] = {int(chunk.target[0]): chunk}
    found = {names[target - 1]: part for target, part in (targets | chunk.extra).items() if target}
    return {
        "saliency": {name: part.scores.astype(np.float32) for name, part in found.items()},
        "completeness": {name: part.completeness[:, 0] for name, part in found.items()},
    }
