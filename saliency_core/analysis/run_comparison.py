"""Two runs over the same dataset: what the second model fixed, broke and leans on instead."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from saliency_core.errors import UserError
from saliency_core.store import Run

KINDS = ("fixed", "broken", "wrong in both", "right in both")


@dataclass(frozen=True)
class Comparison:
    """Two runs, example by example, matched by their place in the dataset."""

    positions: np.ndarray
    """(example,) positions that both runs hold."""
    kind: np.ndarray
    """(example,) index into `KINDS`; -1 where either run has no answer or no gold label."""
    counts: pd.DataFrame
    """A row a kind: kind, examples."""

    def of_kind(self, kind: str) -> np.ndarray:
        """Return the positions of one kind."""
        return self.positions[self.kind == KINDS.index(kind)]


def runs_over_the_same(run: Run) -> list[int]:
    """Return the numbers of the other runs of the file over the dataset of this one."""
    return [
        other.number
        for other in run.store.all_runs()
        if other.number != run.number and other.dataset.source == run.dataset.source
    ]


def compare(run_a: Run, run_b: Run) -> Comparison:
    """Match two runs over the same dataset.

    Raises:
        UserError: the runs are one and the same, or audited different datasets.
    """
    if run_a.number == run_b.number:
        raise UserError(f"Run {run_a.number} can't be compared with itself; choose another run.")
    source_a, source_b = run_a.dataset.source, run_b.dataset.source
    if source_a != source_b:
        raise UserError(
            f"Run {run_a.number} audited {source_a} and run {run_b.number} {source_b}; only "
            "runs over the same dataset can be compared."
        )
    place_a = run_a.column("position")
    place_b = run_b.column("position")
    positions, rows_a, rows_b = np.intersect1d(place_a, place_b, return_indices=True)
    right_a, known_a = _right(run_a, rows_a)
    right_b, known_b = _right(run_b, rows_b)
    kind = np.select(
        [~right_a & right_b, right_a & ~right_b, ~right_a & ~right_b], [0, 1, 2], default=3
    )
    kind = np.where(known_a & known_b, kind, -1)
    counts = np.bincount(kind[kind >= 0], minlength=len(KINDS))
    return Comparison(positions, kind, pd.DataFrame({"kind": KINDS, "examples": counts}))


def _right(run: Run, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return whether each answer is right, and whether that is known; labels go by name."""
    gold, predicted = run.column("gold")[rows], run.column("predicted")[rows]
    return gold == predicted, (gold >= 0) & (predicted >= 0)
