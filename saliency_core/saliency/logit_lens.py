"""What the layers say in the language model's own words, at the position the classifier reads.

The whole vocabulary, not only the text's own tokens, so that a class may mean words that its
texts lack.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from saliency_core.model.classifier import Classifier, changed_embeddings
from saliency_core.model.encoding import Encoding, length_batches, run_in_halves

WORDS = 12
"""Words kept a class and layer."""
_WORD = re.compile(r"\w")


def read_features(
    classifier: Classifier, encodings: Sequence[Encoding]
) -> tuple[np.ndarray, np.ndarray]:
    """Return what the head multiplies with its vocabulary, where the classifier reads.

    A position counts by the length of the gradient that the answer's logit has there in the last
    block: all of it on one token for a model that reads one, spread for a model that pools.

    Returns:
        (layer, example, embedding) float32 and (example,) predicted class.
    """
    layers = classifier.info.layers + 1
    features = np.zeros((layers, len(encodings), classifier.head.embeddings.shape[1]), np.float32)
    predicted = np.zeros(len(encodings), np.int64)

    def read(rows: list[int]) -> None:
        found, answer = _batch_features(
            classifier, classifier.collate([encodings[r] for r in rows])
        )
        features[:, rows] = found.float().cpu().numpy()
        predicted[rows] = answer.cpu().numpy()

    for rows in length_batches(encodings, classifier.default_batch_tokens):
        run_in_halves(rows, read)
    return features, predicted


def _batch_features(classifier: Classifier, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    top = classifier.info.layers
    with changed_embeddings(classifier.embeddings, lambda module, ids, found: found):
        states, logits = classifier.forward(batch)
        highest = logits.max(-1)
        (gradient,) = torch.autograd.grad(highest.values.sum(), states[top])
    weights = gradient.norm(dim=-1) * batch["attention_mask"]  # (batch, token)
    weights = weights / weights.sum(1, keepdim=True).clamp(min=torch.finfo(weights.dtype).tiny)
    with torch.no_grad():
        features = (classifier.features(states[layer].detach(), layer) for layer in range(top + 1))
        found = [torch.einsum("bt,bte->be", weights, of_layer) for of_layer in features]
    return torch.stack(found), highest.indices


def class_meanings(
    classifier: Classifier, encodings: Sequence[Encoding], count: int = WORDS
) -> pd.DataFrame:
    """Return the words each class means more than the others do, layer by layer.

    Mean of f_lm where the classifier reads, over the examples predicted c, minus the mean over
    all. The head is linear behind its features, so the difference of mean logits is taken from
    the difference of mean features.

    Returns:
        Columns layer, class, word, difference (logits), held (part of the class's texts that hold
        the token) and examples.
    """
    features, predicted = read_features(classifier, encodings)
    embeddings = classifier.head.embeddings.float().cpu().numpy()
    texts = [set(encoding.input_ids) for encoding in encodings]
    readable = _Readable(classifier.tokenizer)
    rows = []
    for label in np.unique(predicted):
        members = np.flatnonzero(predicted == label)
        for layer, own in enumerate(features):
            differences = embeddings @ (own[members].mean(0) - own.mean(0))
            for token, word in readable.best(differences, count):
                held = sum(token in texts[member] for member in members) / len(members)
                name = classifier.info.label_names[label]
                difference = float(differences[token])
                rows.append((layer, name, word, difference, held, len(members)))
    columns = ["layer", "class", "word", "difference", "held", "examples"]
    return pd.DataFrame(rows, columns=columns)


def decoded_words(classifier: Classifier, text: str, pair: str | None = None) -> pd.DataFrame:
    """Return the words that each layer of one text decodes to, where the classifier reads.

    Returns:
        Columns layer, rank (1 is first), word and probability of the whole vocabulary.
    """
    encodings = classifier.encode([text], [pair] if pair is not None else None)
    features, _ = read_features(classifier, encodings)
    head, readable = classifier.head, _Readable(classifier.tokenizer)
    rows = []
    for layer, feature in enumerate(features[:, 0]):
        logits = torch.from_numpy(feature).to(head.embeddings) @ head.embeddings.T
        if head.bias is not None:
            logits = logits + head.bias
        chances = torch.softmax(logits.float(), -1).cpu().numpy()
        for rank, (token, word) in enumerate(readable.best(chances, WORDS), 1):
            rows.append((layer, rank, word, float(chances[token])))
    return pd.DataFrame(rows, columns=["layer", "rank", "word", "probability"])


class _Readable:
    """Tokens as people read them; special tokens and bare signs are no words."""

    def __init__(self, tokenizer: Any) -> None:
        self.special = set(tokenizer.all_special_ids)
        self.word = cache(lambda token: tokenizer.decode([token]).strip())

    def best(self, values: np.ndarray, count: int) -> list[tuple[int, str]]:
        """Return (token, word) of the highest values, each word once in any case."""
        seen: dict[str, tuple[int, str]] = {}
        most = min(8 * count, len(values))
        candidates = np.sort(np.argpartition(-values, most - 1)[:most])
        for token in candidates[np.argsort(-values[candidates], kind="stable")].tolist():
            word = self.word(token)
            if token not in self.special and _WORD.search(word):
                seen.setdefault(word.lower(), (token, word))
            if len(seen) == count:
                break
        return list(seen.values())
