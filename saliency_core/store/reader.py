"""The reading side: what the dashboard, the command line and notebooks ask of a file.

No torch, no sqlite-utils; one read-only connection a thread. Filters run on numpy columns that
are read once per state of the file (1 000 000 examples: about 30 MB), not on SQL rows.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from saliency_core.errors import UserError
from saliency_core.store import chunks as columnar
from saliency_core.store import loading, schema, slices
from saliency_core.store.access import prepare
from saliency_core.store.consolidation import read_meta_column
from saliency_core.store.results import Results
from saliency_core.store.slices import Term, Value
from saliency_core.store.wordsums import Postings, Sums, WordSums, chunk_sums

SORTS = ("position", "confidence", "margin", "coherence", "length")

_SHARED_CHUNKS = 16
"""Chunks from which on threads share the work of word sums."""

_THREADS = 8

_COMPARE = {
    ">": np.greater,
    "<": np.less,
    ">=": np.greater_equal,
    "<=": np.less_equal,
    "=": np.equal,
    ":": np.equal,
}

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


@dataclass(frozen=True)
class Occurrences:
    """Every word of every example of a slice at one layer, in the order of the texts."""

    example: np.ndarray
    """(word,) int32 positions."""
    word: np.ndarray
    """(word,) int32 index into vocabulary."""
    score: np.ndarray
    """(word,) float32 logits."""
    share: np.ndarray
    """(word,) float32 part of the example's positive score."""
    top3: np.ndarray
    """(word,) bool."""
    vocabulary: list[str]
    """Lower-cased words by id; of the whole file."""


def open_store(path: str | Path) -> Store:
    """Open a file for reading; an older format is migrated first.

    Raises:
        UserError: There is no file, it is damaged, or a newer program wrote it.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"There is no database at {path}.")
    found = schema.check(path)
    if found == 0:
        raise UserError(f"{path} is empty; no audit wrote it.")
    if found < schema.FORMAT:
        prepare(path)
    return Store(path)


class _Index:
    """Filter columns of one run at one version of the file, read when first asked for."""

    def __init__(self, store: Store, run: int, version: int) -> None:
        self.store, self.run, self.version = store, run, version
        self._columns: dict[str, np.ndarray] = {}
        rows = store._rows(
            "SELECT c.chunk, c.examples, p.data FROM chunks c JOIN columns p"
            " ON p.run = c.run AND p.chunk = c.chunk AND p.name = 'position'"
            " WHERE c.run = ? ORDER BY c.chunk",
            (run,),
        )
        self.chunks = np.array([row[0] for row in rows], np.int64)
        self.counts = np.array([row[1] for row in rows], np.int64)
        self.first = columnar.starts_of(self.counts)
        stored = _join([row[2] for row in rows], np.int64)
        self.storage_position = stored
        rising = np.all(stored[1:] > stored[:-1]) and (not len(stored) or stored[0] >= 0)
        # In an unfinished run a place may be given up (-1), or copied to a later chunk already.
        self.order = None if rising else _last_places(stored)
        self.position = stored if rising else stored[self.order]

    def __len__(self) -> int:
        return len(self.position)

    def column(self, name: str) -> np.ndarray:
        """Return a column in the order of positions."""
        if name not in self._columns:
            rows = self.store._rows(
                "SELECT data FROM columns WHERE run = ? AND name = ? ORDER BY chunk",
                (self.run, name),
            )
            if len(rows) != len(self.chunks):
                values = np.full(len(self.storage_position), np.nan, np.float16)
            else:
                values = _join([row[0] for row in rows], None)
            self._columns[name] = values if self.order is None else values[self.order]
        return self._columns[name]

    def stored_mask(self, mask: np.ndarray) -> np.ndarray:
        """Return a mask over positions as one over places in the chunks."""
        if self.order is None:
            return mask
        stored = np.zeros(len(self.storage_position), bool)
        stored[self.order[mask]] = True
        return stored

    def from_stored(self, stored: np.ndarray) -> np.ndarray:
        """Return a mask over places as one over positions."""
        return stored if self.order is None else stored[self.order]

    def rows_of(self, positions: np.ndarray) -> np.ndarray:
        """Return the index of each position; -1 where the run lacks it."""
        rows = np.searchsorted(self.position, positions)
        rows = np.minimum(rows, len(self) - 1)
        return np.where(self.position[rows] == positions, rows, -1) if len(self) else rows * 0 - 1

    def place(self, row: int) -> tuple[int, int]:
        """Return chunk number and slot of a row."""
        stored = row if self.order is None else int(self.order[row])
        index = int(np.searchsorted(self.first, stored, side="right")) - 1
        return int(self.chunks[index]), stored - int(self.first[index])


def _join(blobs: list[bytes], dtype: Any) -> np.ndarray:
    parts = [columnar.unpack(blob) for blob in blobs]
    joined = np.concatenate(parts) if parts else np.zeros(0)
    return joined if dtype is None else joined.astype(dtype)


def _last_places(positions: np.ndarray) -> np.ndarray:
    """Return the last index of each distinct position but -1, by rising position."""
    order = np.argsort(positions, kind="stable")
    order = order[np.searchsorted(positions[order], 0) :]
    sorted_positions = positions[order]
    last = np.ones(len(order), bool)
    last[:-1] = sorted_positions[1:] != sorted_positions[:-1]
    return order[last]


class Store(Results):
    """One file, read-only. Every method takes `run`; None is the newest."""

    def __init__(self, path: str | Path) -> None:
        """Use `open_store`, which checks the file first."""
        self.path = Path(path)
        self._local = threading.local()
        self._lock = threading.Lock()
        self._indexes: dict[int, _Index] = {}
        self._layouts: dict[tuple[int, int, int], columnar.Chunk] = {}
        self._words: tuple[tuple[int, int], list[str]] | None = None

    # Connections and caches

    @property
    def connection(self) -> sqlite3.Connection:
        """Return this thread's connection."""
        if not hasattr(self._local, "connection"):
            self._local.connection = schema.read_connection(self.path)
        return self._local.connection

    def _rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple]:
        """Run a query to its end: an open cursor would block checkpoints."""
        try:
            return self.connection.execute(sql, values).fetchall()
        except sqlite3.DatabaseError as error:
            raise UserError(schema.describe(self.path, error)) from error

    @contextmanager
    def steady(self) -> Iterator[None]:
        """Answer from one state of the file, whatever an audit writes into it meanwhile.

        Without it, two questions to a file that is being written may speak of different examples.
        """
        connection = self.connection
        if connection.in_transaction:
            yield
            return
        connection.execute("BEGIN")
        try:
            yield
        finally:
            connection.rollback()

    def version(self) -> int:
        """Return a number that every writing transaction raises."""
        return self._rows("SELECT value FROM meta WHERE key = 'version'")[0][0]

    def _run(self, run: int | None) -> int:
        if run is None:
            newest = self._rows("SELECT max(run) FROM runs")[0][0]
            if newest is None:
                raise UserError(f"{self.path} holds no run yet.")
            return newest
        if not self._rows("SELECT 1 FROM runs WHERE run = ?", (int(run),)):
            known = ", ".join(str(row[0]) for row in self._rows("SELECT run FROM runs"))
            raise UserError(f"{self.path} has no run {run}; it has: {known or 'none'}.")
        return int(run)

    def _index(self, run: int) -> _Index:
        version = self.version()
        with self._lock:
            found = self._indexes.get(run)
        if found is None or found.version != version:
            found = _Index(self, run, version)
            with self._lock:
                self._indexes[run] = found
        return found

    def _layout(self, run: int, chunk: int, version: int) -> columnar.Chunk:
        """Return a chunk without scores, remembered for a few dozen chunks."""
        key = (run, chunk, version)
        with self._lock:
            found = self._layouts.get(key)
        if found is None:
            found = loading.load_chunk(self.connection, run, chunk, scores=False)
            with self._lock:
                if len(self._layouts) >= 64:
                    self._layouts.pop(next(iter(self._layouts)))
                self._layouts[key] = found
        return found

    def vocabulary(self) -> list[str]:
        """Return the lower-cased words of the file by id."""
        top = self._rows("SELECT coalesce(max(word_id), -1) FROM vocabulary")[0][0]
        # Ids only rise, but those of a pruned run may be given to other words.
        pruned = self._rows("SELECT value FROM meta WHERE key = 'pruned'")
        state = (top, pruned[0][0] if pruned else 0)
        if self._words is None or self._words[0] != state:
            words = [""] * (top + 1)
            for word_id, word in self._rows("SELECT word_id, word FROM vocabulary"):
                words[word_id] = word
            self._words = (state, words)
        return self._words[1]

    # Runs

    def runs(self) -> pd.DataFrame:
        """Return a row a run: number, model, dataset, examples, failed, accuracy and so on."""
        rows = []
        for (run,) in self._rows("SELECT run FROM runs ORDER BY run"):
            facts, counts = self.run(run), self._counts(run)
            rows.append(
                {
                    "run": run,
                    "model": facts["model"]["name"],
                    "dataset": facts["dataset"]["name"],
                    **counts,
                    "layers": facts["layers"],
                    "target": facts["settings"]["target"],
                    "seconds": facts["seconds"],
                    "bytes": self._bytes(run),
                    "status": facts["status"],
                    "created": facts["created"],
                    "recommended": facts["recommended"],
                }
            )
        columns = [
            "run",
            "model",
            "dataset",
            "examples",
            "failed",
            "accuracy",
            "layers",
            "target",
            "seconds",
            "bytes",
            "status",
            "created",
            "recommended",
        ]
        return pd.DataFrame(rows, columns=columns)

    def _counts(self, run: int) -> dict[str, Any]:
        index = self._index(run)
        gold, predicted = index.column("gold"), index.column("predicted")
        judged = (gold >= 0) & (predicted >= 0)
        n = int(judged.sum())
        return {
            "examples": len(index),
            "failed": int(np.count_nonzero(index.column("failed") == 1)),
            "accuracy": float(np.mean(gold[judged] == predicted[judged])) if n else None,
        }

    def _bytes(self, run: int) -> int:
        """Return the bytes of a run's blobs and of its examples' texts."""
        scores = self._rows(
            "SELECT coalesce(sum(length(data) + coalesce(length(top3), 0)), 0) FROM scores"
            " WHERE run = ?",
            (run,),
        )[0][0]
        layout = self._rows(
            "SELECT coalesce(sum(length(token_ids) + length(token_starts) + length(token_lengths)"
            " + length(first) + length(explained) + coalesce(length(explanation), 0)), 0)"
            " FROM chunks WHERE run = ?",
            (run,),
        )[0][0]
        words = self._rows(
            "SELECT coalesce(sum(length(occurrences)), 0) FROM postings WHERE run = ?", (run,)
        )[0][0]
        return scores + layout + words

    def run(self, run: int | None = None) -> dict[str, Any]:
        """Return everything known of a run but its examples."""
        run = self._run(run)
        cursor = self.connection.execute("SELECT * FROM runs WHERE run = ?", (run,))
        row = dict(zip([c[0] for c in cursor.description], cursor.fetchone(), strict=True))
        model = json.loads(row["model_info"])
        return {
            "run": run,
            "model": model,
            "dataset": json.loads(row["dataset_info"]),
            "settings": json.loads(row["settings"]),
            "label_names": json.loads(row["label_names"]),
            "layers": model["layers"],
            "targets": json.loads(row["targets"]),
            "recommended": row["recommended"],
            "equals": json.loads(row["equals"]),
            "warnings": json.loads(row["warnings"]),
            "extra": json.loads(row["extra"]),
            "created": row["created"],
            "seconds": row["seconds"],
            "status": row["status"],
            "versions": json.loads(row["versions"]),
        }

    def info(self) -> dict[str, Any]:
        """Return what the file holds, as `info --json` prints it."""
        keys = [
            "run",
            "model",
            "dataset",
            "examples",
            "failed",
            "accuracy",
            "layers",
            "target",
            "seconds",
            "bytes",
            "status",
        ]
        frame = self.runs()
        rows = [
            {
                **{key: _none(value) for key, value in row.items()},
                "warnings": self.run(row["run"])["warnings"],
            }
            for row in frame[keys].astype(object).to_dict("records")
        ]
        return {"database": str(self.path), "version": schema.FORMAT, "runs": rows}

    def layers(self, run: int | None = None) -> pd.DataFrame:
        """Return the layer summaries."""
        columns = [
            "layer",
            "coherence",
            "low",
            "high",
            "zero_line",
            "decodability",
            "comprehensiveness",
            "sufficiency",
            "explained",
        ]
        rows = self._rows(
            f"SELECT {', '.join(columns)} FROM layers WHERE run = ? ORDER BY layer",
            (self._run(run),),
        )
        frame = pd.DataFrame(rows, columns=columns)
        return frame.astype({name: float for name in columns[1:]})

    # Slices

    def count(self, where: str = "", run: int | None = None) -> int:
        """Return the number of examples in a slice."""
        return int(np.count_nonzero(self.mask(where, run=run)))

    def mask(self, where: str = "", run: int | None = None) -> np.ndarray:
        """Return (example,) bool over the run's examples by rising position."""
        run = self._run(run)
        return self._mask(self._index(run), where, ())

    def _mask(self, index: _Index, where: str, inside: tuple[str, ...]) -> np.ndarray:
        mask = np.ones(len(index), bool)
        for term in slices.parse(where):
            found = self._select(index, term, where, inside)
            mask &= ~found if term.negated else found
        return mask

    def _select(self, index: _Index, term: Term, line: str, inside: tuple[str, ...]) -> np.ndarray:
        """Return the examples that one term holds for."""
        if term.field in slices.FLAGS:
            return _flag(index, term.field)
        if term.field in slices.NUMBERS:
            return self._number(index, term, line)
        if term.field.startswith("meta."):
            return self._meta(index, term, line)
        chosen = {
            "gold": self._label,
            "predicted": self._label,
            "word": self._word,
            "salient": self._salient,
            "verdict": self._verdict,
            "id": self._id,
            "phrase": self._phrase,
        }.get(term.field)
        found = np.zeros(len(index), bool)
        for value in term.values:
            if chosen is None:
                found |= self._saved(index, term, value, line, inside)
            else:
                found |= chosen(index, term, value, line)
        return found

    def _number(self, index: _Index, term: Term, line: str) -> np.ndarray:
        column = self._coherence(index) if term.field == "coherence" else index.column(term.field)
        column = column.astype(np.float64)
        found = np.zeros(len(index), bool)
        for value in term.values:
            limit = slices.number(line, term.start, value)
            found |= _COMPARE[term.operator](column, limit)
        return found & ~np.isnan(column)

    def _coherence(self, index: _Index, layer: int | None = None) -> np.ndarray:
        """Return the examples' coherence at a layer, the recommended one by default."""
        if layer is None:
            layer = self._default_layer(index.run)
        return index.column(f"coherence:{layer}")

    def _default_layer(self, run: int) -> int:
        facts = self.run(run)
        return facts["layers"] if facts["recommended"] is None else facts["recommended"]

    def _label(self, index: _Index, term: Term, value: Value, line: str) -> np.ndarray:
        names = self.run(index.run)["label_names"]
        name = slices.choose(line, term.start, value, names, "names no label")
        return index.column(term.field) == names.index(name)

    def _word_id(self, word: str) -> int | None:
        rows = self._rows("SELECT word_id FROM vocabulary WHERE word = ?", (word.lower(),))
        return rows[0][0] if rows else None

    def _word(self, index: _Index, term: Term, value: Value, line: str) -> np.ndarray:
        return self._with_word(index, value.text, None)

    def _salient(self, index: _Index, term: Term, value: Value, line: str) -> np.ndarray:
        word, _, layer_text = value.text.rpartition("@")
        top = self.run(index.run)["layers"]
        if not word or not layer_text.isdigit():
            return self._with_word(index, value.text, self._default_layer(index.run))
        if int(layer_text) > top:
            raise slices.error(
                line,
                term.start,
                value.start + len(word) + 1,
                f"names a layer that is not there (0 to {top})",
                f"salient:{word}@{top}",
            )
        return self._with_word(index, word, int(layer_text))

    def _with_word(self, index: _Index, word: str, layer: int | None) -> np.ndarray:
        """Return the examples that hold a word, or have it among the top three of a layer."""
        word_id = self._word_id(word)
        stored = np.zeros(len(index.storage_position), bool)
        if word_id is None:
            return index.from_stored(stored)
        for number, first, places in self._postings(index, word_id, layer):
            ends = columnar.starts_of(self._n_words(index, number))
            slots = np.searchsorted(ends, places, side="right") - 1
            stored[first + slots] = True
        return index.from_stored(stored)

    def _n_words(self, index: _Index, number: int) -> np.ndarray:
        row = self._rows(
            "SELECT n_words FROM chunks WHERE run = ? AND chunk = ?", (index.run, number)
        )
        return columnar.unpack(row[0][0]).astype(np.int64)

    def _postings(self, index: _Index, word_id: int, layer: int | None):
        """Yield (chunk, first row, places of the word in the chunk)."""
        first_of = dict(zip(index.chunks.tolist(), index.first.tolist(), strict=False))
        for number, words, counts in self._rows(
            "SELECT chunk, words, counts FROM postings WHERE run = ?", (index.run,)
        ):
            segments = np.flatnonzero(columnar.unpack(words) == word_id)
            if not len(segments) or number not in first_of:
                continue
            counts = columnar.unpack(counts)
            at = columnar.ranges(columnar.starts_of(counts)[segments], counts[segments])
            occurrences = self._rows(
                "SELECT occurrences FROM postings WHERE run = ? AND chunk = ?", (index.run, number)
            )[0][0]
            places = columnar.unpack(occurrences)[at]
            if layer is not None:
                bits = self._rows(
                    "SELECT top3 FROM scores"
                    " WHERE run = ? AND target = 0 AND layer = ? AND chunk = ?",
                    (index.run, layer, number),
                )[0][0]
                places = places[_bits(bits, places.astype(np.int64))]
            yield number, first_of[number], places

    def _verdict(self, index: _Index, term: Term, value: Value, line: str) -> np.ndarray:
        names = self.run(index.run)["label_names"]
        found = np.zeros(len(index), bool)
        for word, label in self._rows(
            "SELECT word, class FROM verdicts WHERE run = ? AND verdict = ?",
            (index.run, value.text),
        ):
            holds = self._with_word(index, word, None)
            if label in names:
                holds = holds & (index.column("predicted") == names.index(label))
            found |= holds
        return found

    def _id(self, index: _Index, term: Term, value: Value, line: str) -> np.ndarray:
        rows = self._rows(
            "SELECT position FROM examples WHERE run = ? AND id = ?", (index.run, value.text)
        )
        return np.isin(index.position, [row[0] for row in rows])

    def _phrase(self, index: _Index, term: Term, value: Value, line: str) -> np.ndarray:
        quoted = '"' + value.text.replace('"', '""') + '"'
        if not any(letter.isalnum() for letter in value.text):
            raise slices.error(line, term.start, value.start, "holds no word to look for", None)
        rows = self._rows(
            "SELECT e.position FROM texts_fts f CROSS JOIN examples e ON e.text_id = f.rowid"
            " WHERE texts_fts MATCH ? AND e.run = ?",
            (quoted, index.run),
        )
        found = np.zeros(len(index), bool)
        places = index.rows_of(np.array([row[0] for row in rows], np.int64))
        found[places[places >= 0]] = True
        return found

    def _saved(
        self, index: _Index, term: Term, value: Value, line: str, inside: tuple[str, ...]
    ) -> np.ndarray:
        saved = dict(self._rows("SELECT name, condition FROM slices"))
        name = slices.choose(line, term.start, value, sorted(saved), "names no saved slice")
        if name in inside:
            raise slices.error(line, term.start, value.start, "refers to itself", None)
        return self._mask(index, saved[name], (*inside, name))

    def _meta(self, index: _Index, term: Term, line: str) -> np.ndarray:
        key = term.field[5:]
        known = self.metadata_columns(run=index.run)
        if key not in known:
            slices.choose(
                line,
                term.start,
                Value(key, term.start + term.negated + 5),
                known,
                "names no metadata column",
            )
        test = _meta_test(term, line)
        found = np.zeros(len(index.storage_position), bool)
        first_of = dict(zip(index.chunks.tolist(), index.first.tolist(), strict=False))
        for number, data in self._rows(
            "SELECT chunk, data FROM columns WHERE run = ? AND name = ?",
            (index.run, f"meta:{key}"),
        ):
            values, codes = read_meta_column(data)
            first = first_of[number]
            found[first : first + len(codes)] = np.array([test(value) for value in values])[codes]
        return index.from_stored(found)

    def metadata_columns(self, run: int | None = None) -> list[str]:
        """Return the names of the metadata columns."""
        facts = self.run(run)
        named = list(facts["dataset"]["metadata_columns"])
        found = self._rows(
            "SELECT name FROM meta_columns WHERE run = ? ORDER BY name", (facts["run"],)
        )
        return named + [name for (name,) in found if name not in named]

    def metadata_values(self, column: str, run: int | None = None) -> np.ndarray:
        """Return the texts of a metadata column by rising position, as slices compare them.

        An example without the value has an empty text.
        """
        texts, codes = self.metadata_codes(column, run=run)
        return np.array(texts, object)[codes]

    def metadata_codes(self, column: str, run: int | None = None) -> tuple[list[str], np.ndarray]:
        """Return the distinct texts of a metadata column, and (example,) the index of each.

        The first text is the empty one of examples without the value.
        """
        index = self._index(self._run(run))
        number_of: dict[str, int] = {"": 0}
        found = np.zeros(len(index.storage_position), np.int32)
        first_of = dict(zip(index.chunks.tolist(), index.first[:-1].tolist(), strict=True))
        for number, data in self._rows(
            "SELECT chunk, data FROM columns WHERE run = ? AND name = ?",
            (index.run, f"meta:{column}"),
        ):
            values, codes = read_meta_column(data)
            texts = ["" if value is None else _meta_text(value) for value in values]
            numbers = [number_of.setdefault(text, len(number_of)) for text in texts]
            first = first_of[number]
            found[first : first + len(codes)] = np.array(numbers, np.int32)[codes]
        return list(number_of), index.from_stored(found)

    def slices(self) -> pd.DataFrame:
        """Return the saved slices."""
        columns = ["name", "where", "note", "created"]
        rows = self._rows("SELECT name, condition, note, created FROM slices ORDER BY name")
        return pd.DataFrame(rows, columns=columns)

    # Examples

    def ids(
        self,
        where: str = "",
        sort: str = "position",
        descending: bool = False,
        run: int | None = None,
    ) -> np.ndarray:
        """Return the positions of a slice, sorted; ties and unknown values by position, last."""
        run = self._run(run)
        index = self._index(run)
        rows = np.flatnonzero(self._mask(index, where, ()))
        if sort not in SORTS:
            raise UserError(f"Cannot sort by {sort!r}; choose from {', '.join(SORTS)}.")
        if sort == "position":
            return index.position[rows[::-1] if descending else rows]
        column = self._coherence(index) if sort == "coherence" else index.column(sort)
        keys = column[rows].astype(np.float64)
        return index.position[rows[np.argsort(-keys if descending else keys, kind="stable")]]

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
        positions = self.ids(where, sort, descending, run=run)
        end = None if limit is None else offset + limit
        return self.examples_at(positions[offset:end], run=run)

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
                    _number_or_none(coherence[place]) if place >= 0 else None,
                    *row[9:],
                )
            )
        frame = pd.DataFrame(rows, columns=EXAMPLE_COLUMNS)
        numbers = ["confidence", "margin", "coherence"]
        texts = ["id", "text", "pair", "gold", "predicted", "failure"]
        return frame.astype({name: float for name in numbers}).astype(dict.fromkeys(texts, object))

    def position_of(self, id: str, run: int | None = None) -> int | None:
        """Return the position of an external id."""
        rows = self._rows(
            "SELECT position FROM examples WHERE run = ? AND id = ? ORDER BY position",
            (self._run(run), str(id)),
        )
        return rows[0][0] if rows else None

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
        row = {key: _none(value) for key, value in row.items()}
        number, slot = index.place(place)
        chunk = columnar.take(loading.load_chunk(self.connection, run, number), [slot])
        logits, data, label = self._rows(
            "SELECT logits, metadata, label FROM examples WHERE run = ? AND position = ?",
            (run, position),
        )[0]
        logits = np.frombuffer(logits, "<f4")
        return {
            **row,
            "label": label,
            "metadata": json.loads(data) if data else {},
            "label_names": facts["label_names"],
            "logits": logits,
            "probabilities": probabilities(logits, facts["model"]["task"]),
            **_tokens(chunk, row),
            **_targets(chunk, facts["targets"]),
            "explanation": chunk.explanation[:, 0],
            "coherence_by_layer": np.array(
                [index.column(f"coherence:{layer}")[place] for layer in range(chunk.layers)],
                np.float32,
            ),
            "note": self.note(row["id"], run=run),
        }

    def note(self, id: str, run: int | None = None) -> dict[str, str | None] | None:
        """Return the note and proposed label of an example, None where there is none."""
        rows = self._rows(
            "SELECT note, proposed_label FROM notes WHERE run = ? AND id = ?",
            (self._run(run), str(id)),
        )
        return {"note": rows[0][0], "proposed_label": rows[0][1]} if rows else None

    def notes(self, run: int | None = None) -> pd.DataFrame:
        """Return all notes of a run."""
        columns = ["id", "note", "proposed_label", "updated"]
        rows = self._rows(
            f"SELECT {', '.join(columns)} FROM notes WHERE run = ? ORDER BY id", (self._run(run),)
        )
        return pd.DataFrame(rows, columns=columns)

    def verdicts(self, run: int | None = None) -> pd.DataFrame:
        """Return the analyst's verdicts on words."""
        columns = ["word", "class", "verdict", "note", "updated"]
        rows = self._rows(
            f"SELECT {', '.join(columns)} FROM verdicts WHERE run = ? ORDER BY word, class",
            (self._run(run),),
        )
        return pd.DataFrame(rows, columns=columns)

    def top_words(
        self, positions: Sequence[int], layer: int, run: int | None = None
    ) -> list[list[dict[str, Any]]]:
        """Return the words of each example at a layer, in the order of the text."""
        run = self._run(run)
        layer = self._layer(run, layer)
        index = self._index(run)
        texts = {
            row["example"]: (row["text"], row["pair"] or "")
            for row in self.examples_at(positions, run=run).to_dict("records")
        }
        places = index.rows_of(np.array([int(p) for p in positions], np.int64))
        result = []
        loaded: dict[int, tuple] = {}
        for position, place in zip(positions, places, strict=True):
            if place < 0:
                result.append([])
                continue
            number, slot = index.place(int(place))
            if number not in loaded:
                loaded[number] = self._word_layer(run, number, layer, index.version)
            result.append(_words_at(*loaded[number], slot, texts[int(position)]))
        return result

    def _layer(self, run: int, layer: int) -> int:
        top = self.run(run)["layers"]
        if not 0 <= int(layer) <= top:
            raise UserError(f"Run {run} has no layer {layer}; it has 0 to {top}.")
        return int(layer)

    def _word_layer(self, run: int, number: int, layer: int, version: int) -> tuple:
        chunk = self._layout(run, number, version)
        data = self._rows(
            "SELECT data FROM scores WHERE run = ? AND target = 0 AND layer = ? AND chunk = ?",
            (run, layer, number),
        )[0][0]
        scores = columnar.sum_pieces(
            np.frombuffer(data, np.float16), columnar.first_tokens(chunk.pieces)
        )
        return chunk, columnar.starts_of(chunk.n_words), scores

    # Numbers over slices

    def confusion(self, where: str = "", run: int | None = None) -> pd.DataFrame:
        """Return the counts of gold and predicted label pairs that occur."""
        run = self._run(run)
        index, names = self._index(run), self.run(run)["label_names"]
        mask = self._mask(index, where, ())
        gold, predicted = index.column("gold")[mask], index.column("predicted")[mask]
        judged = (gold >= 0) & (predicted >= 0)
        n = max(len(names), 1)
        table = np.bincount(gold[judged] * n + predicted[judged], minlength=n * n)
        cells = np.flatnonzero(table)
        return pd.DataFrame(
            {
                "gold": pd.Series([names[cell // n] for cell in cells], dtype=object),
                "predicted": pd.Series([names[cell % n] for cell in cells], dtype=object),
                "count": table[cells],
            }
        )

    def class_metrics(self, where: str = "", run: int | None = None) -> pd.DataFrame:
        """Return precision, recall, F1, support and predictions by class."""
        run = self._run(run)
        index, names = self._index(run), self.run(run)["label_names"]
        mask = self._mask(index, where, ())
        gold, predicted = index.column("gold")[mask], index.column("predicted")[mask]
        judged = (gold >= 0) & (predicted >= 0)
        gold, predicted = gold[judged], predicted[judged]
        n = len(names)
        support = np.bincount(gold, minlength=n).astype(float)
        chosen = np.bincount(predicted, minlength=n).astype(float)
        hits = np.bincount(gold[gold == predicted], minlength=n).astype(float)
        with np.errstate(invalid="ignore", divide="ignore"):
            precision, recall = hits / chosen, hits / support
            f1 = 2 * hits / (support + chosen)
        return pd.DataFrame(
            {
                "class": pd.Series(names, dtype=object),
                "support": support.astype(int),
                "predicted": chosen.astype(int),
                "right": hits.astype(int),
                "precision": precision,
                "recall": recall,
                "f1": f1,
            }
        )

    def confidence(self, where: str = "", run: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return (example,) confidence and whether right, of the labelled examples."""
        index = self._index(self._run(run))
        mask = self._mask(index, where, ())
        gold, predicted = index.column("gold")[mask], index.column("predicted")[mask]
        judged = (gold >= 0) & (predicted >= 0)
        return index.column("confidence")[mask][judged], (gold == predicted)[judged]

    def column(self, name: str, where: str = "", run: int | None = None) -> np.ndarray:
        """Return a filter column of a slice by rising position: position, gold, length, ..."""
        index = self._index(self._run(run))
        mask = self._mask(index, where, ())
        if name == "position":
            return index.position[mask]
        return index.column(name)[mask]

    def occurrences(self, layer: int, where: str = "", run: int | None = None) -> Occurrences:
        """Return every word of a slice at a layer."""
        run = self._run(run)
        layer = self._layer(run, layer)
        index = self._index(run)
        wanted = index.stored_mask(self._mask(index, where, ()))
        parts = []
        for at, number in enumerate(index.chunks.tolist()):
            slots = np.flatnonzero(wanted[index.first[at] : index.first[at + 1]])
            if len(slots):
                parts.append(self._occurrences(index, number, layer, slots))
        kinds = (np.int32, np.int32, np.float32, np.float32, bool)
        joined = [
            np.concatenate([part[i] for part in parts]) if parts else np.zeros(0, kind)
            for i, kind in enumerate(kinds)
        ]
        return Occurrences(*joined, self.vocabulary())

    def word_sums(self, layer: int, where: str = "", run: int | None = None) -> WordSums:
        """Return the sums that word tables are made of, by predicted class and word."""
        run = self._run(run)
        layer = self._layer(run, layer)
        index = self._index(run)
        wanted = index.stored_mask(self._mask(index, where, ()))
        held = [
            (number, wanted[index.first[at] : index.first[at + 1]])
            for at, number in enumerate(index.chunks.tolist())
        ]
        held = [(number, here) for number, here in held if here.any()]
        classes = len(self.run(run)["label_names"])
        words = self._rows("SELECT coalesce(max(word_id) + 1, 0) FROM vocabulary")[0][0]

        def part(shared: list[tuple[int, np.ndarray]]) -> Sums:
            sums = Sums(classes, words)
            for number, here in shared:
                sums.add(*self._chunk_sums(run, number, layer, here))
            return sums

        # Other threads have connections of their own, which may see a later state of a running
        # audit; a finished run keeps its chunks.
        if len(held) < _SHARED_CHUNKS or self.run(run)["status"] != "finished":
            return part(held).rows()
        threads = min(os.cpu_count() or 1, _THREADS)
        size = -(-len(held) // threads)
        with ThreadPoolExecutor(threads) as pool:
            parts = list(pool.map(part, [held[i : i + size] for i in range(0, len(held), size)]))
        for other in parts[1:]:
            parts[0].join(other)
        return parts[0].rows()

    def _chunk_sums(self, run: int, number: int, layer: int, wanted: np.ndarray) -> tuple:
        row = self._rows(
            "SELECT words, classes, groups, counts, occurrences, repeats, n_words, first"
            " FROM postings JOIN chunks USING (run, chunk) WHERE run = ? AND chunk = ?",
            (run, number),
        )[0]
        top3, scores = self._rows(
            "SELECT top3, data FROM scores"
            " WHERE run = ? AND target = 0 AND layer = ? AND chunk = ?",
            (run, layer, number),
        )[0]
        words, classes, groups, *rest, n_words = map(columnar.unpack, row[:-1])
        scores = np.frombuffer(scores, np.float16)
        first = columnar.unpack_bits(row[-1], len(scores))
        top = columnar.unpack_bits(top3, len(rest[1]))
        postings = Postings(words, np.repeat(classes, groups), *rest)
        return chunk_sums(postings, scores, first, n_words, top, wanted)

    def words(
        self, layer: int | None = None, where: str = "", run: int | None = None, **choices: Any
    ) -> pd.DataFrame:
        """Return the salient words of a slice by predicted class, for notebooks.

        Args:
            layer: 0 to L; the recommended one by default.
            where: A slice.
            run: Run number; the newest by default.
            choices: `by_class` and `minimum` of `saliency_core.aggregate.word_table`.
        """
        from saliency_core.aggregate import word_table

        layer = self._default_layer(self._run(run)) if layer is None else layer
        return word_table(self, layer, where, run=run, **choices)

    def suspects(self, run: int | None = None, **choices: Any) -> pd.DataFrame:
        """Return the suspects of a run by what the file holds, strongest first, for notebooks.

        Args:
            run: Run number; the newest by default.
            choices: `layer`, `thresholds`, `training` and others of
                `saliency_core.suspects.suspects`.

        Raises:
            UserError: the run knows no classes.
        """
        from saliency_core.suspects import suspects

        return suspects(self, run=run, **choices)[0]

    def words_of(self, ids: Sequence[int]) -> list[str]:
        """Return words by id."""
        words = self.vocabulary()
        return [words[int(word_id)] for word_id in ids]

    def _occurrences(
        self, index: _Index, number: int, layer: int, slots: np.ndarray
    ) -> tuple[np.ndarray, ...]:
        chunk, starts, scores = self._word_layer(index.run, number, layer, index.version)
        counts = chunk.n_words[slots]
        at = columnar.ranges(starts[slots], counts)
        scores = scores[at]
        return (
            np.repeat(chunk.positions[slots], counts).astype(np.int32),
            chunk.word_ids[at],
            scores,
            columnar.shares(scores, counts),
            columnar.top3(scores, counts),
        )


def probabilities(logits: np.ndarray, task: str) -> np.ndarray:
    """Return the probabilities of logits as the task reads them."""
    if task == "regression" or not len(logits):
        return logits
    wide = logits.astype(np.float64)
    if task == "multi-label":
        return (1 / (1 + np.exp(-wide))).astype(np.float32)
    powers = np.exp(wide - wide.max())
    return (powers / powers.sum()).astype(np.float32)


def _bits(packed: bytes, at: np.ndarray) -> np.ndarray:
    """Return the bits at these places."""
    data = np.frombuffer(packed, np.uint8)
    return (data[at >> 3] >> (7 - (at & 7)).astype(np.uint8)) & 1 == 1


def _flag(index: _Index, name: str) -> np.ndarray:
    if name in ("truncated", "failed"):
        return index.column(name) == 1
    gold, predicted = index.column("gold"), index.column("predicted")
    judged = (gold >= 0) & (predicted >= 0)
    return judged & ((gold == predicted) == (name == "right"))


def _meta_test(term: Term, line: str):
    """Return the test of a metadata value."""
    if term.operator in (":", "="):
        texts = {value.text for value in term.values}
        numbers = {_float(text) for text in texts} - {None}
        return lambda value: (
            value is not None
            and (
                _meta_text(value) in texts
                or (
                    isinstance(value, int | float)
                    and not isinstance(value, bool)
                    and value in numbers
                )
            )
        )
    limits = [slices.number(line, term.start, value) for value in term.values]
    compare = _COMPARE[term.operator]

    def test(value: Any) -> bool:
        number = None if isinstance(value, bool) else _float(value)
        return number is not None and any(bool(compare(number, limit)) for limit in limits)

    return test


def _meta_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _float(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _name(names: list[str], label: int | None) -> str | None:
    return None if label is None else names[label]


def _none(value: Any) -> Any:
    """Return a plain Python value; NaN becomes None."""
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and value != value else value


def _number_or_none(value: Any) -> float | None:
    return None if value != value else float(value)


def _tokens(chunk: columnar.Chunk, row: dict[str, Any]) -> dict[str, Any]:
    """Return tokens and words of a chunk of one example."""
    texts = (row["text"], row["pair"] or "")
    spans = np.stack([chunk.token_starts, chunk.token_ends], axis=1)
    word_spans = np.stack([chunk.word_starts, chunk.word_ends], axis=1)
    owner = np.repeat(np.arange(len(chunk.pieces)), chunk.pieces)
    word_sides = chunk.sides[columnar.starts_of(chunk.pieces)[:-1]]
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
    """Return saliency and explained part by target of a chunk of one example."""
    saliency, explained = {}, {}
    if chunk.target[0]:
        name = names[chunk.target[0] - 1]
        saliency[name] = chunk.scores.astype(np.float32)
        explained[name] = chunk.explained[:, 0]
    for target, extra in chunk.extra.items():
        saliency[names[target - 1]] = extra.scores.astype(np.float32)
        explained[names[target - 1]] = extra.explained[:, 0]
    return {"saliency": saliency, "explained": explained}


def _words_at(
    chunk: columnar.Chunk,
    starts: np.ndarray,
    scores: np.ndarray,
    slot: int,
    texts: tuple[str, str],
) -> list[dict[str, Any]]:
    """Return the words of one example of a chunk as dictionaries."""
    begin, end = int(starts[slot]), int(starts[slot + 1])
    own = scores[begin:end]
    positive = np.maximum(own, 0)
    total = float(positive.sum())
    sides = chunk.sides[columnar.starts_of(chunk.pieces)[begin:end]]
    return [
        {
            "word": texts[side][start:stop],
            "start": start,
            "end": stop,
            "side": side,
            "score": score,
            "share": max(score, 0.0) / total if total > 0 else 0.0,
        }
        for start, stop, side, score in zip(
            chunk.word_starts[begin:end].tolist(),
            chunk.word_ends[begin:end].tolist(),
            sides.tolist(),
            own.tolist(),
            strict=True,
        )
    ]
