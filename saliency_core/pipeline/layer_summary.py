"""What a finished run says about its layers: coherence, decodability, the one to read first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from saliency_core.model.classifier import Classifier
from saliency_core.model.encoding import Encoding, token_batches
from saliency_core.records import LayerSummary
from saliency_core.saliency.coherence import (
    CoherenceSums,
    bootstrap_interval,
    explanations,
    token_directions,
)

BOOTSTRAP_EXAMPLES = 2000
"""Examples the interval is drawn from; that of more examples is narrower by the root law."""
DECODED_POSITIONS = 512
"""Positions decoded over the full vocabulary for decodability."""
DECODED_TOGETHER = 64
"""Positions whose scores over the vocabulary are held at once."""


class LayerCoherence:
    """Coherence of every layer of a run, streamed over its stored explanations."""

    def __init__(self, classifier: Classifier, classes: int, seed: int) -> None:
        """Prepare the language model's own space."""
        embeddings = classifier.head.embeddings.float().cpu().numpy()
        self.directions = token_directions(embeddings)
        self.classes = classes
        self.layers = classifier.info.layers + 1
        self.seed = seed
        size = self.directions.shape[1]
        self.sums = [CoherenceSums(classes, size) for _ in range(self.layers)]
        self.kept: list[tuple[np.ndarray, np.ndarray]] = []
        self.examples = 0
        self.used = np.zeros(len(self.directions), bool)
        """(vocab,) tokens that stand in an explanation."""

    def add(self, predicted: np.ndarray, tokens: np.ndarray) -> None:
        """Add (example,) predicted classes and (layer, example, 3) most salient vocabulary ids."""
        known = predicted >= 0
        predicted, tokens = predicted[known], tokens[:, known]
        self.used[tokens[tokens >= 0]] = True
        for layer in range(self.layers):
            self.sums[layer].add(explanations(self.directions, tokens[layer]), predicted)
        self.examples += len(predicted)
        room = BOOTSTRAP_EXAMPLES - sum(len(kept) for kept, _ in self.kept)
        if room > 0:
            self.kept.append((predicted[:room], tokens[:, :room]))

    def summaries(self) -> list[LayerSummary]:
        """Return coherence with its 95 % interval for every layer."""
        if not self.kept:
            return [
                LayerSummary(layer, None, None, None, None, None) for layer in range(self.layers)
            ]
        predicted = np.concatenate([kept for kept, _ in self.kept])
        tokens = np.concatenate([kept for _, kept in self.kept], axis=1)
        narrower = np.sqrt(len(predicted) / max(self.examples, 1))
        found = []
        for layer in range(self.layers):
            value = self.sums[layer].coherence()
            low = high = None
            if value is not None:
                q = explanations(self.directions, tokens[layer])
                low, high = bootstrap_interval(q, predicted, self.classes, seed=self.seed)
                if low is not None and len(predicted) < self.examples:
                    middle = (low + high) / 2
                    low = value - (middle - low) * narrower
                    high = value + (high - middle) * narrower
            found.append(LayerSummary(layer, value, low, high, None, None))
        return found

    def of_examples(
        self, rows: Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield (positions, (layer, example) coherence) for the store."""
        for positions, predicted, tokens in rows:
            values = np.full((self.layers, len(positions)), np.nan, np.float32)
            known = predicted >= 0
            for layer in range(self.layers):
                q = explanations(self.directions, tokens[layer, known])
                values[layer, known] = self.sums[layer].of_examples(q, predicted[known])
            yield positions, values

    def zero_line(self, encodings: Sequence[Encoding], predicted: np.ndarray) -> float | None:
        """Return the coherence of pointing at every token alike, on a sample; None of no text."""
        if not encodings:
            return None
        uniform = np.stack(
            [
                self.directions[np.array(encoding.input_ids)[~encoding.special]].sum(0)
                for encoding in encodings
            ]
        )
        length = np.linalg.norm(uniform, axis=1, keepdims=True)
        uniform = np.divide(uniform, length, out=np.zeros_like(uniform), where=length > 0)
        sums = CoherenceSums(self.classes, uniform.shape[1])
        sums.add(uniform, predicted)
        return sums.coherence()


@dataclass(frozen=True)
class Decodability:
    """What the language-model head says of hidden states, as mean probabilities (METHOD 4)."""

    own: np.ndarray
    """(layer,) of the position's own token; NaN where no text holds a token."""
    following: np.ndarray | None
    """(layer,) of the next token, which the head of a causal model speaks of; else None."""


@torch.no_grad()
def decodability(classifier: Classifier, encodings: Sequence[Encoding], seed: int) -> Decodability:
    """Return how far each layer decodes, on a seeded sample of positions, full vocabulary."""
    draw = np.random.default_rng(seed)
    each = max(1, DECODED_POSITIONS // max(len(encodings), 1))
    sampled = []
    for encoding in encodings:
        own = np.flatnonzero(~encoding.special)
        if len(own):
            sampled.append((encoding, np.sort(draw.choice(own, min(each, len(own)), False))))
    layers = classifier.info.layers + 1
    if not sampled:
        nothing = np.full(layers, np.nan)
        return Decodability(nothing, nothing if classifier.head.causal else None)
    sampled.sort(key=lambda pair: len(pair[0].input_ids))
    states: list[list[Tensor]] = [[] for _ in range(layers)]
    lengths = [len(encoding.input_ids) for encoding, _ in sampled]
    for rows in token_batches(lengths, classifier.default_batch_tokens):
        batch = classifier.collate([sampled[row][0] for row in rows])
        hidden, _ = classifier.forward(batch)
        for place, row in enumerate(rows):
            length = lengths[row]
            start = 0 if classifier.padding_side == "right" else hidden[0].shape[1] - length
            for layer in range(layers):
                states[layer].append(hidden[layer][place, start + sampled[row][1]])
    ids = [np.array(encoding.input_ids) for encoding, _ in sampled]
    own = np.concatenate([tokens[chosen] for tokens, (_, chosen) in zip(ids, sampled, strict=True)])
    wanted = [own]
    if classifier.head.causal:
        wanted.append(np.concatenate([_next_tokens(*pair) for pair in sampled]))
    chances = np.array(
        [
            _mean_chances(classifier, torch.cat(found), np.stack(wanted), layer == layers - 1)
            for layer, found in enumerate(states)
        ]
    )  # (layer, own or next)
    return Decodability(chances[:, 0], chances[:, 1] if classifier.head.causal else None)


def _next_tokens(encoding: Encoding, chosen: np.ndarray) -> np.ndarray:
    """Return the token after each chosen one, -1 where the text ends or a special one follows."""
    following = np.append(np.where(encoding.special, -1, encoding.input_ids)[1:], -1)
    return following[chosen]


def _mean_chances(
    classifier: Classifier, states: Tensor, wanted: np.ndarray, last: bool
) -> np.ndarray:
    """Return the mean probability of each kind of wanted token, (kind,).

    Args:
        classifier: holds the head.
        states: (position, hidden) of one layer.
        wanted: (kind, position) vocabulary ids, -1 where there is none.
        last: the states are those of the last layer.
    """
    head = classifier.head
    tokens = torch.from_numpy(wanted).to(states.device)
    chances = []
    for part, ids in zip(
        states.split(DECODED_TOGETHER), tokens.split(DECODED_TOGETHER, dim=1), strict=True
    ):
        features = head.features(part.unsqueeze(0), classifier.normed_last and last)[0]
        logits = (features @ head.embeddings.T).float()  # (position, vocab)
        if head.bias is not None:
            logits += head.bias
        found = logits.gather(1, ids.clamp(min=0).T).T  # (kind, position)
        chances.append((found - logits.logsumexp(-1)).exp())
    known = wanted >= 0
    total = np.where(known, torch.cat(chances, dim=1).cpu().numpy(), 0).sum(-1)
    return np.divide(total, known.sum(-1), out=np.full(len(wanted), np.nan), where=known.any(-1))


def median_completeness(parts: np.ndarray) -> np.ndarray:
    """Return (layer,) medians of (layer, example) completenesss; NaN where none is known.

    A text whose target is that of its blank has no part to explain: infinite or NaN.
    """
    known = np.isfinite(parts).all(0)
    return np.median(parts[:, known], axis=1) if known.any() else np.full(len(parts), np.nan)


def recommend(
    layers: Sequence[LayerSummary],
    comprehensiveness: Sequence[tuple[float, float]] | None = None,
) -> tuple[int, list[int]]:
    """Return the layer to read first and those that equal it (METHOD section 4).

    Of the layers whose coherence is above the zero line the one of highest comprehensiveness
    where that was evaluated; else the one of highest coherence, the last block left out: there all
    gradient sits where the classifier reads, so its map is what one state decodes to, coherent
    whatever moved the answer. Layers whose interval of that measure overlaps its own are equals.

    Args:
        layers: what is known of every layer.
        comprehensiveness: 95 % interval (low, high) of every layer where it was evaluated.
    """
    above = [row for row in layers if row.coherence is not None and _above_zero(row)]
    coherent = [row for row in layers[:-1] if row.coherence is not None]
    intervals = {row.layer: (row.low, row.high) for row in layers if row.low is not None}
    if comprehensiveness is not None:
        intervals = dict(enumerate(comprehensiveness))
        best = max(above or layers, key=lambda row: row.comprehensiveness).layer
        eligible = {row.layer for row in above or layers}
    elif coherent:
        best = max(coherent, key=lambda row: row.coherence).layer
        eligible = {row.layer for row in coherent}
    else:
        # One predicted class only.
        return layers[max(len(layers) - 2, 0)].layer, []
    equals = [
        layer
        for layer in sorted(eligible - {best})
        if layer in intervals and best in intervals and _overlap(intervals[layer], intervals[best])
    ]
    return best, equals


def _overlap(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return one[0] <= other[1] and other[0] <= one[1]


def _above_zero(row: LayerSummary) -> bool:
    return row.coherence > (row.zero_line or 0.0)


def summaries_of(frame: pd.DataFrame) -> list[LayerSummary]:
    """Return the summaries that `Store.layers` gives as a frame."""
    return [
        LayerSummary(int(layer), *map(_number, values))
        for layer, *values in frame[[field.name for field in fields(LayerSummary)]].to_numpy()
    ]


def with_values(layers: Sequence[LayerSummary], **columns: Any) -> list[LayerSummary]:
    """Return the summaries with (layer,) arrays of further fields filled in."""
    return [
        replace(row, **{name: _number(values[row.layer]) for name, values in columns.items()})
        for row in layers
    ]


def _number(value: Any) -> float | None:
    return None if value is None or value != value else float(value)
