"""Attention, whichever kernel the model would have used: two products and a softmax in one."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from saliency_core.saliency.references import Pairing, wide
from saliency_core.saliency.rules.common import (
    Operation,
    depends,
    logarithmic_mean,
    with_references,
)
from saliency_core.saliency.rules.products import matrix_product
from saliency_core.saliency.rules.softmax import Softmax, log_softmax, weighted_mean


class Attention(Function):
    """softmax(scale Q Kᵀ + mask) V in one: two matrix products and a softmax, by their rules."""

    @staticmethod
    def forward(
        ctx: Any,
        pairing: Pairing,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        mask: Tensor | None,
        scale: float,
    ) -> Tensor:
        """Return the attended values (row, ..., token, hidden)."""
        scores = (q @ k.transpose(-1, -2)).mul_(scale)
        if mask is not None:
            scores = scores + mask
        log_p = log_softmax(wide(scores), -1)
        ctx.pairing, ctx.scale = pairing, scale
        ctx.save_for_backward(q, k, v, log_p)
        return log_p.exp().to(v.dtype) @ v

    @staticmethod
    def backward(ctx: Any, m: Tensor) -> tuple[Tensor | None, ...]:
        """Return the multipliers of queries, keys and values."""
        q, k, v, log_p = ctx.saved_tensors
        pairing = ctx.pairing
        m = wide(pairing.of_texts(m))
        m_v = pairing.means(log_p.exp()).transpose(-1, -2) @ m
        m_p = m @ pairing.means(v).transpose(-1, -2)  # (text, ..., token, token)
        m_s = torch.empty_like(m_p)
        rows, given, out = pairing.by_row(log_p), pairing.by_text(m_p), pairing.by_text(m_s)
        for part in pairing.parts:
            mean = logarithmic_mean(rows[part.texts], rows[part.references])
            centred = given[part.texts] - weighted_mean(mean, given[part.texts], -1)
            torch.mul(centred, mean.mul_(ctx.scale), out=out[part.texts])
        m_q = m_s @ pairing.means(k)
        m_k = m_s.transpose(-1, -2) @ pairing.means(q)
        pairs = ((m_q, q), (m_k, k), (m_v, v))
        return None, *(with_references(pairing, m_u, u) for m_u, u in pairs), None, None


def _attention(
    pairing: Pairing,
    function: Operation,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor | None:
    """Attention is the same whichever kernel the model would have used."""
    if dropout_p or not all(map(pairing.fits, (query, key, value))):
        return None
    if key.shape[-3] != query.shape[-3]:
        groups = query.shape[-3] // key.shape[-3]
        key, value = (values.repeat_interleave(groups, -3) for values in (key, value))
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    mask = _added(attn_mask, is_causal, query, key)
    if depends(mask) or not all(map(depends, (query, key, value))):
        scores = matrix_product(pairing, function, query, key.transpose(-1, -2))
        assert scores is not None, "all three fit"
        scores = scores * scale
        scores = scores if mask is None else scores + mask
        chances = Softmax.apply(pairing, scores, -1) if depends(scores) else scores.softmax(-1)
        return matrix_product(pairing, function, chances, value)
    return Attention.apply(pairing, query, key, value, mask, scale)


def _added(mask: Tensor | None, causal: bool, query: Tensor, key: Tensor) -> Tensor | None:
    """Return a mask as what is added to the scores."""
    if causal:
        mask = torch.ones(query.shape[-2], key.shape[-2], dtype=torch.bool, device=key.device)
        mask = mask.tril()
    if mask is None or mask.dtype != torch.bool:
        return mask
    return torch.zeros(mask.shape, dtype=query.dtype, device=mask.device).masked_fill_(
        ~mask, float("-inf")
    )


RULES: dict[str, Operation] = {"scaled_dot_product_attention": _attention}
