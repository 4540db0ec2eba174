"""Layer norm, RMS norm and variance, in closed form: quotients lose their digits inside a norm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from saliency_core.saliency.references import Pairing, wide
from saliency_core.saliency.rules.common import Operation, Pair, multipliers_of
from saliency_core.saliency.rules.elementwise import (
    Elementwise,
    rsqrt_slope,
    sqrt_slope,
    square_slope,
)


class Norm(Function):
    """w c r + b, r = rsqrt(mean(c²) + eps); c = x - mean(x) in a layer norm, x in an RMS norm.

    m_c = g r̄ + (sum g c̄) σ (c + c°) / K with g = m w, r̄ and c̄ the means of text and reference,
    K the number of features and σ = -(r r°)² / (r + r°) the slope of rsqrt; m_x = m_c less its mean
    where c is centred.
    """

    @staticmethod
    def forward(
        ctx: Any, pairing: Pairing, x: Tensor, weight: Any, bias: Any, eps: float, centred: bool
    ) -> Tensor:
        """Return the normed features, over the last axis."""
        ctx.pairing, ctx.weight = pairing, weight
        if centred and wide(x) is x:
            y, mean, r = torch.native_layer_norm(x, x.shape[-1:], weight, bias, eps)
            ctx.save_for_backward(x, r, mean)
            return y
        c = wide(x)
        means = [c.mean(-1, keepdim=True)] if centred else []
        c = c - means[0] if centred else c
        r = c.square().mean(-1, keepdim=True).add_(eps).rsqrt_()
        ctx.save_for_backward(x, r, *means)
        y = (c * r).to(x.dtype)
        y = y if weight is None else y * weight
        return y if bias is None else y + bias

    @staticmethod
    def backward(ctx: Any, m: Tensor) -> tuple[Tensor | None, ...]:
        """Return the multipliers of the features."""
        weight, size = ctx.weight, m.shape[-1]

        def write(out: Tensor, m: Tensor, x: Pair, r: Pair, mean: Pair | None = None) -> None:
            total = x[0] + x[1]  # c + c°
            if mean is not None:
                total.sub_(mean[0] + mean[1])
            g = m if weight is None else m * weight
            slope = rsqrt_slope(torch.rsqrt, x[0], x[1], *r)
            along = torch.linalg.vecdot(g, total).unsqueeze(-1).mul_(slope).mul_(0.5 / size)
            torch.mul(g, 0.5 * (r[0] + r[1]), out=out)
            out.addcmul_(total, along)
            if mean is not None:
                out.sub_(out.mean(-1, keepdim=True))

        m_x = multipliers_of(ctx.pairing, m, write, *ctx.saved_tensors)
        return None, m_x, None, None, None, None


def _layer_norm(
    pairing: Pairing,
    function: Operation,
    x: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    cudnn_enable: bool = True,
) -> Tensor | None:
    if len(normalized_shape) != 1 or not pairing.fits(x):
        return None
    return Norm.apply(pairing, x, weight, bias, eps, True)


def _rms_norm(
    pairing: Pairing,
    function: Operation,
    x: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Tensor | None:
    if len(normalized_shape) != 1 or not pairing.fits(x):
        return None
    eps = torch.finfo(x.dtype).eps if eps is None else eps
    return Norm.apply(pairing, x, weight, None, eps, False)


def _variance(
    pairing: Pairing,
    function: Operation,
    x: Tensor,
    dim: Any = None,
    unbiased: bool = True,
    **options: Any,
) -> Tensor | None:
    """var(x) = sum (x - mean(x))² / (n - correction)."""
    if not isinstance(dim, int | tuple | list) or isinstance(dim, bool) or not pairing.fits(x):
        return None
    axes = (dim,) if isinstance(dim, int) else tuple(dim)
    count = math.prod(x.shape[axis] for axis in axes)
    correction = options.get("correction", int(unbiased))
    centred = x - x.mean(axes, keepdim=True)
    squared = Elementwise.apply(pairing, torch.square, square_slope, centred)
    return squared.sum(axes, keepdim=options.get("keepdim", False)) / (count - correction)


def _deviation(
    pairing: Pairing, function: Operation, x: Tensor, *rest: Any, **options: Any
) -> Tensor | None:
    variance = _variance(pairing, function, x, *rest, **options)
    return (
        None if variance is None else Elementwise.apply(pairing, torch.sqrt, sqrt_slope, variance)
    )


RULES: dict[str, Operation] = {
    "layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
    "var": _variance,
    "std": _deviation,
}
