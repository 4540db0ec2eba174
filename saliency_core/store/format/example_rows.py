"""Columns of an `examples` row from the records of an audit."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from saliency_core.jsonable import plain
from saliency_core.records import AuditedExample, Example

PREDICTION = (
    "predicted, confidence, margin, length, chars_seen, chars_total, failure, incomplete, logits"
)
"""The columns of `prediction_row`."""


def metadata_json(example: Example) -> str | None:
    """Return the metadata as JSON, what a cell can't hold as text; None where there is none."""
    if not example.metadata:
        return None
    cells = {
        name: value if isinstance(value, str | int | float | bool | None) else str(value)
        for name, value in plain(example.metadata).items()
    }
    return json.dumps(cells, ensure_ascii=False)


def prediction_row(audited: AuditedExample) -> tuple[Any, ...]:
    """Return the result columns of an `examples` row."""
    confidence, margin = confidence_of(audited)
    return (
        plain(audited.predicted),
        confidence,
        margin,
        len(audited.token_ids),
        int(audited.chars_seen),
        int(audited.chars_total),
        audited.failure,
        int(audited.incomplete),
        np.asarray(audited.logits, "<f4").tobytes(),
    )


def confidence_of(audited: AuditedExample) -> tuple[float | None, float | None]:
    """Return the predicted class's probability and its lead over the next class."""
    probabilities = np.asarray(audited.probabilities, np.float32)
    if audited.predicted is None or not np.isfinite(probabilities).all():
        return None, None
    confidence = probabilities[audited.predicted]
    others = np.delete(probabilities, audited.predicted)
    margin = confidence - others.max() if len(others) else None
    return float(confidence), None if margin is None else float(margin)
