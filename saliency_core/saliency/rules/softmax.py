"""Softmax and its relatives: the Jacobian with p replaced by the mean of p and p°."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from saliency_core.saliency.references import Pairing, wide
from saliency_core.saliency.rules.common import (
    TINY,
    Operation,
    Pair,
    logarithmic_mean,
    multipliers_of,
)


class Softmax(Function):
    """p = softmax(s): m_s = ℓ ∘ (m_p - sum ℓ m_p / sum ℓ), ℓ the logarithmic mean of p and p°.

    Exact, because p_j - p°_j = ℓ_j (s_j - s°_j - c) with c the change of log-sum-exp, and both
    sides add up to zero, which gives c = sum ℓ (s - s°) / sum ℓ: the Jacobian of softmax with p
    replaced by a mean.
    """

    @staticmethod
    def forward(ctx: Any, pairing: Pairing, s: Tensor, axis: int) -> Tensor:
        """Return softmax over an axis, counted from the end."""
        log_p = log_softmax(wide(s), axis)
        ctx.pairing, ctx.axis = pairing, axis
        ctx.save_for_backward(log_p)
        return log_p.exp().to(s.dtype)

    @staticmethod
    def backward(ctx: Any, m_p: Tensor) -> tuple[Tensor | None, ...]:
        """Return the multipliers of the scores."""

        def write(out: Tensor, m: Tensor, log_p: Pair) -> None:
            mean = logarithmic_mean(*log_p)
            torch.mul(mean, m - weighted_mean(mean, m, ctx.axis), out=out)

        m_s = multipliers_of(ctx.pairing, m_p, write, *ctx.saved_tensors)
        return None, m_s.to(m_p.dtype), None


def log_softmax(s: Tensor, axis: int) -> Tensor:
    """Return s - logsumexp(s); minus infinity throughout a row that is masked whole."""
    total = s.logsumexp(axis, keepdim=True)
    return s - total.masked_fill_(total == float("-inf"), 0)


def weighted_mean(mean: Tensor, m: Tensor, axis: int) -> Tensor:
    """Return sum ℓ m / sum ℓ; zero where all is masked."""
    total = mean.sum(axis, keepdim=True).clamp_min_(TINY)
    return (mean * m).sum(axis, keepdim=True).div_(total)


def _softmax(
    pairing: Pairing,
    function: Operation,
    s: Tensor,
    dim: int | None = None,
    _stacklevel: int = 3,
    dtype: torch.dtype | None = None,
) -> Tensor | None:
    if dim is None or not pairing.fits(s):
        return None
    axis = dim if dim < 0 else dim - s.ndim
    return Softmax.apply(pairing, s if dtype is None else s.to(dtype), axis)


class LogSumExp(Function):
    """ln sum exp(s): m_s = m ℓ / sum ℓ, ℓ the logarithmic mean of p and p° (see `Softmax`)."""

    @staticmethod
    def forward(ctx: Any, pairing: Pairing, s: Tensor, axis: int) -> Tensor:
        """Return log-sum-exp over an axis, counted from the end and kept."""
        total = s.logsumexp(axis, keepdim=True)
        ctx.pairing, ctx.axis = pairing, axis
        ctx.save_for_backward(s - total)
        return total

    @staticmethod
    def backward(ctx: Any, m: Tensor) -> tuple[Tensor | None, ...]:
        """Return the multipliers of the terms."""

        def write(out: Tensor, m: Tensor, log_p: Pair) -> None:
            mean = logarithmic_mean(*log_p)
            torch.mul(m, mean / mean.sum(ctx.axis, keepdim=True), out=out)

        return None, multipliers_of(ctx.pairing, m, write, *ctx.saved_tensors), None


def _log_of_softmax(
    pairing: Pairing, function: Operation, s: Tensor, dim: Any = None, **options: Any
) -> Tensor | None:
    if dim is None or not pairing.fits(s):
        return None
    return s - LogSumExp.apply(pairing, s, dim if dim < 0 else dim - s.ndim)


def _log_sum_exp(
    pairing: Pairing, function: Operation, s: Tensor, dim: int, keepdim: bool = False
) -> Tensor | None:
    if not isinstance(dim, int) or not pairing.fits(s):
        return None
    found = LogSumExp.apply(pairing, s, dim if dim < 0 else dim - s.ndim)
    return found if keepdim else found.squeeze(dim)


RULES: dict[str, Operation] = {
    "softmax": _softmax,
    "log_softmax": _log_of_softmax,
    "logsumexp": _log_sum_exp,
}
