"""How far the language-model head still names a layer's own tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from saliency_core.model.classifier import Classifier
from saliency_core.model.encoding import Encoding, token_batches

DECODED_POSITIONS = 512
"""Positions decoded over the full vocabulary for decodability."""
DECODED_TOGETHER = 64
"""Positions whose scores over the vocabulary are held at once."""


@dataclass(frozen=True)
class Decodability:
    """What the language-model head says of hidden states, as mean probabilities."""

    own: np.ndarray
    """(layer,) of the position's own token; NaN where no text holds a token."""
    following: np.ndarray | None
    """(layer,) of the next token, which the head of a causal model speaks of; else None."""
    of_texts: np.ndarray
    """(layer, text) of each text's own tokens."""
    positions: np.ndarray
    """(text,) tokens of it that were decoded."""


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
        following = nothing if classifier.head.causal else None
        return Decodability(nothing, following, np.empty((layers, 0)), np.empty(0, int))
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
    wanted = np.concatenate([_own_and_next(*pair) for pair in sampled], axis=1)
    wanted = wanted if classifier.head.causal else wanted[:1]
    chances = np.array(
        [
            _chances(classifier, torch.cat(found), layer, wanted)
            for layer, found in enumerate(states)
        ]
    )  # (layer, own or next, position)
    known = wanted >= 0
    total = np.where(known, chances, 0).sum(-1)
    means = np.divide(
        total, known.sum(-1), out=np.full(total.shape, np.nan), where=known.any(-1)
    )  # (layer, own or next)
    positions = np.array([len(chosen) for _, chosen in sampled])
    starts = np.cumsum(positions) - positions
    return Decodability(
        means[:, 0],
        means[:, 1] if classifier.head.causal else None,
        np.add.reduceat(chances[:, 0], starts, axis=1) / positions,
        positions,
    )


def _own_and_next(encoding: Encoding, chosen: np.ndarray) -> np.ndarray:
    """Return (2, position): chosen tokens and those behind them, -1 for a special one or none."""
    ids = np.where(encoding.special, -1, encoding.input_ids)
    return np.stack([ids, np.append(ids[1:], -1)])[:, chosen]


def _chances(classifier: Classifier, states: Tensor, layer: int, wanted: np.ndarray) -> np.ndarray:
    """Return the probability of each kind of wanted token, (kind, position).

    From the (position, hidden) states of a layer; any number for the wanted vocabulary id -1.
    """
    head = classifier.head
    tokens = torch.from_numpy(wanted).to(states.device)
    chances = []
    for part, ids in zip(
        states.split(DECODED_TOGETHER), tokens.split(DECODED_TOGETHER, dim=1), strict=True
    ):
        features = classifier.features(part.unsqueeze(0), layer)[0]
        logits = (features @ head.embeddings.T).float()  # (position, vocab)
        if head.bias is not None:
            logits += head.bias
        found = logits.gather(1, ids.clamp(min=0).T).T  # (kind, position)
        chances.append((found - logits.logsumexp(-1)).exp())
    return torch.cat(chances, dim=1).cpu().numpy()
