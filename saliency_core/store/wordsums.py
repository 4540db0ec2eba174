"""Sums of saliency by predicted class and word over a slice, straight from the postings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from saliency_core.store import chunks as columnar


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
        return reduce_rows(
            np.full_like(self.label, -1),
            self.word,
            (self.examples, self.share, self.square, self.score, self.top3),
        )


def reduce_rows(label: np.ndarray, word: np.ndarray, values: tuple[np.ndarray, ...]) -> WordSums:
    """Sum rows of equal class and word."""
    width = int(word.max()) + 1 if len(word) else 1
    key = (label.astype(np.int64) + 1) * width + word
    # Dense tables beat sorting unless classes x words is far larger than what occurs.
    size = (int(label.max()) + 2) * width if len(label) else 0
    if size <= 8 * len(key) + 1_000_000:
        slots = key
        found = np.flatnonzero(np.bincount(key, minlength=size))
    else:
        found, slots = np.unique(key, return_inverse=True)
        size = len(found)
    sums = [np.bincount(slots, weights=value, minlength=size) for value in values]
    if size != len(found):
        sums = [total[found] for total in sums]
    return WordSums(
        (found // width - 1).astype(np.int32),
        (found % width).astype(np.int32),
        sums[0].astype(np.int64), sums[1], sums[2], sums[3], sums[4].astype(np.int64),
    )  # fmt: skip


def chunk_sums(
    words: np.ndarray,
    classes: np.ndarray,
    counts: np.ndarray,
    order: np.ndarray,
    top3_bits: bytes,
    scores: np.ndarray,
    pieces: np.ndarray,
    n_words: np.ndarray,
    wanted: np.ndarray,
) -> tuple[np.ndarray, ...]:
    """Return class, word and the five sums of each segment of a chunk."""
    score = columnar.sum_pieces(scores, pieces)
    share = columnar.shares(score, n_words)
    owner = np.repeat(np.arange(len(n_words)), n_words)[order]
    segment = np.repeat(np.arange(len(words)), counts)
    chosen = np.unpackbits(np.frombuffer(top3_bits, np.uint8), count=len(order)).astype(bool)
    share, score = share[order], score[order]
    if not wanted.all():
        keep = wanted[owner]
        owner, segment, chosen = owner[keep], segment[keep], chosen[keep]
        share, score = share[keep], score[keep]
    if not len(owner):
        nothing = np.zeros(0)
        return (classes[:0], words[:0], *[nothing] * 5)
    new = np.ones(len(owner), bool)
    new[1:] = (owner[1:] != owner[:-1]) | (segment[1:] != segment[:-1])
    if not new.all():
        first = np.flatnonzero(new)
        share, score = np.add.reduceat(share, first), np.add.reduceat(score, first)
        chosen, segment = np.logical_or.reduceat(chosen, first), segment[first]
    begin = np.flatnonzero(np.diff(segment, prepend=-1))
    here = segment[begin]
    return (
        classes[here],
        words[here],
        np.diff(begin, append=len(segment)),
        np.add.reduceat(share, begin, dtype=np.float64),
        np.add.reduceat(share.astype(np.float64) ** 2, begin),
        np.add.reduceat(score, begin, dtype=np.float64),
        np.add.reduceat(chosen, begin, dtype=np.int64),
    )
