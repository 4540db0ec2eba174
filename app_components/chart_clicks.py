"""What a click on a mark of a chart does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st


def on_click(key: str, parameter: str, then: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Return the options of `session.figure` that call `then` with what was clicked.

    Args:
        key: of the chart, unlike any other on the page.
        parameter: name of the chart's selection.
        then: given the fields of the selection.
    """

    def call() -> None:
        chosen = st.session_state[key]["selection"].get(parameter, [])
        if chosen:
            then(chosen[0])

    return {"key": key, "on_select": call}
