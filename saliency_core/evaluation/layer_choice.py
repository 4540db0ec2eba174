"""Which layer to read: two yardsticks, their mean, and what is tied.

docs/method.md, “Which layer to read”.

Arrays in, numbers out. A layer's choice score is the mean of two ratios: its comprehensiveness
and its mosaic share above chance, each floored at 0 and divided by the best layer's.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import pandas as pd

from saliency_core.program import program
from saliency_core.records import LayerSummary

REPEATS = 1000
"""Bootstrap samples of examples and mosaics."""
READABLE = 0.85
"""Part of the best choice score that the most readable layer must reach."""
MEASURES = ("comprehensiveness", "sufficiency", "mosaic", "mosaic_auc", "mosaic_top")
DECODES = 0.5
"""Part of the best layer's decodability at which a layer still decodes."""


@dataclass(frozen=True)
class ChoiceScores:
    """The choice score of every layer with its 95 % bootstrap interval."""

    score: np.ndarray
    """(layer,)."""
    low: np.ndarray
    high: np.ndarray
    drawn: np.ndarray
    """(repeat, layer) scores of bootstrap samples, the same ones for all layers."""


@dataclass(frozen=True)
class Choice:
    """The layers to read."""

    recommended: int
    most_readable: int | None = None
    """None where coherence is undefined or nothing was evaluated."""
    tied: tuple[int, ...] = ()
    """Layers that are not shown to be worse than the recommended one."""
    warning: str | None = None


@dataclass(frozen=True)
class LayerTests:
    """What a sample of examples, and mosaics made of texts like them, say of every layer."""

    comprehensiveness: np.ndarray
    """(layer, example)."""
    sufficiency: np.ndarray
    """(layer, example)."""
    mosaic: np.ndarray | None = None
    """(layer, mosaic) share of positive score on the right part; None without mosaics."""
    mosaic_auc: np.ndarray | None = None
    mosaic_top: np.ndarray | None = None
    chance: np.ndarray | None = None
    """(mosaic,) share of the tokens on the right part."""

    def choice_scores(self, seed: int) -> ChoiceScores:
        """Return the choice score of every layer."""
        above = None if self.mosaic is None else self.mosaic - self.chance
        return choice_scores(self.comprehensiveness, above, seed)

    def means(self) -> dict[str, np.ndarray]:
        """Return the (layer,) means of every measure there is."""
        given = {name: getattr(self, name) for name in MEASURES}
        return {name: mean_known(values) for name, values in given.items() if values is not None}

    def intervals(self, seed: int) -> dict[str, list[float | None]]:
        """Return `interval_columns` of every measure; those that there are not hold None."""
        found: dict[str, list[float | None]] = {}
        for name in MEASURES:
            values = getattr(self, name)
            missing = np.empty((len(self.comprehensiveness), 0))
            found |= interval_columns(name, missing if values is None else values, seed)
        return found


def choose_by_tests(
    layers: Sequence[LayerSummary],
    tests: LayerTests,
    *,
    bypassed: Collection[int] = (),
    seed: int = 0,
) -> tuple[list[LayerSummary], Choice]:
    """Return the summaries with what the tests say filled in, and the layers to read."""
    scores = tests.choice_scores(seed)
    nothing = dict.fromkeys(MEASURES, [None] * len(layers))
    layers = with_values(
        layers,
        **(nothing | tests.means()),
        choice=scores.score,
        choice_low=scores.low,
        choice_high=scores.high,
    )
    return layers, choose_layer(layers, scores, bypassed)


def interval_columns(
    name: str, values: np.ndarray, seed: int, sizes: np.ndarray | float = 1.0
) -> dict[str, list[float | None]]:
    """Return the 95 % bootstrap intervals of a measure of layers, as columns beside it.

    Args:
        name: of the measure; the columns are `NAME_low` and `NAME_high`.
        values: (layer, row), drawn by rows; NaN where a row has none.
        seed: of the bootstrap.
        sizes: (row,) how much each row weighs in the mean.
    """
    ends = np.full((2, len(values)), np.nan)
    known = ~np.isnan(values).all(1)
    if known.any():
        weights = _weights(np.random.default_rng(seed), values.shape[1]) * sizes
        ends[:, known] = np.percentile(_means(values[known], weights), [2.5, 97.5], axis=0)
    return {
        f"{name}_{end}": [*map(_number, of)] for end, of in zip(("low", "high"), ends, strict=True)
    }


def choice_scores(
    comprehensiveness: np.ndarray, above_chance: np.ndarray | None, seed: int = 0
) -> ChoiceScores:
    """Return the choice scores and their seeded bootstrap over examples and mosaics.

    Args:
        comprehensiveness: (layer, example).
        above_chance: (layer, mosaic) share of positive score on the right part less that of
            the tokens; NaN where a map has no positive score. None where there is no mosaic:
            comprehensiveness decides alone.
        seed: of the bootstrap.
    """
    yardsticks = [comprehensiveness] + ([] if above_chance is None else [above_chance])
    draw = np.random.default_rng(seed)
    score = mean_ratio([np.nan_to_num(mean_known(values)) for values in yardsticks])
    drawn = mean_ratio([_means(values, _weights(draw, values.shape[1])) for values in yardsticks])
    low, high = np.percentile(drawn, [2.5, 97.5], axis=0)
    return ChoiceScores(score, low, high, drawn)


def mean_ratio(yardsticks: Sequence[np.ndarray]) -> np.ndarray:
    """Return the mean of (..., layer) yardsticks, each floored at 0 and over its best layer's."""
    floored = np.maximum(np.stack(yardsticks), 0)
    best = floored.max(-1, keepdims=True)
    return np.divide(floored, best, out=np.zeros_like(floored), where=best > 0).mean(0)


def _weights(draw: np.random.Generator, count: int) -> np.ndarray:
    """Return (repeat, row) how often each row is drawn."""
    drawn = draw.integers(0, count, (REPEATS, count))
    return np.stack([np.bincount(rows, minlength=count) for rows in drawn]).astype(float)


def mean_known(values: np.ndarray) -> np.ndarray:
    """Return the (layer,) means of (layer, row) values, NaN left out; NaN where all are."""
    known = ~np.isnan(values)
    total = np.where(known, values, 0).sum(1, dtype=float)
    return np.divide(total, known.sum(1), out=np.full(len(values), np.nan), where=known.any(1))


def _means(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return (repeat, layer) weighted means of (layer, row) values, NaN left out; 0 of nothing."""
    known = ~np.isnan(values)
    total = weights @ np.where(known, values, 0).T
    count = weights @ known.T.astype(float)
    return np.divide(total, count, out=np.zeros_like(total), where=count > 0)


def choose_layer(
    layers: Sequence[LayerSummary],
    scores: ChoiceScores | None = None,
    bypassed: Collection[int] = (),
) -> Choice:
    """Return the layers to read (docs/method.md, “Which layer to read”).

    Args:
        layers: what is known of every layer.
        scores: the choice scores; None where nothing was evaluated.
        bypassed: layers that information flows around; never recommended.
    """
    allowed = [row for row in layers if row.layer not in bypassed] or list(layers)
    if scores is None:
        return _unevaluated(allowed, len(layers) - 1)
    # Where no layer is above the uniform baseline, coherence does not narrow the choice.
    eligible = [row.layer for row in allowed if above_baseline(row)]
    eligible = eligible or [row.layer for row in allowed]
    best = max(eligible, key=lambda layer: scores.score[layer])
    ahead = scores.drawn[:, [best]] - scores.drawn  # (repeat, layer)
    low = np.percentile(ahead, 2.5, axis=0)
    tied = tuple(layer for layer in eligible if layer != best and low[layer] <= 0)
    return Choice(best, _most_readable(allowed, scores), tied)


def above_baseline(row: LayerSummary) -> bool:
    """Tell whether a layer is more coherent than pointing at every word."""
    return row.coherence is not None and row.coherence > (row.uniform_baseline or 0.0)


def _most_readable(allowed: Sequence[LayerSummary], scores: ChoiceScores) -> int | None:
    """Return the most coherent layer among those that reach most of the best choice score."""
    enough = READABLE * max(scores.score[row.layer] for row in allowed)
    good = [
        row for row in allowed if row.coherence is not None and scores.score[row.layer] >= enough
    ]
    return max(good, key=lambda row: row.coherence or 0.0).layer if good else None


def _unevaluated(allowed: Sequence[LayerSummary], last: int) -> Choice:
    """Return the most coherent layer, the last block left out, else the last that decodes.

    At the last block all evidence sits where the classifier reads: its words are what one state
    decodes to, coherent whatever moved the prediction.
    """
    coherent = [row for row in allowed if row.coherence is not None and row.layer != last]
    if coherent:
        best = max(coherent, key=lambda row: row.coherence or 0.0)
        tied = (row.layer for row in coherent if row is not best and _overlap(row, best))
        return Choice(best.layer, tied=tuple(tied))
    decodable = [row for row in allowed if row.decodability is not None]
    enough = DECODES * max((row.decodability or 0.0 for row in decodable), default=0.0)
    decoding = [row.layer for row in decodable if (row.decodability or 0.0) >= enough]
    layer = decoding[-1] if decoding else allowed[max(len(allowed) - 2, 0)].layer
    return Choice(
        layer,
        warning=f"Layer {layer} is recommended only because it is the last one whose states still "
        "decode: coherence is undefined with one predicted class, and the layers were not "
        f"evaluated. Evaluate them with `{program()} evaluate`.",
    )


def _overlap(one: LayerSummary, other: LayerSummary) -> bool:
    if one.low is None or one.high is None or other.low is None or other.high is None:
        return False
    return one.low <= other.high and other.low <= one.high


def summaries_of(frame: pd.DataFrame) -> list[LayerSummary]:
    """Return the summaries that `Store.layers` gives as a frame."""
    return [
        LayerSummary(int(layer), *map(_number, values))
        for layer, *values in frame[[field.name for field in fields(LayerSummary)]].to_numpy()
    ]


def with_values(layers: Sequence[LayerSummary], **columns: Any) -> list[LayerSummary]:
    """Return the summaries with (layer,) arrays of further fields filled in."""

    def filled(row: LayerSummary) -> LayerSummary:
        own: dict[str, Any] = {name: _number(values[row.layer]) for name, values in columns.items()}
        return replace(row, **own)

    return [filled(row) for row in layers]


def _number(value: Any) -> float | None:
    return None if value is None or value != value else float(value)
