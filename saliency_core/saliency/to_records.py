"""The maps of an example -> the record that the store writes: words, spans, float16."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from saliency_core.model.classifier import Classifier
from saliency_core.model.encoding import Encoding
from saliency_core.records import AuditedExample, Example, Saliency
from saliency_core.saliency.maps import ExampleMaps
from saliency_core.words import words_of


def to_record(
    classifier: Classifier,
    target_names: Callable[[np.ndarray], list[str | None]],
    example: Example,
    encoding: Encoding,
    gold: int | None,
    row: ExampleMaps | str | None,
) -> AuditedExample:
    """Return one example as a record.

    Args:
        classifier: what computed it; its model is not run.
        target_names: weights (target, class) -> the name of each target, None where there is none.
        example: the row of the dataset.
        encoding: what the model read of it.
        gold: index of the gold label, None where unknown.
        row: its maps, why it has none, or None where there is no token to read.
    """
    if row is None:
        has_text = example.text.strip() or (example.pair or "").strip()
        row = "The text holds no token that the model reads." if has_text else "The text is empty."
    if isinstance(row, str):
        return _failed(example, encoding, gold, row)
    if not (np.isfinite(row.logits).all() and np.isfinite(row.scores).all()):
        return _failed(example, encoding, gold, "The model returned NaN or infinite numbers.")
    own = ~encoding.special
    with np.errstate(divide="ignore", invalid="ignore"):
        completeness = (row.total / row.change[:, None]).astype(np.float32)  # (target, layer)
    spans, sides = encoding.spans[own], encoding.sides[own]
    words = words_of((example.text, example.pair or ""), spans, sides)
    token_ids = np.array(encoding.input_ids, np.int32)[own]
    scores = words.shared_out(row.scores)  # (target, layer, piece)
    regression = classifier.info.task == "regression"
    return AuditedExample(
        example=example,
        gold=gold,
        predicted=None if regression else int(row.logits.argmax()),
        logits=row.logits,
        probabilities=classifier.probabilities(row.logits),
        token_ids=token_ids[words.token_of_piece],
        spans=words.piece_spans,
        sides=sides[words.token_of_piece],
        word_of_token=words.word_of_token,
        words=words.words,
        word_spans=words.spans,
        chars_seen=encoding.chars_seen,
        chars_total=encoding.chars_total,
        saliency=tuple(
            Saliency(scores[number].astype(np.float16), completeness[number], name)
            for number, name in enumerate(target_names(row.weights))
            if name is not None
        ),
        explanation=top_tokens(row.scores[0], token_ids),
        incomplete=row.incomplete,
    )


def top_tokens(scores: np.ndarray, token_ids: np.ndarray, count: int = 3) -> np.ndarray:
    """Return (layer, 3) vocabulary ids of the most salient tokens, -1 where fewer are positive."""
    result = np.full((len(scores), count), -1, np.int32)
    best = np.argsort(-scores, axis=1, kind="stable")[:, :count]  # (layer, 3)
    chosen = np.where(np.take_along_axis(scores, best, 1) > 0, token_ids[best], -1)
    result[:, : chosen.shape[1]] = chosen
    return result


def _failed(example: Example, encoding: Encoding, gold: int | None, reason: str) -> AuditedExample:
    """Return the record of an example without scores."""
    none = np.zeros(0, np.int32)
    return AuditedExample(
        example=example,
        gold=gold,
        predicted=None,
        logits=np.zeros(0, np.float32),
        probabilities=np.zeros(0, np.float32),
        token_ids=none,
        spans=none.reshape(0, 2),
        sides=none.astype(np.int8),
        word_of_token=none,
        words=(),
        word_spans=none.reshape(0, 2),
        chars_seen=encoding.chars_seen,
        chars_total=encoding.chars_total,
        saliency=(),
        failure=reason,
    )
