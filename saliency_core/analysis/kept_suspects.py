"""The suspects that a run keeps, and what the rule can say of one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from saliency_core.store import Run, save_table

HARMFUL, RELIED, UNTESTED, DATA, NONE = (
    "relied on and harmful",
    "relied on",
    "salient, effect not measured",
    "in the data only",
    "none",
)
ASSESSMENTS = (HARMFUL, RELIED, UNTESTED, DATA, NONE)
"""Strongest first. The third waits for the causal evidence, which costs runs of the model."""
TABLE, CONTROL_TABLE = "suspects", "suspects control"
KEPT_ROWS = 5000
"""Rows of a table that are kept, strongest first."""


def keep_suspects(run: Run, table: pd.DataFrame, control: Mapping[str, Any]) -> None:
    """Keep the strongest suspects and the control with the run, replacing older ones."""
    save_table(run.store.path, run.number, TABLE, table.head(KEPT_ROWS))
    save_table(run.store.path, run.number, CONTROL_TABLE, [dict(control)])


def kept_suspects(run: Run) -> tuple[pd.DataFrame, dict[str, Any]] | None:
    """Return the suspects and the control that were kept last, None where there are none."""
    table, control = run.table(TABLE), run.table(CONTROL_TABLE)
    if table is None or control is None:
        return None
    # Older files call it a verdict.
    return table.rename(columns={"verdict": "assessment"}), control.iloc[0].to_dict()
