"""Charts of layers and of methods; arrays in, Altair charts out."""

from __future__ import annotations

import altair as alt
import pandas as pd

from saliency_core.output.charts.overview import BLUE, GREY, ORANGE

GREEN = "#4b9b7a"
INTERVALS = {"coherence": ("low", "high"), "choice": ("choice_low", "choice_high")}
"""Columns of the 95 % interval of a measure."""
HEIGHT = 240


def by_layer(
    layers: pd.DataFrame,
    column: str,
    title: str,
    recommended: int | None,
    most_readable: int | None = None,
    level: float | None = None,
) -> alt.LayerChart | alt.FacetChart:
    """Return a measure by layer, with its 95 % interval where it has one.

    Args:
        layers: as `Store.layers`.
        column: the measure.
        title: of the axis.
        recommended: layer in orange.
        most_readable: layer in green, where it is another one.
        level: drawn as a dashed line: what no layer at all would get.
    """
    colour = [
        ORANGE if layer == recommended else GREEN if layer == most_readable else BLUE
        for layer in layers["layer"]
    ]
    low, high = INTERVALS.get(column, (column, column))
    rows = layers[["layer", *dict.fromkeys((column, low, high))]].assign(colour=colour)
    base = alt.Chart(rows).encode(x=alt.X("layer:O", title="Layer", axis=alt.Axis(labelAngle=0)))
    line = base.mark_line(color=GREY).encode(y=alt.Y(f"{column}:Q", title=title))
    points = base.mark_point(filled=True, size=90, opacity=1).encode(
        y=f"{column}:Q",
        color=alt.Color("colour:N", scale=None),
        tooltip=["layer:O", alt.Tooltip(f"{column}:Q", format=".3f")],
    )
    marks: list[alt.Chart] = [line, points]
    if low != column:
        marks.insert(
            1, base.mark_rule(color=GREY).encode(y=alt.Y(f"{low}:Q", title=title), y2=f"{high}:Q")
        )
    if level is not None:
        frame = pd.DataFrame({"level": [level]})
        marks.insert(
            0, alt.Chart(frame).mark_rule(strokeDash=[4, 4], color=GREY).encode(y="level:Q")
        )
    return alt.layer(*marks).properties(height=HEIGHT)


def by_passes(
    methods: pd.DataFrame, random: float | None = None
) -> alt.LayerChart | alt.FacetChart:
    """Return comprehensiveness against passes of one example, on a logarithmic axis.

    Args:
        methods: columns name, passes (positive), comprehensiveness, low, high and ours (bool).
        random: comprehensiveness of a random map, as a dashed line.
    """
    rows = methods.assign(colour=[ORANGE if ours else BLUE for ours in methods["ours"]])
    base = alt.Chart(rows).encode(
        x=alt.X(
            "passes:Q",
            title="Forward and backward passes for one example",
            scale=alt.Scale(type="log", domain=[1, float(rows["passes"].max()) * 3]),
            axis=alt.Axis(values=[1, 2, 5, 10, 20, 50, 100, 200, 500], format="~s"),
        ),
    )
    y = alt.Y("comprehensiveness:Q", title="Comprehensiveness")
    colour = alt.Color("colour:N", scale=None)
    whiskers = base.mark_rule().encode(
        y=alt.Y("low:Q", title="Comprehensiveness"), y2="high:Q", color=colour
    )
    points = base.mark_point(filled=True, size=90, opacity=1).encode(
        y=y,
        color=colour,
        tooltip=[
            "name:N",
            alt.Tooltip("passes:Q", format=".1f"),
            alt.Tooltip("comprehensiveness:Q", format=".3f"),
        ],
    )
    names = base.mark_text(align="left", dx=8).encode(y=y, text="name:N", color=colour)
    marks: list[alt.Chart] = [whiskers, points, names]
    if random is not None:
        frame = pd.DataFrame({"random": [random]})
        marks.insert(
            0, alt.Chart(frame).mark_rule(strokeDash=[4, 4], color=GREY).encode(y="random:Q")
        )
    return alt.layer(*marks).properties(height=360)
