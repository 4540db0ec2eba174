"""How coherent the layers are within groups: predicted classes, or slices set side by side."""

from __future__ import annotations

import numpy as np
import pandas as pd

from saliency_core.stats import mean_interval
from saliency_core.store import Run, Slice

CLASSES = 8
"""Classes shown at most, the most often predicted first: more lines can't be told apart."""


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
    members = {name: np.flatnonzero(group) for name, group in groups.items()}
    rows = []
    for layer in range(run.model.layers + 1):
        values = run.column(f"coherence:{layer}")
        for place, (name, own) in enumerate(members.items()):
            known = values[own].astype(np.float64)
            known = known[~np.isnan(known)]
            if len(known):
                mean, error = known.mean(), known.std() / np.sqrt(len(known))
                rows.append((place, name, layer, mean, *mean_interval(mean, error), len(known)))
    columns = ["place", "group", "layer", "coherence", "low", "high", "examples"]
    found = pd.DataFrame(rows, columns=columns).sort_values(["place", "layer"], ignore_index=True)
    return found.drop(columns="place")
