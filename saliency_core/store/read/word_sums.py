"""Sums of saliency by predicted class and word over a slice, straight from the postings.

The budget is 20 million words in half a second, so compiled code sums a chunk that fits the
processor's cache, and chunks are shared among threads.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, fields

import numpy as np

from saliency_core.store.format import codec

VALUES = 5
"""Sums a row: examples, share, squared share, score, top-three places."""

DENSE_ROWS = 4_000_000
"""Classes x words up to which sums are kept in one table rather than sorted together."""


@dataclass(frozen=True)
class WordSums:
    """One row per (predicted class, word) pair that occurs in the slice; (row,) arrays."""

    label: np.ndarray
    """int32 class, -1 where none was predicted or classes are merged."""
    word: np.ndarray
    """int32 word id."""
    examples: np.ndarray
    """int64 examples that hold the word."""
    share: np.ndarray
    """float64 sum over examples of the word's share."""
    square: np.ndarray
    """float64 sum over examples of the squared share."""
    score: np.ndarray
    """float64 sum of the signed score."""
    top3: np.ndarray
    """int64 examples that have it among their top three."""

    def merged(self) -> WordSums:
        """Return the sums over all classes."""
        word, row = np.unique(self.word, return_inverse=True)
        values = (self.examples, self.share, self.square, self.score, self.top3)
        table = [np.bincount(row, value, minlength=len(word)) for value in values]
        return _word_sums(np.full(len(word), -1, np.int32), word, np.stack(table, axis=1))

    def of_at_least(self, examples: int) -> WordSums:
        """Return the rows of at least that many examples."""
        return self.take(np.flatnonzero(self.examples >= examples))

    def take(self, rows: np.ndarray) -> WordSums:
        """Return these rows in this order."""
        return WordSums(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})


class Sums:
    """Sums by class and word, added to chunk by chunk."""

    def __init__(self, classes: int, words: int) -> None:
        """Make room for classes 0 to `classes` - 1 and none."""
        self.words = max(words, 1)
        self.rows_of_table = rows = (classes + 1) * self.words
        self.table = np.zeros((rows, VALUES)) if rows <= DENSE_ROWS else None
        self.keys: list[np.ndarray] = []
        self.values: list[np.ndarray] = []

    def add(self, chunk: WordChunk, wanted: np.ndarray) -> None:
        """Add the words of a chunk's examples; (example,) bool `wanted`."""
        # Compiled code loads here, for those who ask for sums.
        from saliency_core.store.read.word_sums_kernel import SINGLE, add_chunk

        key = (chunk.classes.astype(np.int64) + 1) * self.words + chunk.words
        # The compiled code looks at no bounds.
        if len(wanted) != len(chunk.n_words) or not _within(key, self.rows_of_table):
            raise codec.Damaged
        wide = chunk.occurrences.itemsize > 2
        columns = (
            chunk.counts.astype(np.uint32),
            chunk.occurrences.astype(np.uint32 if wide else np.uint16, copy=False),
            chunk.scores.view(np.uint16),
            chunk.first.view(np.uint8),
            chunk.n_words.astype(np.uint32),
            wanted.view(np.uint8),
            chunk.top3.view(np.uint8),
        )
        if self.table is not None:
            add_chunk(self.table, SINGLE, key.astype(np.uint32), *columns)
            return
        values = np.zeros((len(key), VALUES))
        add_chunk(values, SINGLE, np.arange(len(key), dtype=np.uint32), *columns)
        here = np.flatnonzero(values[:, 0])
        self.keys.append(key[here])
        self.values.append(values[here])

    def join(self, other: Sums) -> None:
        """Add the sums of another thread."""
        if self.table is not None and other.table is not None:
            self.table += other.table
        self.keys += other.keys
        self.values += other.values

    def rows(self) -> WordSums:
        """Return the rows that occur."""
        if self.table is not None:
            found = np.flatnonzero(self.table[:, 0])
            table = self.table[found]
        else:
            keys = np.concatenate([np.zeros(0, np.int64), *self.keys])
            values = np.concatenate([np.zeros((0, VALUES)), *self.values])
            order = np.argsort(keys, kind="stable")
            found, first = np.unique(keys[order], return_index=True)
            table = np.add.reduceat(values[order], first) if len(first) else values
        return _word_sums(found // self.words - 1, found % self.words, table)


def _word_sums(label: np.ndarray, word: np.ndarray, table: np.ndarray) -> WordSums:
    return WordSums(
        label.astype(np.int32),
        word.astype(np.int32),
        np.rint(table[:, 0]).astype(np.int64),
        table[:, 1],
        table[:, 2],
        table[:, 3],
        np.rint(table[:, 4]).astype(np.int64),
    )


@dataclass(frozen=True)
class WordChunk:
    """The words of a chunk at one layer, grouped by class and word."""

    words: np.ndarray
    """(group,) word id."""
    classes: np.ndarray
    """(group,) predicted class, -1 where none."""
    counts: np.ndarray
    """(group,) occurrences."""
    occurrences: np.ndarray
    """(occurrence,) place among the chunk's words, group after group."""
    scores: np.ndarray
    """(token,) float16."""
    first: np.ndarray
    """(token,) bool: a word begins here."""
    n_words: np.ndarray
    """(example,) words an example."""
    top3: np.ndarray
    """(word,) bool: among its example's top three."""


def load_word_chunk(connection: sqlite3.Connection, run: int, number: int, layer: int) -> WordChunk:
    """Read the words of one chunk of a file at a layer."""
    row = connection.execute(
        "SELECT words, classes, groups, counts, occurrences, n_words, first"
        " FROM postings JOIN chunks USING (run, chunk) WHERE run = ? AND chunk = ?",
        (run, number),
    ).fetchone()
    top3, data = connection.execute(
        "SELECT top3, data FROM scores WHERE run = ? AND target = 0 AND layer = ? AND chunk = ?",
        (run, layer, number),
    ).fetchone()
    words, classes, groups, counts, occurrences, n_words = map(codec.unpack, row[:-1])
    scores = np.frombuffer(data, np.float16)
    first = codec.unpack_bits(row[-1], len(scores))
    top3 = codec.unpack_bits(top3, len(occurrences))
    if len(classes) != len(groups) or groups.sum(dtype=np.int64) != len(words):
        raise codec.Damaged
    chunk = WordChunk(
        words, np.repeat(classes, groups), counts, occurrences, scores, first, n_words, top3
    )
    _check(chunk)
    return chunk


def _check(chunk: WordChunk) -> None:
    """Refuse a chunk whose parts do not fit each other: compiled code looks at no bounds.

    Raises:
        Damaged: they do not.
    """
    words = len(chunk.occurrences)
    fits = (
        len(chunk.counts) == len(chunk.words)
        and chunk.counts.sum(dtype=np.int64) == words
        and chunk.n_words.sum(dtype=np.int64) == words
        and np.count_nonzero(chunk.first) == words
        and (not len(chunk.first) or bool(chunk.first[0]))
        and all(_within(column, np.inf) for column in (chunk.counts, chunk.n_words))
        and _within(chunk.occurrences, words)
    )
    if not fits:
        raise codec.Damaged


def _within(values: np.ndarray, end: float) -> bool:
    """Return whether all values are places below an end."""
    return not len(values) or bool(values.min() >= 0 and values.max() < end)
