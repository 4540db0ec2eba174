"""How well the model does on a slice: confusion, class metrics, confidence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from saliency_core.stats import cross_table
from saliency_core.store.connection import consistent

if TYPE_CHECKING:
    from saliency_core.store.read.run import Slice


def _labelled(part: Slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (example,) gold and predicted label, and whether there are both."""
    gold, predicted = part.column("gold"), part.column("predicted")
    return gold, predicted, (gold >= 0) & (predicted >= 0)


@consistent
def confusion(part: Slice) -> pd.DataFrame:
    """Return the counts of gold and predicted label pairs that occur."""
    names = part.run.label_names
    gold, predicted, judged = _labelled(part)
    n = max(len(names), 1)
    table = cross_table(gold[judged], predicted[judged], (n, n))
    gold, predicted = table.nonzero()
    return pd.DataFrame(
        {
            "gold": pd.Series([names[label] for label in gold], dtype=object),
            "predicted": pd.Series([names[label] for label in predicted], dtype=object),
            "count": table[gold, predicted],
        }
    )


@consistent
def class_metrics(part: Slice) -> pd.DataFrame:
    """Return precision, recall, F1, support and predictions by class."""
    names = part.run.label_names
    gold, predicted, judged = _labelled(part)
    gold, predicted = gold[judged], predicted[judged]
    n = len(names)
    support = np.bincount(gold, minlength=n).astype(float)
    chosen = np.bincount(predicted, minlength=n).astype(float)
    hits = np.bincount(gold[gold == predicted], minlength=n).astype(float)
    with np.errstate(invalid="ignore", divide="ignore"):
        precision, recall = hits / chosen, hits / support
        f1 = 2 * hits / (support + chosen)
    return pd.DataFrame(
        {
            "class": pd.Series(names, dtype=object),
            "support": support.astype(int),
            "predicted": chosen.astype(int),
            "right": hits.astype(int),
            "precision": precision,
            "recall": recall,
            "f1": f1,
        }
    )


@consistent
def confidence(part: Slice) -> tuple[np.ndarray, np.ndarray]:
    """Return (example,) confidence and whether right, of the labelled examples."""
    gold, predicted, judged = _labelled(part)
    return part.column("confidence")[judged], (gold == predicted)[judged]
