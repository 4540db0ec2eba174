"""Hidden features -> the text's own tokens through the language-model head; pure tensors.

docs/method.md, “Decoding”: the whole pretrained head (Hou & Castañón 2023), restricted to
the columns of the vocabulary that the text holds.
"""

from __future__ import annotations

import torch
from torch import Tensor


def decoding_weights(features: Tensor, columns: Tensor, offsets: Tensor) -> Tensor:
    """Return W[i, j] = softmax over j of f_lm(h[i])[x_j]; rows sum to one.

    Args:
        features: (batch, token, embedding) what the head multiplies with its output embeddings.
        columns: (batch, token, embedding) output embeddings of the text's own tokens.
        offsets: (batch, token i, token j) float32 from `column_offsets`.

    Returns:
        (batch, token i, token j) float32; NaN where a text has no token that takes part.
    """
    scores = (features @ columns.transpose(1, 2)).float()  # (batch, token i, token j)
    return torch.softmax(scores.add_(offsets), dim=-1)


def column_offsets(
    input_ids: Tensor, takes_part: Tensor, bias: Tensor | None = None, causal: bool = False
) -> Tensor:
    """Return what is added to every score: the head's bias, minus infinity where not allowed.

    Args:
        input_ids: (batch, token) int.
        takes_part: (batch, token) bool, True for real tokens that are not special.
        bias: (batch, token) output bias of the text's own tokens, or None.
        causal: only j <= i takes part.

    Returns:
        (batch, token i, token j) float32, the same for every layer.
    """
    allowed = allowed_columns(input_ids, takes_part, causal)
    offsets = torch.zeros(allowed.shape, device=allowed.device)
    if bias is not None:
        offsets += bias.float().unsqueeze(1)
    return offsets.masked_fill_(~allowed, float("-inf"))


def allowed_columns(input_ids: Tensor, takes_part: Tensor, causal: bool) -> Tensor:
    """Return (batch, token i, token j) bool: which tokens a position may be decoded to.

    A position that itself holds the token x_j is decoded to itself and not to another
    occurrence of the same token. A special position has no column of its own to be decoded to.
    """
    same = input_ids.unsqueeze(2) == input_ids.unsqueeze(1)  # (batch, i, j)
    same &= takes_part.unsqueeze(2)
    diagonal = torch.eye(input_ids.shape[1], dtype=torch.bool, device=input_ids.device)
    allowed = takes_part.unsqueeze(1) & (~same | diagonal)
    if causal:
        causal_pairs = torch.ones_like(diagonal).tril()
        # The positions before the first own token have nothing to their left: they take all.
        restricted = allowed & causal_pairs
        empty = ~restricted.any(-1, keepdim=True)
        allowed = torch.where(empty, allowed, restricted)
    return allowed


def decode(weights: Tensor, local: Tensor) -> Tensor:
    """Return S[j] = sum_i W[i, j] a[i], (batch, token), in the units of the target."""
    return torch.einsum("bij,bi->bj", weights, local)


def carrying_positions(local: Tensor) -> list[Tensor | None]:
    """Return for every layer the positions that hold any score, None where most do.

    Nothing else has to be decoded: at the last layer all of it sits on the classifier's token.

    Args:
        local: (target, layer, batch, token).

    Returns:
        A (batch, position) int64 a layer, as many positions as the fullest row has.
    """
    carries = (local != 0).any(0)  # (layer, batch, token)
    most = carries.sum(-1).amax(-1).clamp(min=1).tolist()
    return [
        rows.byte().topk(count, dim=-1).indices if 2 * count <= rows.shape[-1] else None
        for rows, count in zip(carries, most, strict=True)
    ]
