"""Sums of saliency by predicted class and word over a slice, straight from the postings.

The budget is 20 million words in half a second, so each step is one pass of compiled code over a
chunk that fits the processor's cache, and chunks are shared among threads.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

import numpy as np

from saliency_core.store import chunks as columnar

VALUES = 5
"""Sums a row: examples, share, squared share, score, top-three places."""

DENSE_ROWS = 4_000_000
"""Classes x words up to which sums are kept in one table rather than sorted together."""


@dataclass(frozen=True)
class WordSums:
    """A row a (predicted class, word) pair that occurs in the slice; (row,) arrays."""

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


class Sums:
    """Sums by class and word, added to chunk by chunk."""

    def __init__(self, classes: int, words: int) -> None:
        """Make room for classes 0 to `classes` - 1 and none."""
        self.words = max(words, 1)
        rows = (classes + 1) * self.words
        self.table = np.zeros((rows, VALUES)) if rows <= DENSE_ROWS else None
        self.keys: list[np.ndarray] = []
        self.values: list[np.ndarray] = []

    def add(self, label: np.ndarray, word: np.ndarray, values: np.ndarray) -> None:
        """Add (row, VALUES) sums of pairs that are all different."""
        key = (label.astype(np.int64) + 1) * self.words + word
        if self.table is not None:
            self.table[key] = self.table.take(key, axis=0) + values
        else:
            self.keys.append(key)
            self.values.append(values.astype(np.float64))

    def join(self, other: Sums) -> None:
        """Add the sums of another thread."""
        if self.table is not None:
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
class Postings:
    """The words of a chunk grouped by class and word."""

    words: np.ndarray
    """(group,)"""
    classes: np.ndarray
    """(group,)"""
    counts: np.ndarray
    """(group,) occurrences."""
    occurrences: np.ndarray
    """(occurrence,) place among the chunk's words."""
    repeats: np.ndarray
    """Occurrences, by index, of a word that the same example has just before."""


def load_chunk_sums(
    connection: sqlite3.Connection, run: int, number: int, layer: int, wanted: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what `chunk_sums` says of one chunk of a file; (example,) bool `wanted`."""
    row = connection.execute(
        "SELECT words, classes, groups, counts, occurrences, repeats, n_words, first"
        " FROM postings JOIN chunks USING (run, chunk) WHERE run = ? AND chunk = ?",
        (run, number),
    ).fetchone()
    top3, scores = connection.execute(
        "SELECT top3, data FROM scores WHERE run = ? AND target = 0 AND layer = ? AND chunk = ?",
        (run, layer, number),
    ).fetchone()
    words, classes, groups, *rest, n_words = map(columnar.unpack, row[:-1])
    scores = np.frombuffer(scores, np.float16)
    first = columnar.unpack_bits(row[-1], len(scores))
    top = columnar.unpack_bits(top3, len(rest[1]))
    postings = Postings(words, np.repeat(classes, groups), *rest)
    return chunk_sums(postings, scores, first, n_words, top, wanted)


def chunk_sums(
    postings: Postings,
    scores: np.ndarray,
    first: np.ndarray,
    n_words: np.ndarray,
    top: np.ndarray,
    wanted: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return class, word and sums (group, VALUES) of one chunk's groups in the slice.

    Args:
        postings: Of the chunk.
        scores: (token,) float16 of the layer.
        first: (token,) bool: a word begins here.
        n_words: (example,) words an example.
        top: (word,) bool: among the top three; written over.
        wanted: (example,) bool: in the slice.
    """
    from scipy.sparse import csr_matrix

    score = columnar.sum_pieces(scores, first)
    share = columnar.shares(score, n_words)
    present = np.ones(len(score), bool)
    if not wanted.all():
        present = np.repeat(wanted, n_words)
        score *= present
        share *= present
        top &= present
    # Single precision halves the memory moved; sums of one chunk keep six digits and more.
    values = np.empty((len(score), VALUES), np.float32)
    values[:, 1] = share
    values[:, 3] = score
    _once_an_example(postings, values, present, share, top)
    groups = len(postings.words)
    # Occurrences of a group are the non-zeros of a row, so the product sums and gathers in one.
    matrix = csr_matrix(
        (
            np.ones(len(score), np.float32),
            postings.occurrences.astype(np.int32),
            columnar.starts_of(postings.counts).astype(np.int32),
        ),
        shape=(groups, len(score)),
    )
    sums = matrix @ values
    if wanted.all():
        return postings.classes, postings.words, sums
    here = np.flatnonzero(sums[:, 0])
    return postings.classes[here], postings.words[here], sums[here]


def _once_an_example(
    postings: Postings,
    values: np.ndarray,
    present: np.ndarray,
    share: np.ndarray,
    top: np.ndarray,
) -> None:
    """Fill what counts once an example: its number, squared share and top-three place.

    Where an example repeats a word, the first occurrence stands for all of them.
    """
    again = postings.repeats.astype(np.int64)
    if len(again):
        begins = np.flatnonzero(np.diff(again, prepend=-2) != 1)
        head = np.repeat(again[begins] - 1, np.diff(begins, append=len(again)))
        again, head = postings.occurrences[again], postings.occurrences[head]
        np.add.at(share, head, share[again])
        top[head[top[again]]] = True
        share[again] = 0
        top[again] = False
        present[again] = False
    values[:, 0] = present
    np.square(share, out=values[:, 2])
    values[:, 4] = top
