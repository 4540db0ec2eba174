"""Do the layers of a run point at the same words? Rank correlation between their scores."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from saliency_core.store import Slice
from saliency_core.store.read.sampling import sampled

SAMPLE = 200
MINIMUM_WORDS = 3


def layer_agreement(part: Slice) -> pd.DataFrame:
    """Return Spearman's rank correlation of word scores between layers, mean over a sample.

    Returns:
        Columns layer, other, correlation (-1 to 1) and examples; empty where no example has three
        words or more.
    """
    correlations = []
    for chunk in sampled(part, examples=SAMPLE, seed=0):
        for scores in np.split(chunk.scores, np.cumsum(chunk.n_words)[:-1], axis=1):
            if scores.shape[1] >= MINIMUM_WORDS:
                correlations.append(_spearman(scores))
    if not correlations:
        return pd.DataFrame(columns=["layer", "other", "correlation", "examples"])
    mean, examples = np.mean(correlations, axis=0), len(correlations)
    layers = range(len(mean))
    return pd.DataFrame(
        [(one, other, mean[one, other], examples) for one in layers for other in layers],
        columns=["layer", "other", "correlation", "examples"],
    )


def _spearman(scores: np.ndarray) -> np.ndarray:
    """Return the (layer, layer) rank correlation of (layer, word) scores; 0 for constant rows."""
    ranks = rankdata(scores, axis=1)
    ranks = ranks - ranks.mean(1, keepdims=True)
    length = np.linalg.norm(ranks, axis=1, keepdims=True)
    ranks = np.divide(ranks, length, out=np.zeros_like(ranks), where=length > 0)
    return ranks @ ranks.T
