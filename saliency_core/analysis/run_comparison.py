"""Two runs over the same dataset: which is better, by how much, where, and on which examples."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from saliency_core.analysis.features import metadata_groups
from saliency_core.analysis.word_tables import contrast
from saliency_core.errors import UserError
from saliency_core.stats import benjamini_hochberg, mcnemar, paired_difference
from saliency_core.store import Run
from saliency_core.store.query.terms import quote

KINDS = ("fixed", "broken", "wrong in both", "right in both")
MINIMUM = 5
"""Examples a class, metadata value or saved slice must hold to be compared."""
ALPHA = 0.05
WORDS = 15
"""Words that two runs rely on differently, at most."""


@dataclass(frozen=True)
class Comparison:
    """Two runs, example by example, matched by their place in the dataset."""

    positions: np.ndarray
    """(example,) positions that both runs hold, of the filter."""
    kind: np.ndarray
    """(example,) index into `KINDS`; -1 where either run has no prediction or no label."""
    differs: np.ndarray
    """(example,) bool: the two predict different classes."""

    @property
    def counts(self) -> pd.DataFrame:
        """Return a row for each kind: kind, examples."""
        return pd.DataFrame({"kind": KINDS, "examples": self._counts})

    @property
    def difference(self) -> dict[str, Any]:
        """Return n, fixed, broken, before, after, difference with low and high, and p."""
        return _tested(self._counts[None]).iloc[0].to_dict()

    @property
    def _counts(self) -> np.ndarray:
        return np.bincount(self.kind[self.kind >= 0], minlength=len(KINDS))


def compare(before: Run, after: Run, where: str = "") -> Comparison:
    """Match two runs over the same dataset, by a filter as the run `after` reads it.

    Raises:
        UserError: the runs are one and the same, or audited different datasets.
    """
    if before.number == after.number:
        raise UserError(f"Run {before.number} can't be compared with itself; choose another run.")
    one, other = before.dataset.source, after.dataset.source
    if one != other:
        raise UserError(
            f"Run {before.number} audited {one} and run {after.number} {other}; only "
            "runs over the same dataset can be compared."
        )
    positions = after.filter(where).column("position")
    rows = before.columns.rows_of(positions)
    positions, rows = positions[rows >= 0], rows[rows >= 0]
    rows_after = after.columns.rows_of(positions)
    right_before, wrong_before = _judged(before, rows)
    right_after, wrong_after = _judged(after, rows_after)
    kinds = [
        wrong_before & right_after,
        right_before & wrong_after,
        wrong_before & wrong_after,
        right_before & right_after,
    ]
    kind = np.select(kinds, range(len(KINDS)), default=-1)
    differs = _named(before, rows) != _named(after, rows_after)
    return Comparison(positions, kind, differs)


def _judged(run: Run, rows: np.ndarray) -> list[np.ndarray]:
    """Return whether each prediction is right, and whether it is wrong."""
    return [run.filter(term).mask()[rows] for term in ("right", "wrong")]


def _named(run: Run, rows: np.ndarray) -> np.ndarray:
    """Return (example,) names of the predicted classes, an empty one where there is none."""
    return np.array([*run.label_names, ""], object)[run.column("predicted")[rows].astype(int)]


def names_of(*runs: Run) -> list[str]:
    """Return what the runs are called: their models, with the number where those are alike."""
    names = [Path(run.model.name).name for run in runs]
    if len(set(names)) == len(names):
        return names
    return [f"{name} (run {run.number})" for name, run in zip(names, runs, strict=True)]


def verdict(found: Comparison, before: str, after: str) -> str:
    """Return in one sentence which of two runs is better, or that nobody can tell."""
    test = found.difference
    n = int(test["n"])
    if not n:
        total, differ = len(found.positions), int(found.differs.sum())
        return (
            f"Right and wrong are unknown for lack of labels; {before} and {after} predict "
            f"different classes for {differ:,} of {total:,} texts."
        )
    differ = int(test["fixed"] + test["broken"])
    both = f"{before} {test['before']:.1%}, {after} {test['after']:.1%}"
    where = f"exactly one of them is right on {differ:,} of {n:,} texts"
    if not differ:
        return f"{both}: they are right on the same {int(test['both_right']):,} of {n:,} texts."
    if test["p"] > ALPHA:
        return f"{both}: {where}, too few to call (McNemar p = {test['p']:.2g})."
    better = after if test["difference"] > 0 else before
    p = f"p = {test['p']:.2g}" if test["p"] >= 0.001 else "p < 0.001"
    return f"{better} is better. {both}: {where} (McNemar {p})."


def by_group(before: Run, after: Run, where: str = "") -> pd.DataFrame:
    """Return the difference within each class, metadata value and saved slice, as `compare`.

    Returns:
        Columns part (`class`, `slice` or the name of a metadata column), name, filter, n, before,
        after (accuracies), difference, low, high, p, q (Benjamini-Hochberg over all rows), fixed
        and broken; those with the clearest difference first.
    """
    found = compare(before, after, where)
    rows = after.columns.rows_of(found.positions)
    known = found.kind >= 0
    rows, kind = rows[known], found.kind[known]
    named, counts = [], []
    for *names, members in _groups(after, rows):
        own = np.bincount(kind[members], minlength=len(KINDS))
        if own.sum() >= MINIMUM:
            named.append(names)
            counts.append(own)
    table = pd.DataFrame(named, columns=["part", "name", "filter"])
    table = table.join(_tested(np.array(counts, np.int64).reshape(-1, len(KINDS))))
    table["q"] = benjamini_hochberg(table["p"].to_numpy())
    columns = "part name filter n before after difference low high p q fixed broken".split()
    return table[columns].sort_values(
        ["p", "difference"], key=lambda column: column.abs(), kind="stable", ignore_index=True
    )


def words_between(before: Run, after: Run, where: str = "") -> pd.DataFrame:
    """Return the words that one run relies on more than the other, as `word_tables.contrast`.

    `difference` is the mean share after minus before. Those whose interval excludes 0 come first,
    the largest difference of each kind first. Each run is read at its own layer, and reads the
    filter itself.
    """
    words = contrast(
        after.filter(where),
        before.filter(where),
        after.layer_to_read(),
        layer_b=before.layer_to_read(),
        minimum=MINIMUM,
    )
    words = words[words["low"].notna()]
    unclear = (words["low"] <= 0) & (words["high"] >= 0)
    order = np.lexsort((-words["difference"].abs(), unclear))
    return words.iloc[order[:WORDS]].reset_index(drop=True)


def _groups(run: Run, rows: np.ndarray) -> Iterator[tuple[str, str, str, np.ndarray]]:
    """Yield part, name, filter and (example,) members of every group of these rows."""
    gold = run.column("gold")[rows]
    for label, name in enumerate(run.label_names):
        yield "class", name, f"gold:{quote(name)}", gold == label
    for column, value, condition, members in metadata_groups(run):
        yield column, value, condition, members[rows]
    for name in run.store.slices()["name"]:
        condition = f"slice:{quote(name)}"
        try:
            yield "slice", name, condition, run.filter(condition).mask()[rows]
        except UserError:
            # A slice of another run's labels, or one that no longer reads, has no examples here.
            continue


def _tested(counts: np.ndarray) -> pd.DataFrame:
    """Return the paired test of (group, kind) counts, a row for each group."""
    fixed, broken, both_wrong, both_right = counts.T
    found = paired_difference(fixed, broken, both_right, both_wrong)
    return pd.DataFrame(
        {
            "n": counts.sum(1),
            "fixed": fixed,
            "broken": broken,
            "both_right": both_right,
            **found,
            "p": mcnemar(fixed, broken),
        }
    )
