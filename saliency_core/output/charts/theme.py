"""Colours and axes that charts share."""

from __future__ import annotations

import altair as alt

BLUE, ORANGE, GREY = "#2f6ea8", "#de8d33", "#8a8a8a"


def names_axis(limit: int, **options: object) -> alt.Axis:
    """Return an axis on which every name stands in the middle of its band, `limit` pixels wide."""
    return alt.Axis(labelLimit=limit, labelOverlap=False, labelFlush=False, **options)
