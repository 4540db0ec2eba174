"""Does the model's confidence mean what it says? Reads arrays, knows nothing of the store."""

from __future__ import annotations

import numpy as np
import pandas as pd

BINS = 15


def reliability(confidence: np.ndarray, right: np.ndarray, bins: int = BINS) -> pd.DataFrame:
    """Return a row a bin of confidence: from, to, examples, mean confidence, accuracy.

    Args:
        confidence: (example,) probability of the predicted class.
        right: (example,) bool.
        bins: bins of equal width over [0, 1].
    """
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    counts = np.bincount(place, minlength=bins)
    held = np.maximum(counts, 1)
    frame = pd.DataFrame(
        {
            "from": np.arange(bins) / bins,
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
