"""The path through the model and the maps of all layers at once; pure tensors.

Method: METHOD section 1. Local map: conductance (Dhamdhere et al. 2018) on every hidden layer,
integrated gradients (Sundararajan et al. 2017) at layer 0. Pooled map: Grad-CAM on a hidden
layer (Hou & Castañón 2023).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

ModelCall = Callable[[], tuple[tuple[Tensor, ...], Tensor]]
"""Runs the model on the batch: (layer + 1 states of (batch, token, hidden), logits)."""


@dataclass(frozen=True)
class LayerMaps:
    """Maps of every layer for every target of one batch."""

    local: Tensor
    """(target, layer, batch, token) integrated gradient of the target along the layer's path."""
    pooled: Tensor | None
    """(target, layer, batch, token), only where variants were asked for."""
    norm: Tensor | None
    """(target, layer, batch, token) length of the gradient at the text itself."""
    states: tuple[Tensor, ...]
    """A (batch, token, hidden) state for each layer, at the text itself."""
    logits: Tensor
    """(batch, class) at the text itself."""
    weights: Tensor
    """(target, batch, class): target = sum over classes of weights times logits."""
    change: Tensor
    """(target, batch): y(text) - y(blank), what the local map of a layer adds up to."""


@contextmanager
def embeddings_on_path(
    embeddings: Sequence[nn.Module], blank_of: Callable[[Tensor], Tensor], share: list[float]
) -> Iterator[None]:
    """Replace what the embedding modules return by e_blank + t (e - e_blank), t = share[0].

    Args:
        embeddings: the input-embedding modules; their output is (batch, token, hidden).
        blank_of: ids (batch, token) as a module gets them -> those of the blank input.
        share: one number, changed by the caller between forward passes.
    """

    def replace(module: nn.Module, arguments: tuple, output: Tensor) -> Tensor:
        mixed = output.detach()
        if share[0] < 1:
            with torch.no_grad():
                # `forward`, not the module itself: this hook must not see the blank's embeddings.
                mixed = torch.lerp(module.forward(blank_of(arguments[0])), mixed, share[0])
        return mixed.requires_grad_(torch.is_grad_enabled())

    hooks = [module.register_forward_hook(replace) for module in embeddings]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def path_nodes(steps: int) -> np.ndarray:
    """Return (step,) t_1 < ... < t_m = 1, the shares of the path at which gradients are taken.

    Half of the steps lie in the first quarter of the path, a quarter in the second, a quarter in
    the second half: t = 1/8, 1/4, 1/2, 1 for four. A model changes its answer most where words
    come forth from the blank, and few even steps measure that badly (docs/benchmarks.md). One
    step is the text itself.
    """
    return np.interp(np.arange(1, steps + 1) / steps, (0, 0.5, 0.75, 1), (0, 0.25, 0.5, 1))


def path_maps(
    call: ModelCall,
    share: list[float],
    nodes: Sequence[float],
    blank_states: list[Tensor],
    blank_logits: Tensor,
    targets: Callable[[Tensor], Tensor],
    variants: bool = False,
) -> LayerMaps:
    """Return the maps of every layer at the cost of m forward and m backward passes a target.

    a_l[i] = sum_k 1/2 (g_l[i](t_k) + g_l[i](t_{k-1})) . (h_l[i](t_k) - h_l[i](t_{k-1})), the
    first interval with g(t_1) alone; METHOD section 1. It is summed by gradients, each of which
    meets half the change between its neighbours: 1/2 (h(t_{k+1}) - h(t_{k-1})), at the text
    1/2 (h(t_m) - h(t_{m-1})), at t_1 the whole change from the blank and half of the next. The
    path is walked from the text back to the blank, so that the target is known before the first
    gradient.

    Args:
        call: one forward pass at the present share of the path.
        share: the number `embeddings_on_path` reads.
        nodes: (step,) t_1 < ... < t_m = 1, at least one.
        blank_states: a (batch, token, hidden) state of the blank for each layer.
        blank_logits: (batch, class) logits of the blank.
        targets: logits (batch, class) -> weights (target, batch, class).
        variants: also return the pooled map and the gradient norm.
    """
    share[0] = 1.0
    hidden, text_logits = call()
    logits = text_logits.detach()
    weights = targets(logits)  # (target, batch, class)
    local = torch.zeros(
        len(weights), len(hidden), *hidden[0].shape[:2], device=logits.device
    )  # (target, layer, batch, token)
    pooled = torch.zeros_like(local) if variants else None
    gradients = _gradients(text_logits, weights, hidden)
    norm = _norms(gradients) if variants else None
    above = states = text_states = _detached(hidden)  # h(t_{k+2}) and h(t_{k+1}) of the loop
    for node in reversed(nodes[:-1]):
        share[0] = float(node)
        hidden, step_logits = call()
        below = _detached(hidden)
        for layer, state in enumerate(below):
            change = 0.5 * (above[layer] - state)  # (batch, token, hidden)
            _add(local, layer, gradients, change)
            _add_pooled(pooled, layer, gradients, states[layer], state)
        gradients = _gradients(step_logits, weights, hidden)
        above, states = states, below
    for layer, blank in enumerate(blank_states):
        # With one step h(t_2), which there is not, is h(t_1).
        middle = states[layer] if len(nodes) == 1 else torch.lerp(states[layer], above[layer], 0.5)
        change = middle - blank
        _add(local, layer, gradients, change)
        _add_pooled(pooled, layer, gradients, states[layer], blank)
    change = (weights * (logits.float() - blank_logits.float())).sum(-1)  # (target, batch)
    return LayerMaps(local, pooled, norm, text_states, logits, weights, change)


def _detached(hidden: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(state.detach() for state in hidden)


def _gradients(
    logits: Tensor, weights: Tensor, hidden: tuple[Tensor, ...]
) -> list[tuple[Tensor, ...]]:
    """Return for each target the gradient of every layer: one backward pass a target."""
    last = len(weights) - 1
    return [
        torch.autograd.grad((weight * logits).sum(), hidden, retain_graph=number < last)
        for number, weight in enumerate(weights)
    ]


def _add(local: Tensor, layer: int, gradients: list[tuple[Tensor, ...]], change: Tensor) -> None:
    """Add what the gradients of one step make of a change of the states to the local maps."""
    for target, of_layers in enumerate(gradients):
        local[target, layer] += _dot(of_layers[layer], change)


def _add_pooled(
    pooled: Tensor | None,
    layer: int,
    gradients: list[tuple[Tensor, ...]],
    end: Tensor,
    start: Tensor,
) -> None:
    """Add one interval of the path to the pooled maps, where they were asked for."""
    if pooled is None:
        return
    for target, of_layers in enumerate(gradients):
        # Padding has zero gradient, so the sum over all positions is that over real ones; the
        # caller divides by their number.
        direction = of_layers[layer].sum(1, keepdim=True)  # (batch, 1, hidden)
        pooled[target, layer] += _dot(direction.expand_as(end), end - start)


def _dot(one: Tensor, other: Tensor) -> Tensor:
    """Return the product summed over hidden, in float32 whatever the model computes in."""
    return torch.linalg.vecdot(one.float(), other.float())


def _norms(gradients: list[tuple[Tensor, ...]]) -> Tensor:
    """Return the length of every gradient, (target, layer, batch, token)."""
    return torch.stack(
        [
            torch.stack([gradient.float().norm(dim=-1) for gradient in target])
            for target in gradients
        ]
    )
