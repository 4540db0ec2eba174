"""The path rule: maps of all layers from gradients at m points between reference and text.

Complete only as m grows; kept for models and texts that the secant rule does not reach, and to
compare with. Local map: conductance (Dhamdhere et al. 2018) on every hidden layer, integrated
gradients (Sundararajan et al. 2017) at layer 0. Pooled map: Grad-CAM on a hidden layer (Hou &
Castañón 2023). One step is gradient times (activation - activation of the reference).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from saliency_core.saliency.maps import LayerMaps, ModelCall, Targets, dot, gradients, lengths
from saliency_core.saliency.references import Pairing, wide


def path_nodes(steps: int) -> np.ndarray:
    """Return (step,) t_1 < ... < t_m = 1, the shares of the path at which gradients are taken.

    Half of the steps lie in the first quarter of the path, a quarter in the second, a quarter in
    the second half: t = 1/8, 1/4, 1/2, 1 for four. A model changes its answer most where words
    come forth from the reference, and few even steps measure that badly (docs/benchmarks.md). One
    step is the text itself.
    """
    return np.interp(np.arange(1, steps + 1) / steps, (0, 0.5, 0.75, 1), (0, 0.25, 0.5, 1))


def path_maps(
    call: ModelCall,
    share: list[float],
    nodes: Sequence[float] | np.ndarray,
    pairing: Pairing,
    targets: Targets,
    variants: bool = False,
) -> LayerMaps:
    """Return the maps of every layer at the cost of m forward and m backward passes per target.

    a_l[i] = sum_k 1/2 (g_l[i](t_k) + g_l[i](t_{k-1})) . (h_l[i](t_k) - h_l[i](t_{k-1})), the
    first interval with g(t_1) alone: conductance (Dhamdhere et al. 2018). It is summed by
    gradients, each of which meets half the change between its neighbours:
    1/2 (h(t_{k+1}) - h(t_{k-1})), at the text 1/2 (h(t_m) - h(t_{m-1})), at t_1 the whole change
    from the reference and half of the next. The path is walked from the text back to the
    reference, so that the target is known before the first gradient.

    Args:
        call: one forward pass of texts and references, the texts at the present share of the path.
        share: the number `reading_references` reads.
        nodes: (step,) t_1 < ... < t_m = 1, at least one.
        pairing: which rows are references, and of which texts.
        targets: logits (text, class) -> weights (target, text, class).
        variants: also return the pooled map and the gradient norm.
    """
    share[0] = 1.0
    hidden, all_logits = call()
    logits = all_logits.detach()
    weights = targets(logits[: pairing.texts])  # (target, text, class)
    local = wide(logits).new_zeros(
        len(weights), len(hidden), pairing.texts, hidden[0].shape[1]
    )  # (target, layer, text, token)
    pooled = torch.zeros_like(local) if variants else None
    found = _gradients(all_logits, weights, hidden, pairing)
    norm = lengths(found) if variants else None
    references = [pairing.matched(state.detach()) for state in hidden]
    above = states = text_states = _of_texts(hidden, pairing)  # h(t_{k+2}), h(t_{k+1}) of the loop
    for node in reversed(nodes[:-1]):
        share[0] = float(node)
        hidden, step_logits = call()
        below = _of_texts(hidden, pairing)
        for layer, state in enumerate(below):
            _add(local, layer, found, 0.5 * (above[layer] - state))
            _add_pooled(pooled, layer, found, states[layer] - state)
        found = _gradients(step_logits, weights, hidden, pairing)
        above, states = states, below
    for layer, reference in enumerate(references):
        # With one step h(t_2), which there is not, is h(t_1).
        middle = states[layer] if len(nodes) == 1 else torch.lerp(states[layer], above[layer], 0.5)
        _add(local, layer, found, middle - reference)
        _add_pooled(pooled, layer, found, states[layer] - reference)
    change = (weights * pairing.differences(logits)).sum(-1)  # (target, text)
    return LayerMaps(local, pooled, norm, text_states, logits[: pairing.texts], weights, change)


def _of_texts(hidden: tuple[Tensor, ...], pairing: Pairing) -> tuple[Tensor, ...]:
    return tuple(state.detach()[: pairing.texts] for state in hidden)


def _gradients(
    logits: Tensor, weights: Tensor, hidden: tuple[Tensor, ...], pairing: Pairing
) -> list[tuple[Tensor, ...]]:
    """Return for each target the gradient of every layer at the texts."""
    return [
        tuple(gradient[: pairing.texts] for gradient in of_layers)
        for of_layers in gradients(logits[: pairing.texts], weights, hidden)
    ]


def _add(local: Tensor, layer: int, found: list[tuple[Tensor, ...]], change: Tensor) -> None:
    """Add what the gradients of one step make of a change of the states to the local maps."""
    for target, of_layers in enumerate(found):
        local[target, layer] += dot(of_layers[layer], change)


def _add_pooled(
    pooled: Tensor | None, layer: int, found: list[tuple[Tensor, ...]], change: Tensor
) -> None:
    """Add one interval of the path to the pooled maps, where they were asked for."""
    if pooled is None:
        return
    for target, of_layers in enumerate(found):
        # Padding has zero gradient, so the sum over all positions is that over real ones; the
        # caller divides by their number.
        direction = of_layers[layer].sum(1, keepdim=True)  # (text, 1, hidden)
        pooled[target, layer] += dot(direction.expand_as(change), change)
