"""What a rule computes of one batch: the maps of every layer, before decoding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from saliency_core.saliency.references import wide

ModelCall = Callable[[], tuple[tuple[Tensor, ...], Tensor]]
"""Runs the model on texts and references: (layer + 1 states of (row, token, hidden), logits)."""
Targets = Callable[[Tensor], Tensor]
"""Logits (text, class) -> weights (target, text, class); a target is the weighted sum of logits."""


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


def gradients(
    logits: Tensor, weights: Tensor, hidden: tuple[Tensor, ...]
) -> list[tuple[Tensor, ...]]:
    """Return for each target what reaches every layer: one backward pass per target.

    Args:
        logits: (text, class), with their graph.
        weights: (target, text, class).
        hidden: the states of every layer, of whatever shape.
    """
    last = len(weights) - 1
    return [
        torch.autograd.grad((weight * logits).sum(), hidden, retain_graph=number < last)
        for number, weight in enumerate(weights)
    ]


def dot(one: Tensor, other: Tensor) -> Tensor:
    """Return the product summed over hidden, in float32 at least."""
    return torch.linalg.vecdot(wide(one), wide(other))


def lengths(multipliers: list[tuple[Tensor, ...]]) -> Tensor:
    """Return the length of every multiplier, (target, layer, text, token)."""
    return torch.stack(
        [torch.stack([wide(found).norm(dim=-1) for found in target]) for target in multipliers]
    )
