"""Semantic coherence of a layer: arrays in, numbers out (docs/method.md, “Coherence of a layer”).

C = mean cos(q_e, q_f) over pairs predicted the same - mean cos(q_e, q_f) over pairs predicted
differently, from the per-class sums of q alone. That a layer has a degree of semantic coherence
is Hou & Castañón's (2023); this definition is our own.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def token_directions(embeddings: np.ndarray) -> np.ndarray:
    """Return u_v: output embeddings (vocab, embedding) centred over the vocabulary, length one."""
    centred = embeddings.astype(np.float32)
    centred -= centred.mean(0)
    return unit(centred)


def explanations(directions: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """Return q_e = normalise(sum of u over the most salient tokens), (example, embedding).

    Args:
        directions: (vocab, embedding) from `token_directions`.
        tokens: (example, 3) vocabulary ids, -1 where an example has fewer.
    """
    present = (tokens >= 0)[..., None]
    return unit((directions[np.maximum(tokens, 0)] * present).sum(1))


def unit(rows: np.ndarray) -> np.ndarray:
    """Return rows divided by their length; a row of zeros stays."""
    length = np.linalg.norm(rows, axis=-1, keepdims=True)
    return np.divide(rows, length, out=np.zeros_like(rows), where=length > 0)


class CoherenceSums:
    """Per-class sums of q of one layer; O(class x embedding) memory whatever the examples."""

    def __init__(self, classes: int, size: int) -> None:
        """Start with no example."""
        self.sums = np.zeros((classes, size))
        self.squares = np.zeros(classes)
        self.counts = np.zeros(classes, np.int64)

    def add(self, q: np.ndarray, predicted: np.ndarray) -> None:
        """Add (example, embedding) explanations of (example,) predicted classes; q = 0 is none."""
        lengths = (q.astype(np.float64) ** 2).sum(-1)
        for label in np.unique(predicted):
            rows = (predicted == label) & (lengths > 0)
            self.sums[label] += q[rows].sum(0, dtype=np.float64)
            self.squares[label] += lengths[rows].sum()
            self.counts[label] += rows.sum()

    def coherence(self) -> float | None:
        """Return C of the layer; None where fewer than two classes were predicted."""
        return coherence(self.sums, self.squares, self.counts)

    def of_examples(self, q: np.ndarray, predicted: np.ndarray) -> np.ndarray:
        """Return each example's coherence, (example,) float32; NaN where undefined."""
        total = self.sums.sum(0)
        same_count = self.counts[predicted] - 1
        other_count = self.counts.sum() - self.counts[predicted]
        own = (q.astype(np.float64) ** 2).sum(-1)
        to_same = (q * self.sums[predicted]).sum(-1) - own
        to_other = (q * (total - self.sums[predicted])).sum(-1)
        with np.errstate(divide="ignore", invalid="ignore"):
            value = to_same / same_count - to_other / other_count
        value[(own == 0) | (same_count <= 0) | (other_count <= 0)] = np.nan
        return value.astype(np.float32)


def coherence(sums: np.ndarray, squares: np.ndarray, counts: np.ndarray) -> float | None:
    """Return C from per-class sums (class, embedding), sums of |q|^2 and counts (class,)."""
    counts = counts.astype(float)
    value = _coherence((sums**2).sum(-1), (sums.sum(0) ** 2).sum(), counts, counts, squares)
    return float(value) if np.isfinite(value) else None


def bootstrap_interval(
    q: np.ndarray, predicted: np.ndarray, classes: int, *, repeats: int = 200, seed: int = 0
) -> tuple[float | None, float | None]:
    """Return the 95 % interval of C over examples drawn with replacement, seeded.

    Pairs of one example with itself, drawn twice, do not count: the squares are weighted.
    """
    draw = np.random.default_rng(seed)
    real = (q**2).sum(-1) > 0
    q, predicted = q[real].astype(np.float64), predicted[real]
    if not len(q):
        return None, None
    drawn = draw.integers(0, len(q), (repeats, len(q)))
    weights = np.stack([np.bincount(row, minlength=len(q)) for row in drawn]).astype(float)
    within = np.zeros((repeats, classes))  # |sum of q of a class|^2
    total = np.zeros((repeats, q.shape[1]))
    counts = np.zeros((repeats, classes))
    # w_e w_e pairs of an example with itself: cosine one, not a pair of two examples.
    selves = np.zeros((repeats, classes))
    for label in np.unique(predicted):
        rows = predicted == label
        own = weights[:, rows]
        sums = own @ q[rows]  # (repeat, embedding)
        total += sums
        within[:, label] = (sums**2).sum(-1)
        counts[:, label] = own.sum(-1)
        selves[:, label] = (own**2).sum(-1)
    found = _coherence(within, (total**2).sum(-1), counts, selves, selves)
    found = found[np.isfinite(found)]
    if not len(found):
        return None, None
    low, high = np.percentile(found, [2.5, 97.5])
    return float(low), float(high)


def _coherence(
    within: np.ndarray, total: Any, counts: np.ndarray, selves: np.ndarray, squares: np.ndarray
) -> np.ndarray:
    """Return C, (...,), NaN where there is no pair of one of the two kinds.

    From the |sum of q|^2 of each class and of all (`total`), and per class the examples, the pairs
    of an example with itself and what these are in the sum; (..., class) but for `total`, (...,).
    """
    same_pairs = (counts**2 - selves).sum(-1)
    other_pairs = counts.sum(-1) ** 2 - (counts**2).sum(-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = (within - squares).sum(-1) / same_pairs - (total - within.sum(-1)) / other_pairs
    return np.where((same_pairs > 0) & (other_pairs > 0), value, np.nan)
