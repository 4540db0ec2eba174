"""Sums over the pieces of words and the words of examples that stand one after another."""

from __future__ import annotations

import numpy as np


def starts_of(counts: np.ndarray) -> np.ndarray:
    """Return where each of consecutive groups begins, and the end of the last: (n + 1,) int64."""
    ends = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=ends[1:])
    return ends


def ranges(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the indices of several ranges one after another."""
    counts = np.asarray(counts, np.int64)
    ends = starts_of(counts)
    return np.repeat(np.asarray(starts, np.int64) - ends[:-1], counts) + np.arange(ends[-1])


def sum_pieces(scores: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Sum (token,) scores over words; float32.

    Args:
        scores: (token,)
        first: (token,) bool: a word begins here.
    """
    scores = scores.astype(np.float32)
    total = scores.take(np.flatnonzero(first))
    # Most words have one piece: adding only the further ones beats summing every group. Of the
    # tokens up to the k-th further one at t, k + 1 are further, so its word is t - k - 1.
    further = np.flatnonzero(~first)
    np.add.at(total, further - np.arange(1, len(further) + 1), scores[further])
    return total


def first_tokens(pieces: np.ndarray) -> np.ndarray:
    """Return (token,) bool: a word begins here, from the tokens of each word."""
    ends = starts_of(pieces)
    first = np.zeros(ends[-1], bool)
    first[ends[:-1]] = True
    return first


def top3(word_scores: np.ndarray, n_words: np.ndarray) -> np.ndarray:
    """Return (word,) bool: among its example's three highest positive words, earlier first."""
    owner = np.repeat(np.arange(len(n_words)), n_words)
    order = np.lexsort((-word_scores, owner))
    rank = np.arange(len(order)) - np.repeat(starts_of(n_words)[:-1], n_words)
    chosen = np.zeros(len(order), bool)
    chosen[order[rank < 3]] = True
    return chosen & (word_scores > 0)


def shares(word_scores: np.ndarray, n_words: np.ndarray) -> np.ndarray:
    """Return (word,) float32: each word's part of its example's positive score."""
    positive = np.maximum(word_scores, 0)
    return positive * np.repeat(inverse_totals(positive, n_words), n_words)


def inverse_totals(positive: np.ndarray, n_words: np.ndarray) -> np.ndarray:
    """Return (example,) float32: one over the sum of its words, 0 where that is 0."""
    filled = n_words > 0
    totals = np.zeros(len(n_words), np.float32)
    if len(positive):
        totals[filled] = np.add.reduceat(positive, starts_of(n_words)[:-1][filled])
    return np.divide(1, totals, out=np.zeros_like(totals), where=totals > 0)
