"""Mosaics: two texts joined, and which of the two a map points at.

docs/method.md, “Which layer to read”.

A text predicted A and one predicted otherwise become one text. Where the whole is predicted as one
of the two, a map of that prediction should lie in the part whose class it is (after TextFocus,
2024). No mask, no training and no labels; the only yardstick that shares nothing with the
reference input.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
from scipy.stats import rankdata

from saliency_core.model.classifier import Classifier
from saliency_core.model.encoding import Encoding
from saliency_core.stats import auc
from saliency_core.words import words_of

CONFIDENT = 0.9
"""Probability above which a text may be part of a mosaic."""
MINIMUM = 16
"""Confident texts, and mosaics, below which there is no test."""
ATTEMPTS = 4
"""Pairs tried for each mosaic that is wanted."""
NEITHER, TOO_LONG, PAIRS, NO_TOKEN = (
    "predicted as neither part",
    "longer than the model reads",
    "pairs of texts",
    "a part without tokens",
)
NO_SCORE = "no positive score"


@dataclass(frozen=True)
class Mosaic:
    """Two texts joined that are predicted as one of them."""

    encoding: Encoding
    right: np.ndarray
    """(token,) bool without special tokens: in the part whose class is predicted."""
    word_of_token: np.ndarray
    """(token,) int32."""
    predicted: int


@dataclass(frozen=True)
class Mosaics:
    """The mosaics of a sample of texts, and what became of the other pairs."""

    kept: list[Mosaic]
    discarded: dict[str, int] = field(default_factory=dict)
    """Reason -> pairs that were tried and are no mosaic."""
    missing: str | None = None
    """Why there are too few mosaics for a test."""

    @property
    def encodings(self) -> list[Encoding]:
        """The mosaics as the model reads them."""
        return [mosaic.encoding for mosaic in self.kept]

    @property
    def predicted(self) -> np.ndarray:
        """(mosaic,) the class to explain."""
        return np.array([mosaic.predicted for mosaic in self.kept], np.int64)

    @property
    def chance(self) -> np.ndarray:
        """(mosaic,) share of the tokens that lies in the right part."""
        return np.array([mosaic.right.mean() for mosaic in self.kept])

    def facts(self) -> dict[str, object]:
        """Return what is stored beside the scores."""
        return {
            "mosaics": len(self.kept),
            "chance": float(self.chance.mean()) if self.kept else None,
            "discarded": dict(self.discarded),
            "missing": self.missing,
        }


@dataclass(frozen=True)
class MosaicScores:
    """How well one map tells the two parts apart; NaN where it has no positive score."""

    share: np.ndarray
    """(mosaic,) part of the positive score that lies on the right part."""
    auc: np.ndarray
    """(mosaic,) how often a token of the right part scores above one of the other, ties half."""
    top: np.ndarray
    """(mosaic,) 1 where the top word lies in the right part; of tied words their part."""


def draw_pairs(
    predicted: np.ndarray, confident: np.ndarray, count: int, seed: int
) -> list[tuple[int, int]]:
    """Return up to `count` pairs (first, second) of confident rows that are predicted differently.

    Every row comes first or second about equally often, no two rows meet twice, and a larger
    count begins with the pairs of a smaller one.

    Args:
        predicted: (row,) class.
        confident: (row,) bool.
        count: pairs wanted.
        seed: of the draw.
    """
    draw = np.random.default_rng(seed)
    rows = np.flatnonzero(confident)
    pairs: list[tuple[int, int]] = []
    met: set[frozenset[int]] = set()
    fresh = True
    while fresh and len(pairs) < count:
        fresh = False
        for row in draw.permutation(rows).tolist():
            others = rows[predicted[rows] != predicted[row]]
            if not len(others):
                continue
            pair = (row, int(draw.choice(others)))
            order = pair if draw.random() < 0.5 else pair[::-1]
            if frozenset(pair) not in met:
                met.add(frozenset(pair))
                pairs.append(order)
                fresh = True
    return pairs[:count]


def make_mosaics(
    classifier: Classifier,
    texts: Sequence[str],
    predicted: np.ndarray,
    confidence: np.ndarray,
    count: int,
    *,
    seed: int = 0,
    pairs: bool = False,
    max_length: int | None = None,
) -> Mosaics:
    """Join texts of different confident predictions until `count` mosaics are there.

    Args:
        classifier: the model under audit.
        texts: to draw from.
        predicted: (text,) class.
        confidence: (text,) probability of that class.
        count: mosaics wanted.
        seed: of the draw.
        pairs: the dataset is one of pairs, which can't be joined.
        max_length: tokens a mosaic may have; the classifier's own limit where not given.
    """
    if pairs:
        return Mosaics([], {PAIRS: len(texts)}, "The dataset is one of pairs.")
    confident = confidence > CONFIDENT
    if confident.sum() < MINIMUM:
        reason = f"Fewer than {MINIMUM} texts are predicted with confidence above {CONFIDENT}."
        return Mosaics([], {}, reason)
    if len(np.unique(predicted[confident])) < 2:
        return Mosaics([], {}, f"All predictions with confidence above {CONFIDENT} are one class.")
    candidates = iter(draw_pairs(predicted, confident, ATTEMPTS * count, seed))
    kept: list[Mosaic] = []
    discarded: Counter[str] = Counter()
    while len(kept) < count and (some := list(islice(candidates, count - len(kept)))):
        for outcome in _joined(classifier, texts, predicted, some, max_length):
            if isinstance(outcome, Mosaic):
                kept.append(outcome)
            else:
                discarded[outcome] += 1
    missing = None
    if len(kept) < min(MINIMUM, count):
        missing = f"Only {len(kept)} of {len(kept) + discarded.total()} joined texts can be used."
    return Mosaics(kept, dict(discarded), missing)


def _joined(
    classifier: Classifier,
    texts: Sequence[str],
    predicted: np.ndarray,
    pairs: list[tuple[int, int]],
    max_length: int | None,
) -> list[Mosaic | str]:
    """Return a mosaic or the reason why there is none for every pair, in order."""
    wholes = [f"{texts[first]} {texts[second]}" for first, second in pairs]
    encodings = classifier.encode(wholes, None, max_length)
    outcomes: list[Mosaic | str] = [TOO_LONG] * len(pairs)
    fitting = [row for row, own in enumerate(encodings) if own.chars_seen == own.chars_total]
    if not fitting:
        return outcomes
    classes = classifier.logits([encodings[row] for row in fitting]).argmax(1)
    for row, label in zip(fitting, classes.tolist(), strict=True):
        first, second = pairs[row]
        outcomes[row] = _mosaic(
            encodings[row],
            wholes[row],
            len(texts[first]),
            (int(predicted[first]), int(predicted[second])),
            label,
        )
    return outcomes


def _mosaic(
    encoding: Encoding, text: str, border: int, parts: tuple[int, int], predicted: int
) -> Mosaic | str:
    """Return the mosaic of one joined text that ends its first part at a character, or why not."""
    if predicted not in parts:
        return NEITHER
    own = ~encoding.special
    # Some tokenizers count the space before a word among its characters.
    second = encoding.spans[own][:, 1] > border + 1
    if second.all() or not second.any():
        return NO_TOKEN
    words = words_of((text,), encoding.spans[own], encoding.sides[own])
    right = second if predicted == parts[1] else ~second
    return Mosaic(encoding, right, words.word_of_token, predicted)


def score_mosaics(mosaics: Sequence[Mosaic], maps: Sequence[np.ndarray]) -> MosaicScores:
    """Return the scores of one map of every mosaic: (token,) scores, special tokens left out."""
    rows = np.array([_score(*pair) for pair in zip(mosaics, maps, strict=True)]).reshape(-1, 3)
    return MosaicScores(*rows.T)


def _score(mosaic: Mosaic, scores: np.ndarray) -> tuple[float, float, float]:
    """Return share, AUC and top word of one map."""
    positive = np.maximum(scores, 0).astype(float)
    if not positive.any():
        return (float("nan"),) * 3
    share = positive[mosaic.right].sum() / positive.sum()
    return float(share), auc(rankdata(scores), mosaic.right), _top(mosaic, scores)


def _top(mosaic: Mosaic, scores: np.ndarray) -> float:
    """Return the part of the highest words that lies in the right part."""
    count = int(mosaic.word_of_token.max()) + 1
    words = np.bincount(mosaic.word_of_token, scores.astype(float), minlength=count)
    right = np.zeros(count, bool)
    right[mosaic.word_of_token] = mosaic.right
    return float(right[words == words.max()].mean())
