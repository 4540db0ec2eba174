"""What a click does: on a mark of a chart, or with an outcome that the page reports once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st

from app_components import session
from saliency_core.errors import UserError


def on_click(key: str, parameter: str, then: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Return the options of `session.figure` that call `then` with what was clicked.

    The chart's selection is its `parameter`; `then` is given the fields of the clicked mark.
    """

    def call() -> None:
        chosen = st.session_state[key]["selection"].get(parameter, [])
        if chosen:
            then(chosen[0])

    return {"key": key, "on_select": call}


def attempt(slot: str, action: Callable[[], str]) -> None:
    """Do what a click asks for, in its callback; keep for `tell` what came of it, as Markdown."""
    try:
        st.session_state[slot] = (True, action())
    except UserError as error:
        st.session_state[slot] = (False, session.escape(error))


def tell(slot: str) -> None:
    """Say once what came of the last click."""
    done, said = st.session_state.pop(slot, (True, ""))
    if said:
        (st.success if done else st.error)(said)


def quoted(text: str) -> str:
    """Return what somebody typed in quotation marks, as Markdown."""
    return f'"{session.escape(text)}"'
