"""What a rule computes of one batch: the maps of every layer, before decoding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from saliency_core.saliency.references import Pairing, wide

ModelCall = Callable[[], tuple[tuple[Tensor, ...], Tensor]]
"""Runs the model on texts and references: (layer + 1 states of (row, token, hidden), logits)."""
Targets = Callable[[Tensor], Tensor]
"""Logits (text, class) -> weights (target, text, class); a target is the weighted sum of logits."""
Multipliers = list[tuple[Tensor, ...]]
"""(target, layer) of (text, token, hidden): what a change of the states does to the target."""


@dataclass(frozen=True)
class LayerMaps:
    """Maps of every layer for every target of one batch."""

    local: Tensor
    """(target, layer, text, token) multiplier times difference of states, in the target's units."""
    pooled: Tensor | None
    """(target, layer, text, token), only where variants were asked for; to be divided by n."""
    norm: Tensor | None
    """(target, layer, text, token) length of the multiplier, or of the gradient at the text."""
    states: tuple[Tensor, ...]
    """A (text, token, hidden) state for each layer, at the text itself."""
    logits: Tensor
    """(text, class) at the text itself."""
    weights: Tensor
    """(target, text, class): target = sum over classes of weights times logits."""
    change: Tensor
    """(target, text): y(text) - y(reference), what the local map of a layer adds up to."""

    def add(self, layer: int, multipliers: Multipliers, change: Tensor, whole: Tensor) -> None:
        """Add what multipliers make of a change of the (text, token, hidden) states of a layer.

        The pooled map, where it was asked for, takes them summed over the tokens, and `whole`.
        """
        for target, of_layers in enumerate(multipliers):
            self.local[target, layer] += _dot(of_layers[layer], change)
            if self.pooled is not None:
                # Padding has zero multipliers, so the sum over all positions is that over real
                # ones; whoever reads the map divides by their number.
                direction = of_layers[layer].sum(1, keepdim=True)  # (text, 1, hidden)
                self.pooled[target, layer] += _dot(direction.expand_as(whole), whole)


@dataclass(frozen=True)
class ExampleMaps:
    """The saliency of one example as numpy arrays, special tokens left out."""

    scores: np.ndarray
    """(target, layer, token) float32, in units of the target."""
    total: np.ndarray
    """(target, layer) what the undecoded map adds up to."""
    change: np.ndarray
    """(target,) y(text) - y(reference)."""
    logits: np.ndarray
    """(class,)."""
    weights: np.ndarray
    """(target, class)."""
    incomplete: bool = False
    """The secant rule did not add up, so the path rule computed this example."""


def maps_at(
    hidden: tuple[Tensor, ...], logits: Tensor, pairing: Pairing, targets: Targets, variants: bool
) -> tuple[LayerMaps, Multipliers]:
    """Return maps that hold nothing yet, and the multipliers at the texts as they are.

    From what the model gave for texts and references: a (row, token, hidden) state for each layer
    and (row, class) logits, with their graph.
    """
    answers = logits.detach()
    weights = targets(answers[: pairing.texts])
    multipliers = gradients(logits, weights, hidden, pairing)
    local = wide(answers).new_zeros(
        len(weights), len(hidden), pairing.texts, hidden[0].shape[1]
    )  # (target, layer, text, token)
    pooled = norm = None
    if variants:
        pooled = torch.zeros_like(local)
        lengths = [[wide(found).norm(dim=-1) for found in target] for target in multipliers]
        norm = torch.stack([torch.stack(target) for target in lengths])
    maps = LayerMaps(
        local=local,
        pooled=pooled,
        norm=norm,
        states=at_texts(hidden, pairing),
        logits=answers[: pairing.texts],
        weights=weights,
        change=(weights * pairing.differences(answers)).sum(-1),
    )
    return maps, multipliers


def gradients(
    logits: Tensor, weights: Tensor, hidden: tuple[Tensor, ...], pairing: Pairing
) -> Multipliers:
    """Return what reaches every layer at the texts, by one backward pass per target.

    `logits` (row, class) and `hidden`, of (row, token, hidden) each, have their graph; `weights`
    are (target, text, class).
    """
    last = len(weights) - 1
    texts = logits[: pairing.texts]
    return [
        at_texts(
            torch.autograd.grad((weight * texts).sum(), hidden, retain_graph=number < last), pairing
        )
        for number, weight in enumerate(weights)
    ]


def at_texts(rows: tuple[Tensor, ...], pairing: Pairing) -> tuple[Tensor, ...]:
    """Return the part of tensors over all rows that belongs to the texts, without its graph."""
    return tuple(values.detach()[: pairing.texts] for values in rows)


def _dot(one: Tensor, other: Tensor) -> Tensor:
    """Return the product summed over hidden, in float32 at least."""
    return torch.linalg.vecdot(wide(one), wide(other))
