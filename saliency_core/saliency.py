"""The path through the model and the maps of all layers at once; pure tensors.

Method: METHOD section 1. Local map: conductance (Dhamdhere et al. 2018) on every hidden layer,
integrated gradients (Sundararajan et al. 2017) at layer 0. Pooled map: Grad-CAM on a hidden
layer (Hou & Castañón 2023).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

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
        with torch.no_grad():
            # `forward` and not the module itself: this hook must not see the blank's embeddings.
            blank = module.forward(blank_of(arguments[0]))
            mixed = torch.lerp(blank, output, share[0])
        return mixed.detach().requires_grad_(torch.is_grad_enabled())

    hooks = [module.register_forward_hook(replace) for module in embeddings]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def path_maps(
    call: ModelCall,
    share: list[float],
    steps: int,
    blank_states: list[Tensor],
    blank_logits: Tensor,
    targets: Callable[[Tensor], Tensor],
    variants: bool = False,
) -> LayerMaps:
    """Return the maps of every layer at the cost of m forward and m backward passes a target.

    a_l[i] = sum_k 1/2 (g_l[i](t_k) + g_l[i](t_{k-1})) . (h_l[i](t_k) - h_l[i](t_{k-1})), the
    first interval with g(t_1) alone; METHOD section 1. The path is walked from the text back to
    the blank, so that the target is known before the first gradient.

    Args:
        call: one forward pass at the present share of the path.
        share: the number `embeddings_on_path` reads.
        steps: m, at least 1.
        blank_states: a (batch, token, hidden) state of the blank for each layer.
        blank_logits: (batch, class) logits of the blank.
        targets: logits (batch, class) -> weights (target, batch, class).
        variants: also return the pooled map and the gradient norm.
    """
    later: tuple[tuple[Tensor, ...], list[tuple[Tensor, ...]]] | None = None
    for step in range(steps, 0, -1):
        share[0] = step / steps
        hidden, step_logits = call()
        if step == steps:
            logits = step_logits.detach()
            weights = targets(logits)  # (target, batch, class)
            local = logits.new_zeros(len(weights), len(hidden), *hidden[0].shape[:2])
            pooled = torch.zeros_like(local) if variants else None
        gradients = _gradients(step_logits, weights, hidden)
        states = tuple(state.detach() for state in hidden)
        if step == steps:
            text_states = states
            norm = _norms(gradients) if variants else None
        else:
            _add_interval(local, pooled, later[0], states, later[1], gradients)
        later = (states, gradients)
    _add_interval(local, pooled, later[0], blank_states, later[1], later[1])
    change = (weights * (logits - blank_logits)).sum(-1)  # (target, batch)
    return LayerMaps(local, pooled, norm, text_states, logits, weights, change)


def _gradients(
    logits: Tensor, weights: Tensor, hidden: tuple[Tensor, ...]
) -> list[tuple[Tensor, ...]]:
    """Return for each target the gradient of every layer: one backward pass a target."""
    last = len(weights) - 1
    return [
        torch.autograd.grad((weight * logits).sum(), hidden, retain_graph=number < last)
        for number, weight in enumerate(weights)
    ]


def _add_interval(
    local: Tensor,
    pooled: Tensor | None,
    end: tuple[Tensor, ...],
    start: tuple[Tensor, ...] | list[Tensor],
    end_gradients: list[tuple[Tensor, ...]],
    start_gradients: list[tuple[Tensor, ...]],
) -> None:
    """Add one interval of the path to the maps, trapezoid rule for the local one."""
    for layer in range(len(end)):
        change = end[layer] - start[layer]  # (batch, token, hidden)
        for target in range(len(local)):
            at_end = end_gradients[target][layer]
            mean = (
                at_end
                if end_gradients is start_gradients
                else (0.5 * (at_end + start_gradients[target][layer]))
            )
            local[target, layer] += torch.linalg.vecdot(mean, change)
            if pooled is not None:
                # Padding has zero gradient, so the sum over all positions is that over real ones;
                # the caller divides by their number.
                direction = at_end.sum(1, keepdim=True)  # (batch, 1, hidden)
                pooled[target, layer] += torch.linalg.vecdot(direction.expand_as(change), change)


def _norms(gradients: list[tuple[Tensor, ...]]) -> Tensor:
    """Return the length of every gradient, (target, layer, batch, token)."""
    return torch.stack(
        [torch.stack([gradient.norm(dim=-1) for gradient in target]) for target in gradients]
    )
