"""How do the training data differ from the audited set: labels, lengths, scripts, words?

Counts of labels are of all rows. What is costly, words and a classifier that tells the two sets
apart, is computed on a seeded sample of each.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from saliency_core.quality.scripts import script_of
from saliency_core.stats import auc, benjamini_hochberg, mean_interval
from saliency_core.words import named_spans

SAMPLED = 10_000
"""Texts of each set whose words are compared at most."""
READ = 2_000
"""Characters of a text whose words are counted."""
VOCABULARY = 20_000
"""Words the classifier knows: those in most texts."""
MINIMUM = 5
"""Texts of both samples a word must be in to be compared."""
ALPHA = 0.05
TELLING = 20
"""Words that tell two sets apart, at most."""
RIDGE = 1.0
"""Weight of the squared coefficients of the classifier, in texts."""


class Sample:
    """A seeded uniform sample of texts that come one after another (reservoir)."""

    def __init__(self, size: int = SAMPLED, seed: int = 0) -> None:
        """Begin an empty one."""
        self.size, self.seen, self.texts = size, 0, []  # type: int, int, list[str]
        self.draw = np.random.default_rng(seed)

    def add(self, text: str) -> None:
        """Take a text into account."""
        self.seen += 1
        if len(self.texts) < self.size:
            self.texts.append(text)
            return
        place = int(self.draw.integers(self.seen))
        if place < self.size:
            self.texts[place] = text


def whole(text: str, pair: str | None) -> str:
    """Return both sides of a pair as one text."""
    return text if pair is None else f"{text}\n{pair}"


@dataclass(frozen=True)
class Drift:
    """How two sets of texts differ."""

    words: pd.DataFrame
    """word, audited, train (share of texts), log_odds, low, high, q: those that differ, strongest
    first; positive log-odds are words of the audited set."""
    auc: float | None
    """Of a classifier that tells the sets apart, on texts it was not fitted to; 0.5: it can't."""
    auc_low: float | None
    auc_high: float | None
    telling: list[dict[str, Any]]
    """word and weight that the classifier goes by; positive speaks for the audited set."""
    lengths: dict[str, list[float]]
    """`audited` and `train`: quantiles of characters at 5, 25, 50, 75 and 95 %."""
    scripts: pd.DataFrame
    """script, audited, train (share of texts)."""


def drift(audited: Sequence[str], train: Sequence[str], *, seed: int = 0) -> Drift:
    """Return how two samples of texts differ."""
    ours, theirs = ([words_in(text) for text in texts] for texts in (audited, train))
    return Drift(
        differing_words(ours, theirs),
        *domain_classifier(ours, theirs, seed=seed),
        {"audited": _quantiles(audited), "train": _quantiles(train)},
        _scripts(audited, train),
    )


def words_in(text: str) -> set[str]:
    """Return the distinct lower-cased words of a text that have a letter or digit."""
    return {name for name, _, _ in named_spans(text[:READ]) if any(map(str.isalnum, name))}


def differing_words(ours: Sequence[set[str]], theirs: Sequence[set[str]]) -> pd.DataFrame:
    """Return the words whose share of texts differs, by the log of the odds ratio.

    log((a + .5) / (A - a + .5)) - log((b + .5) / (B - b + .5)) with its 95 % interval (Woolf,
    Haldane-Anscombe), a of A texts of one set and b of B of the other having the word; q by
    Benjamini and Hochberg over all words in `MINIMUM` texts or more. Strongest evidence first.
    """
    from scipy import special

    columns = ["word", "audited", "train", "log_odds", "low", "high", "q"]
    counts = [Counter(word for words in texts for word in words) for texts in (ours, theirs)]
    words = sorted(
        word for word in {*counts[0], *counts[1]} if counts[0][word] + counts[1][word] >= MINIMUM
    )
    if not words or not ours or not theirs:
        return pd.DataFrame(columns=columns)
    a, b = (np.array([count[word] for word in words], float) for count in counts)
    cells = [a + 0.5, len(ours) - a + 0.5, b + 0.5, len(theirs) - b + 0.5]
    odds = np.log(cells[0] / cells[1]) - np.log(cells[2] / cells[3])
    error = np.sqrt(sum(1 / cell for cell in cells))
    low, high = mean_interval(odds, error)
    frame = pd.DataFrame(
        {
            "word": pd.Series(words, dtype=object),
            "audited": a / len(ours),
            "train": b / len(theirs),
            "log_odds": odds,
            "low": low,
            "high": high,
            "q": benjamini_hochberg(special.erfc(np.abs(odds / error) / np.sqrt(2))),
        }
    )
    order = np.argsort(-np.abs(odds / error), kind="stable")
    frame = frame.iloc[order]
    return frame[frame["q"] < ALPHA].reset_index(drop=True)


def domain_classifier(
    ours: Sequence[set[str]], theirs: Sequence[set[str]], *, seed: int = 0
) -> tuple[float | None, float | None, float | None, list[dict[str, Any]]]:
    """Return how well words tell two sets apart: AUC, its 95 % interval, the telling words.

    A logistic regression on the presence of words is fitted to a random half of both sets and
    asked about the other half, and the other way round; the AUC is the mean of both. Its interval
    is that of Hanley and McNeil 1982. None where a set has fewer than four texts.
    """
    from scipy.stats import rankdata

    n, m = len(ours), len(theirs)
    if min(n, m) < 4:
        return None, None, None, []
    matrix, words = _presence([*ours, *theirs])
    is_ours = np.arange(n + m) < n
    draw = np.random.default_rng(seed)
    half = np.zeros(n + m, bool)
    for rows in (np.flatnonzero(is_ours), np.flatnonzero(~is_ours)):
        half[draw.permutation(rows)[: len(rows) // 2]] = True
    aucs, weights = [], np.zeros(len(words))
    for fitted in (half, ~half):
        weight, bias = _fit(matrix[fitted], is_ours[fitted])
        score = matrix[~fitted] @ weight + bias
        aucs.append(auc(rankdata(score), is_ours[~fitted]))
        weights += weight / 2
    mean = float(np.mean(aucs))
    low, high = mean_interval(mean, _auc_error(mean, n, m))
    # A word of one text has a weight but tells nothing of the set: weighed by how often it is seen.
    share = np.asarray(matrix.mean(0)).ravel()
    strongest = np.argsort(-np.abs(weights) * np.sqrt(share * (1 - share)), kind="stable")[:TELLING]
    telling = [{"word": words[at], "weight": float(weights[at])} for at in strongest]
    return mean, max(0.0, low), min(1.0, high), telling


def _presence(texts: Sequence[set[str]]) -> tuple[Any, list[str]]:
    """Return a sparse (text, word) matrix of the words in most texts, and the words."""
    from scipy import sparse

    counts = Counter(word for words in texts for word in words)
    common = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:VOCABULARY]
    words = [word for word, count in common if count > 1]
    number = {word: place for place, word in enumerate(words)}
    found = [sorted(number[word] for word in text if word in number) for text in texts]
    starts = np.cumsum([0, *map(len, found)])
    places = np.fromiter((place for row in found for place in row), np.int64, starts[-1])
    ones = np.ones(len(places))
    return sparse.csr_matrix((ones, places, starts), (len(texts), len(words))), words


def _fit(matrix: Any, positive: np.ndarray) -> tuple[np.ndarray, float]:
    """Return weights and bias of a ridge logistic regression whose two sides weigh the same."""
    from scipy import optimize, special

    rows, columns = matrix.shape
    sign = np.where(positive, 1.0, -1.0)
    weight = np.where(positive, 0.5 / positive.sum(), 0.5 / (~positive).sum())
    ridge = RIDGE / rows

    def loss(values: np.ndarray) -> tuple[float, np.ndarray]:
        margin = sign * (matrix @ values[:-1] + values[-1])
        slope = -sign * weight * special.expit(-margin)
        value = weight @ np.logaddexp(0, -margin) + ridge / 2 * values[:-1] @ values[:-1]
        return float(value), np.r_[matrix.T @ slope + ridge * values[:-1], slope.sum()]

    found = optimize.minimize(
        loss, np.zeros(columns + 1), jac=True, method="L-BFGS-B", options={"maxiter": 100}
    )
    return found.x[:-1], float(found.x[-1])


def _auc_error(auc: float, n: int, m: int) -> float:
    """Return the standard error of an AUC (Hanley and McNeil 1982)."""
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    spread = auc * (1 - auc) + (n - 1) * (q1 - auc**2) + (m - 1) * (q2 - auc**2)
    return float(np.sqrt(max(spread, 0) / (n * m)))


def _quantiles(texts: Sequence[str]) -> list[float]:
    if not texts:
        return []
    return np.quantile(list(map(len, texts)), (0.05, 0.25, 0.5, 0.75, 0.95)).tolist()


def _scripts(audited: Sequence[str], train: Sequence[str]) -> pd.DataFrame:
    """Return the share of texts of each script, the most frequent first."""
    counts = [Counter(map(script_of, texts)) for texts in (audited, train)]
    names = sorted({*counts[0], *counts[1]}, key=lambda name: -(counts[0][name] + counts[1][name]))
    rows = [
        (name, counts[0][name] / max(len(audited), 1), counts[1][name] / max(len(train), 1))
        for name in names
    ]
    return pd.DataFrame(rows, columns=["script", "audited", "train"])
