"""Charts of slices beside each other."""

from __future__ import annotations

import altair as alt
import pandas as pd

from saliency_core.output.charts.theme import GREY, ORANGE, names_axis


def error_rates(sides: pd.DataFrame) -> alt.LayerChart:
    """Return the error rates of slices (slice, error_rate, low, high) with their intervals."""
    rows = sides[["slice", "error_rate", "low", "high"]]
    base = alt.Chart(rows).encode(y=alt.Y("slice:N", sort=None, title=None, axis=names_axis(260)))
    marks = base.mark_rule(color=GREY, strokeWidth=2).encode(x="low:Q", x2="high:Q")
    points = base.mark_point(filled=True, size=110, color=ORANGE, opacity=1).encode(
        x=alt.X(
            "error_rate:Q",
            title="Error rate with 95% interval",
            axis=alt.Axis(format="%"),
            scale=alt.Scale(zero=True),
        ),
        tooltip=["slice:N"]
        + [alt.Tooltip(f"{name}:Q", format=".1%") for name in ("error_rate", "low", "high")],
    )
    return (marks + points).properties(height=alt.Step(34))
