"""The paper's own regime as we read it (Hou & Castañón 2023): one gradient and no reference.

Local: gradient times activation at every position of a hidden layer. Pooled: Grad-CAM, the mean
gradient over positions times the activation. Both decoded by the language-model head, from all
positions or only from those whose head ranks a token of the text within the top tau.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from saliency_core.model.classifier import Classifier, changed_embeddings
from saliency_core.model.encoding import Encoding, token_batches
from saliency_core.saliency.decoding import column_offsets, decode, decoding_weights

TAU = 10
METHODS: dict[str, tuple[bool, int | None]] = {
    "gradient × activation, decoded": (False, None),
    f"gradient × activation, decoded in the top {TAU}": (False, TAU),
    "Grad-CAM, decoded": (True, None),
    f"Grad-CAM, decoded in the top {TAU}": (True, TAU),
}
"""Name -> pooled, tau."""


def paper_maps(
    classifier: Classifier, encodings: Sequence[Encoding], method: str, batch_tokens: int
) -> list[list[np.ndarray]]:
    """Return (layer, example) arrays of (token,) for the predicted class."""
    pooled, tau = METHODS[method]
    layers = classifier.info.layers + 1
    maps = [[np.empty(0)] * len(encodings) for _ in range(layers)]
    lengths = [len(encoding.input_ids) for encoding in encodings]
    order = np.argsort(lengths, kind="stable")
    for places in token_batches([lengths[row] for row in order], batch_tokens):
        rows = [int(order[place]) for place in places]
        found, own = _batch(classifier, [encodings[row] for row in rows], pooled, tau)
        for layer, scores in enumerate(found):
            for place, row in enumerate(rows):
                maps[layer][row] = scores[place, own[place]].cpu().numpy()
    return maps


def _batch(
    classifier: Classifier, encodings: Sequence[Encoding], pooled: bool, tau: int | None
) -> tuple[list[Tensor], Tensor]:
    """Return a (batch, token) map for every layer, and which tokens are not special."""
    batch = classifier.collate(encodings)
    mask = batch["attention_mask"].bool()
    own = torch.zeros_like(mask)
    for row, encoding in enumerate(encodings):
        own[row, mask[row]] = torch.from_numpy(~encoding.special).to(mask.device)
    with changed_embeddings(classifier.embeddings, lambda module, ids, found: found):
        states, logits = classifier.forward(batch)
        score = logits.gather(1, logits.argmax(1, keepdim=True)).sum()
        gradients = torch.autograd.grad(score, states)
    with torch.no_grad():
        decoded = [
            _decoded(
                classifier, batch["input_ids"], own, state, layer, _local(*pair, mask, pooled), tau
            )
            for layer, (state, pair) in enumerate(
                zip(states, zip(gradients, states, strict=True), strict=True)
            )
        ]
    return decoded, own


def _local(gradient: Tensor, state: Tensor, mask: Tensor, pooled: bool) -> Tensor:
    """Return (batch, token) scores of positions before decoding."""
    if pooled:
        gradient = gradient.sum(1, keepdim=True) / mask.sum(1)[:, None, None]
    return (gradient * state).sum(-1) * mask


def _decoded(
    classifier: Classifier,
    ids: Tensor,
    own: Tensor,
    state: Tensor,
    layer: int,
    local: Tensor,
    tau: int | None,
) -> Tensor:
    """Return (batch, token) scores of the text's own tokens."""
    head = classifier.head
    features = classifier.features(state, layer)
    bias = None if head.bias is None else head.bias[ids]
    offsets = column_offsets(ids, own, bias, head.causal)
    weights = decoding_weights(features, head.embeddings[ids], offsets)
    if tau is not None:
        local = local * _ranks_own_token(classifier, features, ids, own, tau)
    return decode(weights, local)


def _ranks_own_token(
    classifier: Classifier, features: Tensor, ids: Tensor, own: Tensor, tau: int
) -> Tensor:
    """Return (batch, token i) bool: a token of the text is among the head's first tau at i."""
    head = classifier.head
    kept = []
    for row, tokens in enumerate(ids):
        logits = features[row] @ head.embeddings.T  # (token i, vocab)
        if head.bias is not None:
            logits = logits + head.bias
        last = logits.topk(tau, dim=-1).values[:, -1:]
        kept.append((logits[:, tokens[own[row]]] >= last).any(-1))
    return torch.stack(kept)
