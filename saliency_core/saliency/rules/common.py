"""What the rules share: pairs of text and reference, and multipliers of the shape of an input."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from saliency_core.saliency.references import Pairing, wide

Operation = Callable[..., Any]
"""A torch function, or what stands in for one: its slope, its rule."""


def depends(value: Any) -> bool:
    """Return whether a value, or one of a list, depends on the text: only it has gradients."""
    if isinstance(value, list | tuple):
        return any(map(depends, value))
    return isinstance(value, Tensor) and value.requires_grad


Pair = tuple[Tensor, Tensor]
"""A tensor at the texts, and at references that broadcast against them."""


def multipliers_of(pairing: Pairing, m: Tensor, write: Operation, *saved: Tensor) -> Tensor:
    """Return the multipliers of an input of the shape of the first saved tensor.

    Args:
        pairing: which rows are references; theirs are zero.
        m: (row, ...) multipliers of the output.
        write: (out, m, *pairs) writes those of the input at some texts into `out`.
        saved: (row, ...) tensors that `write` gets as pairs.
    """
    whole = torch.empty_like(saved[0], memory_format=torch.contiguous_format)
    rows, m = pairing.by_row(whole), pairing.by_row(m)
    rows[pairing.texts :] = 0
    saved_rows = [pairing.by_row(values) for values in saved]
    for part in pairing.parts:
        pairs = [(wide(v[part.texts]), wide(v[part.references])) for v in saved_rows]
        out = rows[part.texts]
        if out.dtype == pairs[0][0].dtype:
            write(out, m[part.texts], *pairs)
        else:
            exact = torch.empty_like(pairs[0][0])
            write(exact, wide(m[part.texts]), *pairs)
            out.copy_(exact)
    return whole


def with_references(pairing: Pairing, of_texts: Tensor, like: Tensor) -> Tensor:
    """Return (row, ...) multipliers with zeros for the references, summed where u was broadcast."""
    of_texts = of_texts.sum_to_size(pairing.of_texts(like).shape)
    whole = torch.empty_like(like, memory_format=torch.contiguous_format)
    whole[: len(of_texts)] = of_texts
    whole[len(of_texts) :] = 0
    return whole


TINY = 1e-30
"""Stands for a difference of zero where a limit exists: f(1e-30) / 1e-30 is that limit."""


def logarithmic_mean(log_p: Tensor, log_q: Tensor) -> Tensor:
    """Return (p - q) / (ln p - ln q) from the logarithms; p where p = q.

    max(p, q) (1 - e^-d) / d with d = |ln p - ln q| never overflows and loses no digits near d = 0.
    """
    away = (log_p - log_q).abs_()
    # Minus infinity on both sides, a masked score, has no difference.
    away = away.nan_to_num_(nan=TINY, posinf=torch.finfo(away.dtype).max).clamp_min_(TINY)
    return torch.maximum(log_p, log_q).exp_().mul_((-away).expm1_().neg_().div_(away))
