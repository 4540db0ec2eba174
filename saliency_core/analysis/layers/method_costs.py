"""What each method costs and how faithful it is, from the evaluations of a run."""

from __future__ import annotations

import pandas as pd

from saliency_core.store import Run
from saliency_core.store.read.results import DELETED

OURS = "saliency"
"""The method that a run is read by; other methods have no layer."""
RANDOM = "random"


def methods_by_passes(evaluations: pd.DataFrame, run: Run) -> tuple[pd.DataFrame, float | None]:
    """Return the methods to draw against their cost, and the comprehensiveness of chance.

    Ours stands at the recommended and at the most readable layer.

    Args:
        evaluations: as `Run.evaluations`.
        run: a run.

    Returns:
        Columns name, passes, comprehensiveness, low, high, ours; empty without other methods.
    """
    masked = evaluations[~evaluations["method"].str.endswith(DELETED)]
    random = masked.loc[masked["method"] == RANDOM, "comprehensiveness"]
    chosen = [layer for layer in (run.recommended, run.most_readable) if layer is not None]
    ours = (masked["method"] == OURS) & masked["layer"].isin(chosen)
    others = masked["layer"].isna() & (masked["method"] != RANDOM)
    rows = masked[ours | others] if others.any() else masked.iloc[:0]
    layer = rows["layer"].map(lambda number: "" if pd.isna(number) else f", layer {number}")
    table = pd.DataFrame(
        {
            "name": rows["method"] + layer.astype(str),
            "passes": rows["forwards"] + rows["backwards"],
            "comprehensiveness": rows["comprehensiveness"],
            "low": rows["comprehensiveness_low"],
            "high": rows["comprehensiveness_high"],
            "ours": rows["method"] == OURS,
        }
    ).reset_index(drop=True)
    return table, None if random.empty else float(random.iloc[0])
