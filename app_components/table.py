"""Tables of numbers and texts: a click on any cell, Enter or Space chooses the row.

Streamlit's own grid is drawn on a canvas: only a narrow column of boxes chooses a row there, no
key but Shift+Space does, and a screen reader reads little. What is chosen here is told by the
place in the frame that was given, whatever column the reader sorted by.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
import streamlit as st

from app_components.component import component

HEIGHT = 420
"""Pixels; a longer table scrolls."""
NARROWEST = 18
"""Characters that a column of texts leaves room for, if its texts are as long."""

_component = component(__file__, "table", "frame")


@dataclass(frozen=True)
class Column:
    """How a column is shown.

    Args:
        label: its head; else its name, underscores as blanks.
        help: what it means, shown when the pointer rests on the head.
        format: of its numbers, e.g. "{:.1%}".
        bar: its numbers lie between 0 and 1 and are drawn as bars.
    """

    label: str | None = None
    help: str = ""
    format: str | None = None
    bar: bool = False


def show_table(
    rows: pd.DataFrame,
    key: str,
    alt: str,
    *,
    columns: Mapping[str, Column] | None = None,
    on_choose: Callable[[int], None] | None = None,
    chosen: int | None = None,
    ticks: bool = True,
    height: int = HEIGHT,
) -> None:
    """Show a table.

    Args:
        rows: what it shows, a column each; numbers, texts, and lists of numbers as lines.
        key: of the widget, unlike any other on the page.
        alt: what it shows, in words.
        columns: how columns are shown that need more than their name.
        on_choose: what to do with the place of the row that is chosen; a callback of Streamlit.
        chosen: place of the row that is ticked.
        ticks: whether chosen rows are ticked; not where choosing leads to another page.
        height: pixels it takes at most.
    """
    columns = columns or {}
    shown = [_as_data(name, rows[name], columns.get(str(name), Column())) for name in rows.columns]
    data = {
        "columns": shown,
        "rows": len(rows),
        "alt": alt,
        "chosen": chosen,
        "choices": on_choose is not None,
        "ticks": ticks and on_choose is not None,
        "height": height,
    }

    def choose() -> None:
        place = st.session_state[key]["chosen"]
        if on_choose is not None and place is not None and place < len(rows):
            on_choose(int(place))

    _component(data=data, key=key, on_chosen_change=choose)


def _as_data(name: Any, values: pd.Series, column: Column) -> dict[str, Any]:
    """Return a column as the component's script reads it."""
    head = {
        "name": str(name),
        "label": column.label if column.label is not None else str(name).replace("_", " "),
        "help": column.help,
    }
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
        numbers = [_finite(value) for value in values.tolist()]
        pattern = column.format or ("{:z.3f}" if values.dtype.kind == "f" else "{:,}")
        texts = ["–" if number is None else pattern.format(number) for number in numbers]
        kind = "bar" if column.bar else "number"
        return head | {"kind": kind, "values": numbers, "texts": texts}
    found = values.tolist()
    if any(isinstance(value, list) for value in found):
        lines = [list(map(_finite, value)) if isinstance(value, list) else [] for value in found]
        top = max([value for line in lines for value in line if value is not None], default=0.0)
        return head | {"kind": "line", "values": lines, "top": top or 1.0}
    texts = ["" if pd.isna(value) else str(value) for value in found]
    width = min(max(map(len, texts), default=0), NARROWEST)
    return head | {"kind": "text", "texts": texts, "width": width}


def _finite(value: Any) -> Any:
    """Return a number as JSON can hold it."""
    return None if pd.isna(value) or not math.isfinite(value) else value


def intervals(rows: pd.DataFrame, form: str = "{:.1%}", missing: str = "") -> list[str]:
    """Return the intervals of rows, from `low` to `high`, as text."""
    return [
        missing if low != low else f"{form.format(low)} to {form.format(high)}"
        for low, high in zip(rows["low"], rows["high"], strict=True)
    ]


def remembered(key: str, values: pd.Series) -> tuple[int | None, Callable[[int], None]]:
    """Return the place of the value that the session keeps, and what keeps that of another row."""

    def choose(place: int) -> None:
        st.session_state[key] = values.iloc[place]

    return place_of(values == st.session_state.get(key)), choose


def place_of(mask: pd.Series) -> int | None:
    """Return the place of the first row that a mask marks, None where it marks none."""
    places = mask.to_numpy(bool).nonzero()[0]
    return int(places[0]) if len(places) else None
