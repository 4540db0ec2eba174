"""How well the model does on a slice: confusion, class metrics, confidence."""

from __future__ import annotations

import numpy as np
import pandas as pd

from saliency_core.store.read.examples import Examples
from saliency_core.store.read.handle import consistent


class Quality(Examples):
    """The part of `Store` that compares predicted with gold labels."""

    @consistent
    def confusion(self, where: str = "", run: int | None = None) -> pd.DataFrame:
        """Return the counts of gold and predicted label pairs that occur."""
        run = self._run(run)
        index, names = self._index(run), self.run(run)["label_names"]
        mask = self._mask(index, where)
        gold, predicted = index.column("gold")[mask], index.column("predicted")[mask]
        judged = (gold >= 0) & (predicted >= 0)
        n = max(len(names), 1)
        # Labels are stored in one byte where that is enough for them: their product is not.
        cell = gold[judged].astype(np.int64) * n + predicted[judged]
        table = np.bincount(cell, minlength=n * n)
        cells = np.flatnonzero(table)
        return pd.DataFrame(
            {
                "gold": pd.Series([names[cell // n] for cell in cells], dtype=object),
                "predicted": pd.Series([names[cell % n] for cell in cells], dtype=object),
                "count": table[cells],
            }
        )

    @consistent
    def class_metrics(self, where: str = "", run: int | None = None) -> pd.DataFrame:
        """Return precision, recall, F1, support and predictions by class."""
        run = self._run(run)
        index, names = self._index(run), self.run(run)["label_names"]
        mask = self._mask(index, where)
        gold, predicted = index.column("gold")[mask], index.column("predicted")[mask]
        judged = (gold >= 0) & (predicted >= 0)
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
    def confidence(self, where: str = "", run: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return (example,) confidence and whether right, of the labelled examples."""
        index = self._index(self._run(run))
        mask = self._mask(index, where)
        gold, predicted = index.column("gold")[mask], index.column("predicted")[mask]
        judged = (gold >= 0) & (predicted >= 0)
        return index.column("confidence")[mask][judged], (gold == predicted)[judged]
