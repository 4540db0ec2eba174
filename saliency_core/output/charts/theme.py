"""Colours and axes that charts share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt

BLUE, ORANGE, GREY = "#2f6ea8", "#de8d33", "#8a8a8a"
GROUP_COLOURS = "#2f6ea8 #de8d33 #4b9b7a #b04a7a #7a6fb0 #8a6d3b #5b93c4 #9a9a9a".split()


def class_colours(labels: Sequence[str]) -> dict[str, str]:
    """Return the colour of each class, by its place among the labels: the same everywhere."""
    return {name: GROUP_COLOURS[place % len(GROUP_COLOURS)] for place, name in enumerate(labels)}


def names_axis(limit: int, **options: Any) -> alt.Axis:
    """Return an axis on which every name stands in the middle of its band, `limit` pixels wide."""
    return alt.Axis(labelLimit=limit, labelOverlap=False, labelFlush=False, **options)
