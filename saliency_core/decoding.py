"""Hidden features -> the text's own tokens through the language-model head; pure tensors.

METHOD section 2: the whole pretrained head (Hou & Castañón 2023), restricted to the columns of
the vocabulary that the text holds.
"""

from __future__ import annotations

import torch
from torch import Tensor


def decoding_weights(
    features: Tensor,
    columns: Tensor,
    bias: Tensor | None,
    input_ids: Tensor,
    takes_part: Tensor,
    causal: bool = False,
) -> Tensor:
    """Return W[i, j] = softmax over j of f_lm(h[i])[x_j]; rows sum to one (METHOD section 2).

    Args:
        features: (batch, token, embedding) what the head multiplies with its output embeddings.
        columns: (batch, token, embedding) output embeddings of the text's own tokens.
        bias: (batch, token) output bias of the text's own tokens, or None.
        input_ids: (batch, token) int.
        takes_part: (batch, token) bool, True for real tokens that are not special.
        causal: only j <= i takes part.

    Returns:
        (batch, token i, token j); a row with nothing to choose from is zero.
    """
    scores = features @ columns.transpose(1, 2)  # (batch, token i, token j)
    if bias is not None:
        scores = scores + bias.unsqueeze(1)
    allowed = allowed_columns(input_ids, takes_part, causal)
    scores = scores.masked_fill(~allowed, float("-inf"))
    # A row without any allowed column would be NaN.
    return torch.softmax(scores, dim=-1).nan_to_num(0.0)


def allowed_columns(input_ids: Tensor, takes_part: Tensor, causal: bool) -> Tensor:
    """Return (batch, token i, token j) bool: which tokens a position may be decoded to.

    A position that itself holds the token x_j is decoded to itself and not to another
    occurrence of the same token.
    """
    same = input_ids.unsqueeze(2) == input_ids.unsqueeze(1)  # (batch, i, j)
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
