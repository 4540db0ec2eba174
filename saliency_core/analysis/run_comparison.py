"""Two runs over the same dataset: what the second model fixed, broke and leans on instead."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from saliency_core.errors import UserError
from saliency_core.store import Store

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


def runs_over_the_same(store: Store, run: int) -> list[int]:
    """Return the other runs of the file over the dataset of this one."""
    source = store.run(run)["dataset"]["source"]
    others = [int(number) for number in store.runs()["run"] if number != run]
    return [number for number in others if store.run(number)["dataset"]["source"] == source]


def compare(store: Store, run_a: int, run_b: int) -> Comparison:
    """Match two runs over the same dataset.

    Raises:
        UserError: the runs are one and the same, or audited different datasets.
    """
    if run_a == run_b:
        raise UserError(f"Run {run_a} can't be compared with itself; choose another run.")
    sources = [store.run(run)["dataset"]["source"] for run in (run_a, run_b)]
    if sources[0] != sources[1]:
        raise UserError(
            f"Run {run_a} audited {sources[0]} and run {run_b} {sources[1]}; only runs over the "
            "same dataset can be compared."
        )
    place_a = store.column("position", run=run_a)
    place_b = store.column("position", run=run_b)
    positions, rows_a, rows_b = np.intersect1d(place_a, place_b, return_indices=True)
    right_a, known_a = _right(store, run_a, rows_a)
    right_b, known_b = _right(store, run_b, rows_b)
    kind = np.select(
        [~right_a & right_b, right_a & ~right_b, ~right_a & ~right_b], [0, 1, 2], default=3
    )
    kind = np.where(known_a & known_b, kind, -1)
    counts = np.bincount(kind[kind >= 0], minlength=len(KINDS))
    return Comparison(positions, kind, pd.DataFrame({"kind": KINDS, "examples": counts}))


def _right(store: Store, run: int, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return whether each answer is right, and whether that is known; labels go by name."""
    gold, predicted = store.column("gold", run=run)[rows], store.column("predicted", run=run)[rows]
    return gold == predicted, (gold >= 0) & (predicted >= 0)
