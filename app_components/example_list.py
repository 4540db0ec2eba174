"""A list of examples with painted texts; a click or Enter on one opens it.

Built with `textContent` alone, so nothing of a dataset becomes live. What is opened or ticked is
told by its id, never by its place in the list, so no other example can be meant after paging.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import streamlit as st

from app_components.component import component
from saliency_core.output.highlighting import COLOURS

_component = component(__file__, "painted_rows", "rows", COLOURS)


@dataclass(frozen=True)
class BulkActions:
    """What may be done to ticked rows, or to all examples of the filter."""

    shown: dict[str, Any]
    """Labels and tags to choose from, `total` examples of the filter, what was `said` last."""
    on_act: Callable[[dict[str, Any]], None]
    """Given `edits` with `ids` or `all`, or `undo`."""


def painted_rows(
    rows: list[dict[str, Any]],
    key: str,
    on_open: Callable[[str], None],
    headings: tuple[str, ...] = (),
    bulk: BulkActions | None = None,
) -> None:
    """Show rows of `painting.painted_row`.

    Args:
        rows: at least one, all with as many columns of text.
        key: of the widget, unlike any other on the page.
        on_open: what to do with the id of the row that is opened; a callback of Streamlit, so
            the page it leaves is not run once more.
        headings: what stands above each column of text.
        bulk: what may be done to several rows at once; then J and K lead through the list from
            anywhere on the page.
    """

    def told(name: str) -> Any:
        return st.session_state[key][name]

    act = {} if bulk is None else {"on_act_change": lambda: bulk.on_act(told("act"))}
    _component(
        data={
            "rows": rows,
            "headings": list(headings),
            "width": len(rows[0]["columns"]),
            "bulk": bulk and bulk.shown,
        },
        key=key,
        on_open_change=lambda: on_open(told("open")),
        **act,
    )
