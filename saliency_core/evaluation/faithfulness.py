"""Comprehensiveness, sufficiency and plausibility of saliency maps.

Masking the words a map points at should move the prediction (comprehensiveness, higher is
better); keeping only them should not (sufficiency, lower is better). DeYoung et al. 2020,
ERASER, equations 1 and 2, averaged over shares of the tokens (AOPC, Samek et al. 2017).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from saliency_core.evaluation.layer_choice import REPEATS
from saliency_core.model.classifier import Classifier
from saliency_core.model.encoding import Encoding, tokens_at

TOKEN_SHARES = (0.1, 0.2, 0.3)
"""Shares of the non-special tokens that are masked or kept."""


@dataclass(frozen=True)
class Faithfulness:
    """How far one map moves the predicted class's probability, one value per example."""

    comprehensiveness: np.ndarray
    """(example,) p(text) - p(text without the top tokens), mean over `TOKEN_SHARES`."""
    sufficiency: np.ndarray
    """(example,) p(text) - p(top tokens alone), mean over `TOKEN_SHARES`."""


@dataclass
class Cost:
    """What maps cost: texts through the model, forwards and backwards, and seconds."""

    forwards: int = 0
    backwards: int = 0
    seconds: float = 0.0

    @contextmanager
    def counting(self, classifier: Classifier) -> Iterator[None]:
        """Add what happens inside; seconds of this process, whatever else the machine does."""

        def forward(module: Any, arguments: tuple[Any, ...], output: Any) -> None:
            self.forwards += len(output.logits)
            if output.logits.requires_grad:
                output.logits.register_hook(backward)

        def backward(gradient: Any) -> None:
            self.backwards += len(gradient)

        hook = classifier.model.register_forward_hook(forward)
        started = time.process_time()
        try:
            yield
        finally:
            self.seconds += time.process_time() - started
            hook.remove()


def top_positions(scores: np.ndarray, share: float) -> np.ndarray:
    """Return the positions of the highest scores: `share` of them, at least one; ties by order."""
    count = max(1, round(share * len(scores)))
    return np.argsort(-scores, kind="stable")[:count]


def faithfulness(
    classifier: Classifier,
    encodings: Sequence[Encoding],
    maps: Sequence[Sequence[np.ndarray]],
    *,
    delete: bool = False,
) -> list[Faithfulness]:
    """Return comprehensiveness and sufficiency of every map on the same examples.

    Equal perturbed texts are run once, whichever maps and shares led to them.

    Args:
        classifier: the model under audit.
        encodings: the examples; each needs a token that is not special.
        maps: (map, example) arrays of (token,) scores, special tokens left out.
        delete: take the tokens out instead of replacing them with the mask token.

    Returns:
        One record a map.
    """
    texts: dict[tuple[Any, ...], tuple[int, Encoding]] = {}

    def place_of(encoding: Encoding) -> int:
        key = (encoding.input_ids, encoding.type_ids)
        return texts.setdefault(key, (len(texts), encoding))[0]

    whole = [place_of(encoding) for encoding in encodings]
    # (map, example, share, masked or kept)
    places = np.empty((len(maps), len(encodings), len(TOKEN_SHARES), 2), np.int64)
    for number, scores_of_examples in enumerate(maps):
        for row, (encoding, scores) in enumerate(zip(encodings, scores_of_examples, strict=True)):
            for step, share in enumerate(TOKEN_SHARES):
                top = np.zeros(len(scores), bool)
                top[top_positions(scores, share)] = True
                places[number, row, step] = [
                    place_of(without(encoding, chosen, classifier.blank_token_id, delete))
                    for chosen in (top, ~top)
                ]
    logits = classifier.logits([encoding for _, encoding in texts.values()])
    probabilities = classifier.probabilities(logits)
    predicted = logits[whole].argmax(-1)
    before = probabilities[whole, predicted]  # (example,)
    after = probabilities[places, predicted[None, :, None, None]]
    change = (before[None, :, None, None] - after).mean(2)  # (map, example, masked or kept)
    return [Faithfulness(own[:, 0], own[:, 1]) for own in change]


def without(encoding: Encoding, chosen: np.ndarray, blank_id: int, delete: bool) -> Encoding:
    """Return the encoding with the chosen tokens replaced by the blank token, or deleted.

    `chosen` is (token,) bool over the tokens that are not special.
    """
    drop = np.zeros(len(encoding.input_ids), bool)
    drop[np.flatnonzero(~encoding.special)[chosen]] = True
    if delete:
        return tokens_at(encoding, np.flatnonzero(~drop))
    ids = np.where(drop, blank_id, encoding.input_ids)
    return replace(encoding, input_ids=tuple(ids.tolist()))


def rationale_tokens(encoding: Encoding, spans: Sequence[tuple[int, int]]) -> np.ndarray:
    """Return (token,) bool: which tokens that are not special touch a marked part of the text.

    The spans are start and end of what annotators marked, in characters of the first text.
    """
    own = ~encoding.special
    starts, ends = encoding.spans[own].T
    touched = np.zeros(len(starts), bool)
    for start, end in spans:
        touched |= (starts < end) & (ends > start)
    return touched & (encoding.sides[own] == 0)


def average_precision(scores: np.ndarray, rationale: np.ndarray) -> float:
    """Return the area under precision and recall of (token,) scores against human rationales.

    It is the mean precision at the rank of every token that annotators marked, (token,) bool; NaN
    where none is marked.
    """
    ranked = rationale[np.argsort(-scores, kind="stable")]
    if not ranked.any():
        return float("nan")
    precision = np.cumsum(ranked) / np.arange(1, len(ranked) + 1)
    return float(precision[ranked].mean())


def mean_interval(values: np.ndarray, seed: int = 0) -> tuple[float, float, float]:
    """Return the mean over examples and its 95 % bootstrap interval (seeded)."""
    values = values[~np.isnan(values)].astype(float)
    if not len(values):
        return float("nan"), float("nan"), float("nan")
    draw = np.random.default_rng(seed)
    means = values[draw.integers(0, len(values), (REPEATS, len(values)))].mean(1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(values.mean()), float(low), float(high)
