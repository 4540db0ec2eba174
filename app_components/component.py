"""Components that the browser draws, by the script and style beside the module of their name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import streamlit as st


def component(module: str, name: str, element: str = "", css: str = "") -> Callable:
    """Return the component that `.js` and `.css` beside a module make of an element of a class."""
    script, style = (Path(module).with_suffix(ending) for ending in (".js", ".css"))
    if style.is_file():
        css += style.read_text("utf-8")
    return st.components.v2.component(
        name, html=f"<div class='{element}'></div>", css=css or None, js=script.read_text("utf-8")
    )
