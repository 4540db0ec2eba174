"""Charts of layers and of methods."""

from __future__ import annotations

from collections.abc import Mapping

import altair as alt
import pandas as pd

from saliency_core.output.charts.theme import (
    BLUE,
    GREY,
    GROUP_COLOURS,
    LAYERS,
    ORANGE,
    dashed_level,
    picks,
)

GREEN = "#4b9b7a"
GROUP_SHAPES = "circle square triangle-up diamond cross triangle-down triangle-right stroke".split()


def by_layer(
    layers: pd.DataFrame,
    column: str,
    title: str,
    recommended: int | None,
    most_readable: int | None = None,
    level: float | None = None,
) -> alt.LayerChart | alt.FacetChart:
    """Return a measure by layer, with its 95 % interval where it has one.

    Points are selectable as `point` with layer.

    Args:
        layers: as `Run.layers`.
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
    ends = ["low", "high"] if column == "coherence" else [f"{column}_low", f"{column}_high"]
    if ends[0] not in layers or layers[ends[0]].isna().all():
        ends = []
    base = alt.Chart(layers[["layer", column, *ends]].assign(colour=colour)).encode(x=LAYERS)
    line = base.mark_line(color=GREY).encode(y=alt.Y(f"{column}:Q", title=title))
    points = (
        base.mark_point(filled=True, size=90, opacity=1, cursor="pointer")
        .encode(
            y=f"{column}:Q",
            color=alt.Color("colour:N", scale=None),
            tooltip=["layer:O", alt.Tooltip(f"{column}:Q", title=title, format=".3f")],
        )
        .add_params(picks("point", "layer"))
    )
    marks: list[alt.Chart] = [line, points]
    if ends:
        low, high = (f"{name}:Q" for name in ends)
        marks.insert(1, base.mark_rule(color=GREY).encode(y=alt.Y(low, title=title), y2=high))
    if level is not None:
        marks.insert(0, dashed_level("level", level))
    return alt.LayerChart(layer=marks, height=240)


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
        color=alt.Color("colour:N", scale=None),
        x=alt.X(
            "passes:Q",
            title="Forward and backward passes for one example",
            scale=alt.Scale(type="log", domain=[1, float(rows["passes"].max()) * 3]),
            axis=alt.Axis(values=[1, 2, 5, 10, 20, 50, 100, 200, 500], format="~s"),
        ),
    )
    y = alt.Y("comprehensiveness:Q", title="Comprehensiveness")
    low = alt.Y("low:Q", title="Comprehensiveness")
    whiskers = base.mark_rule().encode(y=low, y2="high:Q")
    points = base.mark_point(filled=True, size=90, opacity=1).encode(
        y=y,
        tooltip=[
            "name:N",
            alt.Tooltip("passes:Q", format=".1f"),
            alt.Tooltip("comprehensiveness:Q", format=".3f"),
        ],
    )
    names = base.mark_text(align="left", dx=8).encode(y=y, text="name:N")
    marks: list[alt.Chart] = [whiskers, points, names]
    if random is not None:
        marks.insert(0, dashed_level("random", random))
    return alt.LayerChart(layer=marks, height=360)


def groups_by_layer(rows: pd.DataFrame, colours: Mapping[str, str] | None = None) -> alt.LayerChart:
    """Return a line for each group: coherence by layer with its 95 % interval.

    Args:
        rows: columns group, layer, coherence, low and high; shape tells groups too.
        colours: of the groups, by name; by default in the order of the rows.
    """
    groups = rows["group"].drop_duplicates().tolist()
    colours = colours or dict(zip(groups, GROUP_COLOURS, strict=False))
    base = alt.Chart(rows).encode(
        x=LAYERS,
        color=alt.Color(
            "group:N",
            title=None,
            sort=groups,
            scale=alt.Scale(domain=groups, range=[colours[group] for group in groups]),
            legend=alt.Legend(orient="bottom", columns=2, labelLimit=180),
        ),
    )
    line = base.mark_line().encode(y=alt.Y("coherence:Q", title="Coherence"))
    whiskers = base.mark_rule().encode(y="low:Q", y2="high:Q")
    points = base.mark_point(filled=True, size=70).encode(
        y="coherence:Q",
        shape=alt.Shape(
            "group:N",
            title=None,
            sort=groups,
            scale=alt.Scale(domain=groups, range=GROUP_SHAPES[: len(groups)]),
        ),
        tooltip=["group:N", "layer:O", alt.Tooltip("coherence:Q", format=".3f")],
    )
    return alt.LayerChart(layer=[line, whiskers, points], height=300)


def agreement_matrix(pairs: pd.DataFrame) -> alt.LayerChart:
    """Return the layer x layer matrix of rank correlations."""
    base = alt.Chart(pairs).encode(x=LAYERS, y=alt.Y("other:O", title="Layer"))
    cells = base.mark_rect().encode(
        color=alt.Color("correlation:Q", title="Correlation").scale(
            scheme="blueorange", domain=[-1, 1], domainMid=0
        ),
        tooltip=["layer:O", "other:O", alt.Tooltip("correlation:Q", format=".2f")],
    )
    numbers = base.mark_text().encode(
        text=alt.Text("correlation:Q", format=".2f"),
        color=alt.condition("abs(datum.correlation) > 0.75", alt.value("#fff"), alt.value("#111")),
    )
    return (cells + numbers).properties(height=alt.Step(28))
