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

from saliency_core.saliency.maps import LayerMaps, ModelCall, Targets, at_texts, gradients, maps_at
from saliency_core.saliency.references import Pairing


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

    `nodes` are (step,) t_1 < ... < t_m = 1, at least one; `call` runs the texts at the present
    share of the path, the number that `reading_references` reads. The variants are the pooled map
    and the gradient norm.
    """
    share[0] = 1.0
    hidden, logits = call()
    maps, found = maps_at(hidden, logits, pairing, targets, variants)
    references = [pairing.matched(state.detach()) for state in hidden]
    above = states = maps.states  # h(t_{k+2}) and h(t_{k+1}) of the loop
    for node in reversed(nodes[:-1]):
        share[0] = float(node)
        hidden, logits = call()
        below = at_texts(hidden, pairing)
        for layer, state in enumerate(below):
            maps.add(layer, found, 0.5 * (above[layer] - state), states[layer] - state)
        found = gradients(logits, maps.weights, hidden, pairing)
        above, states = states, below
    for layer, reference in enumerate(references):
        # With one step h(t_2), which there is not, is h(t_1).
        middle = states[layer] if len(nodes) == 1 else torch.lerp(states[layer], above[layer], 0.5)
        maps.add(layer, found, middle - reference, states[layer] - reference)
    return maps
