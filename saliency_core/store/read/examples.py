"""Examples of a slice: which they are, a page of them, everything of one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from saliency_core.errors import UserError
from saliency_core.store.details import details
from saliency_core.store.format import chunk as columnar
from saliency_core.store.format import chunk_io, word_math
from saliency_core.store.format.filter_columns import read_meta_column
from saliency_core.store.query.columns import Filters
from saliency_core.store.query.masks import Selection, metadata_text
from saliency_core.store.read.handle import consistent
from saliency_core.store.read.runs import Runs, plain

SORTS = ("position", "confidence", "margin", "coherence", "length")

EXAMPLE_COLUMNS = [
    "example",
    "id",
    "text",
    "pair",
    "gold",
    "predicted",
    "confidence",
    "margin",
    "length",
    "coherence",
    "chars_seen",
    "chars_total",
    "failure",
]


class Examples(Runs):
    """The part of `Store` that reads examples, notes and verdicts."""

    @consistent
    def count(self, where: str = "", run: int | None = None) -> int:
        """Return the number of examples in a slice."""
        return int(np.count_nonzero(self.mask(where, run=run)))

    @consistent
    def mask(self, where: str = "", run: int | None = None) -> np.ndarray:
        """Return (example,) bool over the run's examples by rising position."""
        run = self._run(run)
        return self._mask(self._index(run), where)

    def _mask(self, index: Filters, where: str) -> np.ndarray:
        return index.mask(where, Selection(self, index, where).mask)

    def _coherence(self, index: Filters) -> np.ndarray:
        """Return the examples' coherence at the layer to read."""
        return index.column(f"coherence:{self._default_layer(index.run)}")

    @consistent
    def column(self, name: str, where: str = "", run: int | None = None) -> np.ndarray:
        """Return a filter column of a slice by rising position: position, gold, length, ..."""
        index = self._index(self._run(run))
        mask = self._mask(index, where)
        if name == "position":
            return index.position[mask]
        return index.column(name)[mask]

    @consistent
    def metadata_values(self, column: str, run: int | None = None) -> np.ndarray:
        """Return the texts of a metadata column by rising position, as slices compare them.

        An example without the value has an empty text.
        """
        texts, codes = self.metadata_codes(column, run=run)
        return np.array(texts, object)[codes]

    @consistent
    def metadata_codes(self, column: str, run: int | None = None) -> tuple[list[str], np.ndarray]:
        """Return the distinct texts of a metadata column, and (example,) the index of each.

        The first text is the empty one of examples without the value.
        """
        index = self._index(self._run(run))
        number_of: dict[str, int] = {"": 0}
        found = np.zeros(len(index.storage_position), np.int32)
        for number, data in self._rows(
            "SELECT chunk, data FROM columns WHERE run = ? AND name = ?",
            (index.run, f"meta:{column}"),
        ):
            values, codes = read_meta_column(data)
            texts = ["" if value is None else metadata_text(value) for value in values]
            numbers = [number_of.setdefault(text, len(number_of)) for text in texts]
            first = index.first_of[number]
            found[first : first + len(codes)] = np.array(numbers, np.int32)[codes]
        return list(number_of), index.from_stored(found)

    def slices(self) -> pd.DataFrame:
        """Return the saved slices."""
        columns = ["name", "where", "note", "created"]
        rows = self._rows("SELECT name, condition, note, created FROM slices ORDER BY name")
        return pd.DataFrame(rows, columns=columns)

    @consistent
    def ids(
        self,
        where: str = "",
        sort: str = "position",
        descending: bool = False,
        run: int | None = None,
    ) -> np.ndarray:
        """Return the positions of a slice, sorted; ties and unknown values by position, last."""
        return self._first(where, sort, descending, run, None)

    def _first(
        self, where: str, sort: str, descending: bool, run: int | None, end: int | None
    ) -> np.ndarray:
        """Return the first positions of a sorted slice, without sorting the rest of it."""
        index = self._index(self._run(run))
        rows = np.flatnonzero(self._mask(index, where))
        if sort not in SORTS:
            raise UserError(f"Cannot sort by {sort!r}; choose from {', '.join(SORTS)}.")
        if sort == "position":
            return index.position[(rows[::-1] if descending else rows)[:end]]
        column = self._coherence(index) if sort == "coherence" else index.column(sort)
        keys = column[rows].astype(np.float64)
        if descending:
            keys = -keys
        if end is not None and 0 < end < len(keys):
            last = np.partition(keys, end - 1)[end - 1]
            # Not a number is sorted last, so a page that reaches those needs them all.
            near = np.flatnonzero(keys <= last) if last == last else np.arange(len(keys))
            rows, keys = rows[near], keys[near]
        return index.position[rows[np.argsort(keys, kind="stable")[:end]]]

    @consistent
    def examples(
        self,
        where: str = "",
        sort: str = "position",
        descending: bool = False,
        limit: int | None = None,
        offset: int = 0,
        run: int | None = None,
    ) -> pd.DataFrame:
        """Return a page of a slice."""
        run = self._run(run)
        end = None if limit is None else offset + limit
        positions = self._first(where, sort, descending, run, end)
        return self.examples_at(positions[offset:], run=run)

    @consistent
    def examples_at(self, positions: Sequence[int], run: int | None = None) -> pd.DataFrame:
        """Return the rows of these positions, in this order."""
        run = self._run(run)
        index, names = self._index(run), self.run(run)["label_names"]
        positions = [int(position) for position in positions]
        found: dict[int, tuple] = {}
        for start in range(0, len(positions), 900):
            part = positions[start : start + 900]
            marks = ",".join("?" * len(part))
            for row in self._rows(
                "SELECT e.position, e.id, t.text, t.pair, e.gold, e.predicted, e.confidence,"
                " e.margin, e.length, e.chars_seen, e.chars_total, e.failure"
                " FROM examples e JOIN texts t USING (text_id)"
                f" WHERE e.run = ? AND e.position IN ({marks})",
                (run, *part),
            ):
                found[row[0]] = row
        coherence = self._coherence(index)
        places = index.rows_of(np.array(positions, np.int64))
        rows = []
        for position, place in zip(positions, places, strict=True):
            row = found[position]
            rows.append(
                (
                    *row[:4],
                    _name(names, row[4]),
                    _name(names, row[5]),
                    *row[6:9],
                    _number_orplain(coherence[place]) if place >= 0 else None,
                    *row[9:],
                )
            )
        frame = pd.DataFrame(rows, columns=EXAMPLE_COLUMNS)
        numbers = ["confidence", "margin", "coherence"]
        texts = ["id", "text", "pair", "gold", "predicted", "failure"]
        return frame.astype({name: float for name in numbers}).astype(dict.fromkeys(texts, object))

    @consistent
    def position_of(self, id: str, run: int | None = None) -> int | None:
        """Return the position of an external id."""
        rows = self._rows(
            "SELECT position FROM examples WHERE run = ? AND id = ? ORDER BY position",
            (self._run(run), str(id)),
        )
        return rows[0][0] if rows else None

    @consistent
    def example(self, example: int | str, run: int | None = None) -> dict[str, Any]:
        """Return everything of one example, by position (int) or external id (str)."""
        run = self._run(run)
        position = self.position_of(example, run) if isinstance(example, str) else int(example)
        index = self._index(run)
        place = -1 if position is None else int(index.rows_of(np.array([position]))[0])
        if place < 0:
            raise UserError(f"Run {run} has no audited example {example!r}.")
        facts = self.run(run)
        row = self.examples_at([position], run=run).iloc[0].to_dict()
        row = {key: plain(value) for key, value in row.items()}
        number, slot = index.place(place)
        chunk = columnar.take(chunk_io.load_chunk(self.connection, run, number), [slot])
        (besides,) = details(self, [position], run)
        return {
            **row,
            **besides,
            "label_names": facts["label_names"],
            "probabilities": probabilities(besides["logits"], facts["model"]["task"]),
            **_tokens(chunk, row),
            **_targets(chunk, facts["targets"]),
            "explanation": chunk.explanation[:, 0],
            "coherence_by_layer": np.array(
                [index.column(f"coherence:{layer}")[place] for layer in range(chunk.layers)],
                np.float32,
            ),
            "note": self.note(row["id"], run=run),
        }

    @consistent
    def note(self, id: str, run: int | None = None) -> dict[str, str | None] | None:
        """Return the note and proposed label of an example, None where there is none."""
        rows = self._rows(
            "SELECT note, proposed_label FROM notes WHERE run = ? AND id = ?",
            (self._run(run), str(id)),
        )
        return {"note": rows[0][0], "proposed_label": rows[0][1]} if rows else None

    @consistent
    def notes(self, run: int | None = None) -> pd.DataFrame:
        """Return all notes of a run."""
        columns = ["id", "note", "proposed_label", "updated"]
        rows = self._rows(
            f"SELECT {', '.join(columns)} FROM notes WHERE run = ? ORDER BY id", (self._run(run),)
        )
        return pd.DataFrame(rows, columns=columns)

    @consistent
    def orphaned_notes(self, run: int | None = None) -> pd.DataFrame:
        """Return the notes whose row the dataset no longer has, with the text of that row."""
        columns = ["id", "text", "pair", "note", "proposed_label", "updated"]
        rows = self._rows(
            f"SELECT {', '.join(columns)} FROM orphaned_notes LEFT JOIN texts USING (text_id)"
            " WHERE run = ? ORDER BY id, orphan",
            (self._run(run),),
        )
        return pd.DataFrame(rows, columns=columns)

    @consistent
    def verdicts(self, run: int | None = None) -> pd.DataFrame:
        """Return the analyst's verdicts on words."""
        columns = ["word", "class", "verdict", "note", "updated"]
        rows = self._rows(
            f"SELECT {', '.join(columns)} FROM verdicts WHERE run = ? ORDER BY word, class",
            (self._run(run),),
        )
        return pd.DataFrame(rows, columns=columns)


def probabilities(logits: np.ndarray, task: str) -> np.ndarray:
    """Return the probabilities of logits as the task reads them."""
    if task == "regression" or not len(logits):
        return logits
    wide = logits.astype(np.float64)
    if task == "multi-label":
        return (1 / (1 + np.exp(-wide))).astype(np.float32)
    powers = np.exp(wide - wide.max())
    return (powers / powers.sum()).astype(np.float32)


def _name(names: list[str], label: int | None) -> str | None:
    return None if label is None else names[label]


def _number_orplain(value: Any) -> float | None:
    return None if value != value else float(value)


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
    saliency, completeness = {}, {}
    if chunk.target[0]:
        name = names[chunk.target[0] - 1]
        saliency[name] = chunk.scores.astype(np.float32)
        completeness[name] = chunk.completeness[:, 0]
    for target, extra in chunk.extra.items():
        saliency[names[target - 1]] = extra.scores.astype(np.float32)
        completeness[names[target - 1]] = extra.completeness[:, 0]
    return {"saliency": saliency, "completeness": completeness}
