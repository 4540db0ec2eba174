"""The chart of suspects."""

from __future__ import annotations

import altair as alt
import pandas as pd

from saliency_core.output.charts.theme import GREY, picks, top_of

MAX_POINTS = 1000
"""Beyond this many suspects a scatter can't be read; the strongest are shown."""
MAX_NAMES = 15
"""Suspects whose name stands beside their point."""
RING = "#c2409a"
"""Around the suspect on show: no colour of the effect, in every kind of sight."""
RISING = ["#3b6fb6", "#35b2a5", "#f2c12e"]
"""From none to all: rises in lightness too, none of it lost on a white or a dark page."""
SUSPECT_FACTS = ["feature", "class", "assessment", "examples", "z", "mean_share", "flip_rate"]
"""What the chart of suspects shows of each."""


def suspect_points(table: pd.DataFrame, current: tuple[str, str]) -> alt.LayerChart:
    """Return association against reliance; points are selectable as `mark` (feature, class).

    Args:
        table: rows of `presentation.with_judgements`, strongest first.
        current: feature and class of the suspect on show, which gets a ring.
    """
    rows = table.dropna(subset=["mean_share", "z"]).head(MAX_POINTS)[SUSPECT_FACTS]
    rows = rows.assign(
        current=(rows["feature"] == current[0]) & (rows["class"] == current[1]),
        order=-rows["examples"],
    )
    base = alt.Chart(rows).encode(
        x=alt.X(
            "mean_share:Q",
            title="Reliance: mean share of the saliency where the class is predicted",
            axis=alt.Axis(format="%"),
            # Room for the names on the right.
            scale=alt.Scale(domain=[0, 1.25 * top_of(rows["mean_share"])], nice=False),
        ),
        y=alt.Y("z:Q", title="Association with the class in the labels (z)"),
        size=alt.Size(
            "examples:Q",
            title="Examples with the feature",
            scale=alt.Scale(range=[30, 600]),
            legend=alt.Legend(orient="bottom", tickCount=3),
        ),
        order="order:Q",
        tooltip=[
            "feature:N",
            "class:N",
            "assessment:N",
            "examples:Q",
            alt.Tooltip("z:Q", format=".1f"),
            alt.Tooltip("mean_share:Q", format=".1%", title="mean share"),
            alt.Tooltip("flip_rate:Q", format=".1%", title="predictions that change"),
        ],
    )
    # Grey and hollow where the effect was not measured: an empty value is no zero.
    unknown = base.transform_filter("!isValid(datum.flip_rate)").mark_point(
        color=GREY, opacity=0.6, cursor="pointer"
    )
    measured = (
        base.transform_filter("isValid(datum.flip_rate)")
        .mark_circle(opacity=0.9, stroke=GREY, strokeWidth=1, cursor="pointer")
        .encode(
            color=alt.Color(
                "flip_rate:Q",
                title="Predictions that change",
                scale=alt.Scale(range=RISING, domain=[0, top_of(rows["flip_rate"])]),
                legend=alt.Legend(format="%", orient="bottom", gradientLength=80),
            )
        )
        .add_params(picks("mark", "feature", "class"))
    )
    ring = base.transform_filter("datum.current").mark_point(
        color=RING, strokeWidth=3, opacity=1, cursor="pointer"
    )
    named = (
        alt.Chart(rows.dropna(subset=["flip_rate"]).head(MAX_NAMES))
        .mark_text(align="left", dx=8, color=GREY, fontWeight="bold", limit=120)
        .encode(x="mean_share:Q", y="z:Q", text="feature:N")
    )
    return alt.LayerChart(layer=[unknown, measured, ring, named], height=440)
