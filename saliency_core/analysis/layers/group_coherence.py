"""How coherent the layers are within groups: predicted classes, or slices set side by side."""

from __future__ import annotations

import numpy as np
import pandas as pd

from saliency_core.stats import mean_interval
from saliency_core.store import Run, Slice

CLASSES = 8
"""Classes shown at most, the most often predicted first: more lines can't be told apart."""
AT_ONCE = 12
"""Groups summed in one pass: a bit of 16 each."""


def coherence_of_classes(part: Slice) -> pd.DataFrame:
    """Return the mean coherence of the examples of each of `CLASSES` classes, layer by layer.

    An example's coherence is the mean cosine of its explanation to those predicted the same
    minus that to those predicted differently (docs/method.md, “Coherence of a layer”).

    Returns:
        Columns group, layer, coherence, low, high (95 % of the mean) and examples.
    """
    run = part.run
    inside = part.mask()
    predicted = np.where(inside, run.column("predicted").astype(np.int64), -1)
    names = run.label_names
    counts = np.bincount(predicted[predicted >= 0], minlength=len(names))
    chosen = [label for label in np.argsort(-counts, kind="stable")[:CLASSES] if counts[label]]
    return _means(run, {names[label]: predicted == label for label in chosen})


def coherence_of_slices(run: Run, slices: list[str]) -> pd.DataFrame:
    """Return the mean coherence of the examples of each slice, as `coherence_of_classes`."""
    masks = {where or "all examples": run.filter(where).mask() for where in slices}
    return _means(run, masks)


def coherence_of_runs(run: Run, runs: list[int]) -> pd.DataFrame:
    """Return the coherence of the layers of several runs of a file, with the same columns."""
    rows = [run.store.run(n).layers().assign(group=f"run {n}") for n in runs]
    return pd.concat(rows, ignore_index=True).dropna(subset="coherence")[
        ["group", "layer", "coherence", "low", "high"]
    ]


def _means(run: Run, groups: dict[str, np.ndarray]) -> pd.DataFrame:
    """Return the mean coherence of groups, layer by layer; (example,) members of each, by name."""
    names, rows = list(groups), []
    for start in range(0, len(names), AT_ONCE):
        some = names[start : start + AT_ONCE]
        sums, held = _sums_by_cell(run, [groups[name] for name in some])
        for place, name in enumerate(some):
            own = sums[:, :, held >> place & 1 > 0].sum(2)  # (layer, sum)
            for layer, (n, total, squares) in enumerate(own):
                if n:
                    mean = total / n
                    error = np.sqrt(max(squares / n - mean**2, 0) / n)
                    rows.append((name, layer, mean, *mean_interval(mean, error), int(n)))
    return pd.DataFrame(rows, columns=["group", "layer", "coherence", "low", "high", "examples"])


def _sums_by_cell(run: Run, groups: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return (layer, 3, cell) number, sum and squares of coherence, and the groups of each cell.

    A cell is the examples of the very same groups, a bit each: one pass over a layer serves all.
    """
    cells = np.zeros(len(run.columns), np.int16)
    for place, members in enumerate(groups):
        cells |= members.astype(np.int16) << place
    grouped = np.flatnonzero(cells)
    order = grouped[np.argsort(cells[grouped], kind="stable")]
    held, first = np.unique(cells[order], return_index=True)
    sums = []
    for layer in range(run.model.layers + 1):
        values = run.column(f"coherence:{layer}")[order].astype(np.float64)
        known = ~np.isnan(values)
        values[~known] = 0
        sums.append([np.add.reduceat(kind, first) for kind in (known, values, values**2)])
    return np.array(sums, np.float64), held
