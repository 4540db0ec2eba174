"""Does the model's confidence mean what it says?"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from saliency_core.store import Slice

BINS = 15
"""Of the calibration error, as in Guo et al. 2017."""
BARS = 20
"""Bars of the histogram and points of the curve: their bounds are short numbers of a filter."""


def calibration(part: Slice) -> dict[str, Any]:
    """Return what is known of the confidence of a slice's labelled examples.

    Returns:
        `error` (expected calibration error), `bins` (`reliability`) and `histogram`: a row for
        each bar and for right and wrong (`prediction`) with from, to and examples. Both have
        `where`, the filter that names the examples of a row.
    """
    confidence, right = part.confidence()
    bins = reliability(confidence, right, BARS)
    edges = np.arange(BARS + 1) / BARS
    parts = [
        pd.DataFrame(
            {
                "from": edges[:-1],
                "to": edges[1:],
                "examples": np.histogram(confidence[members], edges)[0],
                "prediction": name,
                "where": [f"{name} {between(low, high)}" for low, high in pairwise(edges)],
            }
        )
        for name, members in (("right", right), ("wrong", ~right))
    ]
    return {
        "error": expected_calibration_error(confidence, right),
        "bins": bins.assign(where=list(map(between, bins["from"], bins["to"]))),
        "histogram": pd.concat(parts, ignore_index=True),
    }


def between(low: float, high: float) -> str:
    """Return the filter of confidences of a bin; the last one holds its upper bound."""
    return f"confidence>={low:g}" + ("" if high >= 1 else f" confidence<{high:g}")


def reliability(confidence: np.ndarray, right: np.ndarray, bins: int = BINS) -> pd.DataFrame:
    """Return one row per bin of confidence: from, to, examples, mean confidence, accuracy.

    Of (example,) probabilities of the predicted class; bins have equal width over [0, 1].
    """
    edges = np.arange(bins) / bins
    place = np.maximum(np.searchsorted(edges, confidence.astype(float), side="right") - 1, 0)
    counts = np.bincount(place, minlength=bins)
    held = np.maximum(counts, 1)
    frame = pd.DataFrame(
        {
            "from": edges,
            "to": np.arange(1, bins + 1) / bins,
            "examples": counts,
            "confidence": np.bincount(place, confidence, bins) / held,
            "accuracy": np.bincount(place, right, bins) / held,
        }
    )
    return frame[frame["examples"] > 0].reset_index(drop=True)


def expected_calibration_error(confidence: np.ndarray, right: np.ndarray) -> float:
    """Return the mean gap between confidence and accuracy over bins, weighted by examples.

    ECE = sum_b n_b / N * |accuracy_b - confidence_b| (Guo et al. 2017, equation 3); NaN without
    examples.
    """
    if not len(confidence):
        return float("nan")
    rows = reliability(confidence, right)
    gaps = (rows["accuracy"] - rows["confidence"]).abs()
    return float((gaps * rows["examples"]).sum() / len(confidence))
