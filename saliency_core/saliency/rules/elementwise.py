"""Functions of one number: v = f(u) hands back m_v (v - v°) / (u - u°)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

from saliency_core.saliency.references import Pairing, wide
from saliency_core.saliency.rules.common import (
    TINY,
    Operation,
    Pair,
    depends,
    logarithmic_mean,
    multipliers_of,
)


class Elementwise(Function):
    """v = f(u): m_u = m_v (v - v°) / (u - u°); DeepLIFT's rescale rule."""

    @staticmethod
    def forward(
        ctx: Any, pairing: Pairing, function: Operation, slope: Operation, u: Tensor
    ) -> Tensor:
        """Return f(u)."""
        v = function(u)
        ctx.pairing, ctx.function, ctx.slope = pairing, function, slope
        # A value rounded to half precision has no digits left for a difference.
        ctx.save_for_backward(u, *([v] if wide(v) is v else []))
        return v

    @staticmethod
    def backward(ctx: Any, m_v: Tensor) -> tuple[Tensor | None, ...]:
        """Return the multiplier of u."""

        def write(out: Tensor, m: Tensor, u: Pair, v: Pair | None = None) -> None:
            v = v or (ctx.function(u[0]), ctx.function(u[1]))
            torch.mul(m, ctx.slope(ctx.function, *u, *v), out=out)

        return None, None, None, multipliers_of(ctx.pairing, m_v, write, *ctx.saved_tensors)


def quotient(function: Operation, u: Tensor, u0: Tensor, v: Tensor, v0: Tensor) -> Tensor:
    """Return (v - v°) / (u - u°), and f' at the midpoint where u - u° is too small to divide by.

    Too small is relative to u: below the 0.4th power of the precision, rounding costs the quotient
    more than curvature costs the derivative.
    """
    step = u - u0
    limit = torch.finfo(step.dtype).eps ** 0.4
    small = (step.abs() <= limit * u.abs()).view(-1).nonzero().squeeze(1)
    slope = (v - v0).div_(step)
    if len(small):
        middle = (u - 0.5 * step).view(-1)[small].requires_grad_(True)
        with torch.enable_grad():
            (derivative,) = torch.autograd.grad(function(middle).sum(), middle)
        slope.view(-1)[small] = derivative
    return slope


def square_slope(function: Operation, u: Tensor, u0: Tensor, v: Tensor, v0: Tensor) -> Tensor:
    """Return u + u°."""
    return u + u0


def sqrt_slope(function: Operation, u: Tensor, u0: Tensor, v: Tensor, v0: Tensor) -> Tensor:
    """Return 1 / (v + v°)."""
    return (v + v0).reciprocal_()


def rsqrt_slope(function: Operation, u: Tensor, u0: Tensor, v: Tensor, v0: Tensor) -> Tensor:
    """Return -1 / (√u √u° (√u + √u°)) = -(v v°)² / (v + v°)."""
    return (v * v0).square_().neg_().div_(v + v0)


def _reciprocal(function: Operation, u: Tensor, u0: Tensor, v: Tensor, v0: Tensor) -> Tensor:
    """Return -1 / (u u°) = -v v°."""
    return (v * v0).neg_()


def _exp(function: Operation, u: Tensor, u0: Tensor, v: Tensor, v0: Tensor) -> Tensor:
    """Return the logarithmic mean of v and v°."""
    return logarithmic_mean(u, u0)


def _tanh(function: Operation, u: Tensor, u0: Tensor, v: Tensor, v0: Tensor) -> Tensor:
    """Return (1 - v v°) tanh(u - u°) / (u - u°), from tanh(a) - tanh(b) = tanh(a - b) (1 - ...)."""
    return _tanh_over(u - u0).mul_((v * v0).neg_().add_(1))


def sigmoid_slope(function: Operation, u: Tensor, u0: Tensor, v: Tensor, v0: Tensor) -> Tensor:
    """Return 1/2 (v + v° - 2 v v°) tanh(d/2) / (d/2) with d = u - u°."""
    return _tanh_over((u - u0).mul_(0.5)).mul_((v + v0).mul_(0.5).sub_(v * v0))


def _silu(function: Operation, u: Tensor, u0: Tensor, v: Tensor, v0: Tensor) -> Tensor:
    """Return the slope of u sigmoid(u) as a product: the mean of one factor times the other's."""
    gate, gate0 = u.sigmoid(), u0.sigmoid()
    return (
        sigmoid_slope(function, u, u0, gate, gate0).mul_(0.5 * (u + u0)).add_(0.5 * (gate + gate0))
    )


def _tanh_over(step: Tensor) -> Tensor:
    """Return tanh(d) / d, one where d is nothing."""
    step = step.abs_().clamp_min_(TINY)
    return step.tanh().div_(step)


def _by_slope(slope: Operation) -> Operation:
    """Return the rule of an elementwise function of one tensor."""

    def rule(
        pairing: Pairing, function: Operation, u: Tensor, *rest: Any, **options: Any
    ) -> Tensor | None:
        if not pairing.fits(u) or any(map(depends, rest)):
            return None

        def of_one(values: Tensor) -> Tensor:
            return function(values, *rest, **options)

        return Elementwise.apply(pairing, of_one, slope, u)

    return rule


def _power(pairing: Pairing, function: Operation, u: Tensor, exponent: Any) -> Tensor | None:
    """The power u ** c of a constant exponent, in closed form where there is one."""
    if not depends(u) or depends(exponent):
        return None
    known = {2: "square", 0.5: "sqrt", -0.5: "rsqrt", -1: "reciprocal", 1: None}
    if isinstance(exponent, int | float) and exponent in known:
        name = known[exponent]
        return u if name is None else RULES[name](pairing, OUT_OF_PLACE[name], u)
    if isinstance(exponent, Tensor) and exponent.numel() > 1:
        return None
    return _by_slope(quotient)(pairing, torch.pow, u, exponent)


def _power_of(pairing: Pairing, function: Operation, exponent: Tensor, base: Any) -> Tensor | None:
    """The power c ** u of a constant base."""
    return Elementwise.apply(pairing, lambda u: torch.pow(base, u), quotient, exponent)


OUT_OF_PLACE = {
    name: getattr(torch, name)
    for name in (
        *("square", "sqrt", "rsqrt", "reciprocal", "exp", "tanh", "sigmoid", "relu", "erf", "abs"),
        *("log", "log1p", "log2", "expm1", "sin", "cos", "clamp", "clamp_min", "clamp_max"),
        *("erfc", "log10", "atan", "asinh", "clip"),
    )
} | {"silu": F.silu, "leaky_relu": F.leaky_relu, "hardtanh": F.hardtanh, "elu": F.elu}
"""What computes an elementwise function without changing its argument, by name."""


RULES: dict[str, Operation] = {
    **{
        name: _by_slope(quotient)
        for name in (
            *("gelu", "relu", "relu6", "leaky_relu", "elu", "celu", "selu", "mish", "hardswish"),
            *("hardsigmoid", "hardtanh", "softplus", "softsign", "logsigmoid", "log_sigmoid"),
            *("erf", "erfc", "expm1", "log", "log1p", "log2", "log10", "abs", "sin", "cos", "atan"),
            *("clamp", "clamp_min", "clamp_max", "clip", "threshold", "tanhshrink", "asinh"),
        )
    },
    "square": _by_slope(square_slope),
    "sqrt": _by_slope(sqrt_slope),
    "rsqrt": _by_slope(rsqrt_slope),
    "reciprocal": _by_slope(_reciprocal),
    "exp": _by_slope(_exp),
    "tanh": _by_slope(_tanh),
    "sigmoid": _by_slope(sigmoid_slope),
    "silu": _by_slope(_silu),
    **dict.fromkeys(("pow", "ipow"), _power),
    "rpow": _power_of,
}
