"""Colours and axes that charts share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd

BLUE, ORANGE, GREY = "#2f6ea8", "#de8d33", "#8a8a8a"
LAYERS = alt.X("layer:O", title="Layer", axis=alt.Axis(labelAngle=0))
GROUP_COLOURS = "#2f6ea8 #de8d33 #4b9b7a #b04a7a #7a6fb0 #8a6d3b #5b93c4 #9a9a9a".split()


def class_colours(labels: Sequence[str]) -> dict[str, str]:
    """Return the colour of each class, by its place among the labels: the same everywhere."""
    return {name: GROUP_COLOURS[place % len(GROUP_COLOURS)] for place, name in enumerate(labels)}


ON_DARK: dict[tuple[str, str], dict[str, Any]] = {
    ("scheme", "blueorange"): {"range": ["#2f73b8", "#171614", "#a66213"], "interpolate": "rgb"},
    ("color", "#111"): {"color": "#fff"},
    ("value", "#111"): {"value": "#fff"},
}
"""Key and value of a chart -> what takes their place on a dark page, where zero is the page's
colour and strength grows brighter; white is readable on all of it."""


def for_dark(chart: Any) -> Any:
    """Return the Vega-Lite of a chart as a dark page shows it."""
    if isinstance(chart, list):
        return [for_dark(part) for part in chart]
    if not isinstance(chart, dict):
        return chart
    shown: dict[str, Any] = {}
    for key, value in chart.items():
        text = value if isinstance(value, str) else ""
        shown |= ON_DARK.get((key, text)) or {key: for_dark(value)}
    return shown


def names_axis(limit: int, **options: Any) -> alt.Axis:
    """Return an axis on which every name stands in the middle of its band, `limit` pixels wide."""
    return alt.Axis(labelLimit=limit, labelOverlap=False, labelFlush=False, **options)


def named_rows(field: str, limit: int, order: Sequence[str] | None = None, **options: Any) -> alt.Y:
    """Return a row a name, in the order given or that of the data."""
    return alt.Y(field, sort=order, title=None, axis=names_axis(limit, **options))


def picks(name: str, *fields: str) -> alt.Parameter:
    """Return the choice of what is clicked, as `name` with its fields; a double click ends it."""
    return alt.selection_point(name, fields=list(fields), clear="dblclick")


def dashed_level(name: str, value: float) -> alt.Chart:
    """Return a dashed line across a chart."""
    frame = pd.DataFrame({name: [value]})
    return alt.Chart(frame).mark_rule(strokeDash=[4, 4], color=GREY).encode(y=f"{name}:Q")


def top_of(values: pd.Series) -> float:
    """Return where a scale of shares ends: at the highest one, at 1 where none is above 0."""
    highest = float(values.max())
    return highest if highest > 0 else 1.0
