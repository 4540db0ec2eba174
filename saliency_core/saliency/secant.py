"""The secant rule: multipliers of every layer that add up exactly, in one forward and one backward.

Texts and references run through the model together. Going back from the target, each operation
hands on not its derivative but its finite difference between text and reference: a multiplier m_u
with sum m_u . (u - u_reference) = y - y_reference at every cut through the network. For
elementwise functions that is DeepLIFT's rescale rule (Shrikumar et al. 2017), for products the
Shapley value of two factors; softmax and norms are derived below.

The rules are about operations, never about modules: a `TorchFunctionMode` sees every torch call of
any model above autograd. An operation that is linear in what depends on the text needs no rule. One
that is chosen by the data (max, top-k, an expert's router) has none: its gradient is taken, and
whoever calls compares the sum with the difference of the target.

In each formula u, v are input and output at the text, u°, v° at its reference.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch.overrides import TorchFunctionMode

from saliency_core.saliency.maps import LayerMaps, ModelCall, Targets, maps_at
from saliency_core.saliency.references import Pairing
from saliency_core.saliency.rules import attention, elementwise, norms, products, softmax
from saliency_core.saliency.rules.common import Operation, depends
from saliency_core.saliency.rules.elementwise import OUT_OF_PLACE


def secant_maps(
    call: ModelCall, pairing: Pairing, targets: Targets, variants: bool = False
) -> LayerMaps:
    """Return the maps of every layer: a_l[i] = m_l[i] . (h_l[i] - h°_l[i]).

    They add up to y(text) - y(reference) at every layer whose states cut the network. One forward
    pass, and one backward pass per target. The variants are the pooled map and the multipliers'
    length.
    """
    with Secant(pairing):
        hidden, logits = call()
    maps, multipliers = maps_at(hidden, logits, pairing, targets, variants)
    for layer, state in enumerate(hidden):
        difference = pairing.differences(state.detach())  # (text, token, hidden)
        maps.add(layer, multipliers, difference, difference)
    return maps


class Secant(TorchFunctionMode):
    """Puts rules in the place of the operations that depend on the text without being linear."""

    def __init__(self, pairing: Pairing) -> None:
        """Take which rows of the batch are references."""
        super().__init__()
        self.pairing = pairing

    def __torch_function__(
        self,
        func: Operation,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Call an operation, by its rule where it has one."""
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        rule = RULES.get(name.strip("_"))
        if rule is None or not depends([*args, *kwargs.values()]):
            return func(*args, **kwargs)
        options = {key: value for key, value in kwargs.items() if key != "inplace"}
        changes = name.startswith("__i") if name.startswith("_") else name.endswith("_")
        values: Sequence[Any] = args
        if changes or kwargs.get("inplace"):
            # A rule keeps what it gets for the way back, and this is about to be written over.
            values = [value.clone() if value is args[0] else value for value in args]
        found = rule(self.pairing, OUT_OF_PLACE.get(name.strip("_"), func), *values, **options)
        if found is None:
            return func(*args, **kwargs)
        return found if values is args else args[0].copy_(found)


RULES: dict[str, Operation] = (
    elementwise.RULES | products.RULES | softmax.RULES | attention.RULES | norms.RULES
)
"""The rule of each operation, by its name without underscores.

A rule gets (pairing, the operation, its arguments) and returns None where it can't be applied, so
that the gradient is taken.
"""
