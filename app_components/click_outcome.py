"""What came of a click: done in its callback, reported once where the page asks for it."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from app_components import session
from saliency_core.errors import UserError


def attempt(slot: str, action: Callable[[], str]) -> None:
    """Do what a click asks for, in its callback; keep for `tell` what came of it.

    Args:
        slot: names where on the page the outcome is reported.
        action: returns what came of it, as Markdown; raises UserError where it can't be done.
    """
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
