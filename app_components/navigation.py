"""Where the reader is: page, filter and every choice stand in the address, whole.

A page names what it keeps with `keep`, which returns the key of the widget. An address that was
opened, or gone back to, holds; one that leads to a page without naming more keeps what was chosen
there before, and what is chosen for all pages. Streamlit binds widgets to the address too, but
a choice then replaces the history entry of the one before it.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlencode

import streamlit as st
from streamlit.runtime.scriptrunner import StopException, get_script_run_ctx

from app_components.component import component
from app_components.markdown import escape
from saliency_core.program import program

SHARED = ("layer", "where", "sort")
"""What is about all pages once it was chosen; the rest is kept for each page."""
TITLE = "Saliency audit"
FIRST_FILTER = {"errors": "wrong", "example": "wrong"}
"""The filter of a page before one was chosen, where it is not empty."""

_component = component(__file__, "navigation")


class EndOfPage(Exception):
    """A page has nothing more to show."""


def end_page() -> NoReturn:
    """Show no more of the page. After `st.stop` its address could not be told."""
    raise EndOfPage


@dataclass
class Place:
    """What a session knows of the reader's place; texts are as in the address."""

    page: str | None = None
    shared: dict[str, str] = field(default_factory=dict)
    of_page: dict[str, dict[str, str]] = field(default_factory=dict)
    asked: dict[str, str] = field(default_factory=dict)
    """What the address names, where it holds; left until a run has come to its end."""
    is_whole: bool = False
    """Whether what the address does not name has its default."""
    is_arriving: bool = False
    named: dict[str, str] = field(default_factory=dict)
    """What this run of the page names in the address."""
    fields: dict[str, tuple[str, Any]] = field(default_factory=dict)
    """Key in the session and default of each field that this run keeps."""
    title: list[str] = field(default_factory=list)
    dataset: str = ""

    def kept(self, name: str) -> dict[str, str]:
        """Return where a field is remembered."""
        return self.shared if name in SHARED else self.of_page.setdefault(self.page or "", {})

    def carry_on(self) -> None:
        """Leave to the next run what the address asks for and this one did not come to."""
        for name, text in self.asked.items():
            if name not in self.fields and name not in self.named:
                self.named[name] = self.kept(name)[name] = text

    def settle(self) -> None:
        """Remember the fields of a run that has come to its end, and name them in the address."""
        for name, (key, default) in self.fields.items():
            value = st.session_state.get(key, default)
            text, kept = _as_text(value), self.kept(name)
            if value != default:
                self.named[name] = kept[name] = text
            elif kept.get(name) != text:
                kept.pop(name, None)
        for name in self.asked.keys() & set(SHARED) - self.fields.keys():
            # For the pages that have such a field, as this one has none.
            self.shared[name] = self.asked[name]
        self.asked, self.is_whole = {}, False


def place() -> Place:
    """Return the reader's place in this session."""
    return st.session_state.setdefault("place", Place())


def _is_history_navigation() -> bool:
    """Tell whether Back or Forward led here."""
    context = get_script_run_ctx()
    return context is not None and context.is_history_navigation


def begin(page: str) -> None:
    """Read the address, before anything of a page is drawn."""
    here = place()
    is_first, is_history = here.page is None, _is_history_navigation()
    here.is_arriving = is_history or page != here.page
    here.page, here.named, here.fields, here.title = page, {}, {}, []
    if here.is_arriving:
        here.asked, here.is_whole = st.query_params.to_dict(), is_first or is_history


def arrives() -> bool:
    """Tell whether this run of the page is the first since it was opened or gone back to."""
    return place().is_arriving


def name_in_address(name: str, value: str) -> None:
    """Let the address name something that is no field of a page."""
    place().named[name] = value


def keep(name: str, default: Any, options: Container | None = None, key: str | None = None) -> str:
    """Keep a field of the page in the address, and across pages; return its key.

    The key is that of a widget that is drawn afterwards, or stands for itself.

    Args:
        name: of the field, in the address and in the session.
        default: its value at first; the address need not name it.
        options: what it may be, where not everything is.
        key: in the session, where it is about something that is not always the same: what was
            kept for another one does not come back then.
    """
    here, state = place(), st.session_state
    own = key or name
    if name not in here.fields:
        if here.is_arriving or (own not in state and key is None):
            state[own] = _wanted(name, default, options)
        elif own not in state or (options is not None and state[own] not in options):
            state[own] = default
        here.fields[name] = (own, default)
    return own


def _wanted(name: str, default: Any, options: Container | None) -> Any:
    """Return what the address or the session wants a field to be, its default otherwise."""
    here = place()
    text = here.asked.get(name)
    is_asked = text is not None
    if text is None and not here.is_whole:
        text = here.kept(name).get(name)
    if text is None:
        return default
    try:
        value = text == "true" if isinstance(default, bool) else type(default)(text)
    except ValueError:
        value = None
    if value is not None and (options is None or value in options):
        return value
    if is_asked:
        shown = f"; shown: {default}" if default not in ("", None) else ""
        st.toast(escape(f"The link names {name} {text[:40]!r}, which does not exist{shown}."))
    return default


def entitle(*parts: str) -> None:
    """Say what the page is about, for the title of the browser's tab."""
    place().title += [part for part in parts if part]


def go_to(page: str, /, **values: object) -> None:
    """Switch to another page with values for its fields; from a callback."""
    here = place()
    of_page = here.of_page.setdefault(page, {})
    # Another list starts at its first page, another example without a second run beside it.
    for name, dependent in (("where", "page"), ("id", "other")):
        if name in values:
            of_page.pop(dependent, None)
    for name, value in values.items():
        (here.shared if name in SHARED else of_page)[name] = _as_text(value)
    if here.shared.get("where") == FIRST_FILTER.get(page, ""):
        del here.shared["where"]
    st.switch_page(f"app_pages/{page}.py")


def run_page(page: Any, draw: Callable[[], None]) -> None:
    """Draw a page of `st.navigation` and put what it keeps into the address."""
    begin(Path(page.url_path or "overview").name)
    try:
        draw()
    except EndOfPage:
        place().carry_on()
    except StopException:
        place().carry_on()
        place().settle()
        raise
    here = place()
    is_first = here.is_whole and not _is_history_navigation()
    here.settle()
    # Of the first address the component takes care: it would be an entry more from here.
    if not is_first and here.named != st.query_params.to_dict():
        st.query_params.from_dict(here.named)
    parts = [page.title, *here.title, *([here.dataset] if here.dataset else [])]
    st.set_page_config(page_title=f"{' · '.join(parts)} - {TITLE}")
    with st.container(key="navigation"):
        _component(
            data={
                "page": page.url_path,
                "query": urlencode(here.named),
                "command": f"{program()} dashboard",
            },
            key="address",
        )


def _as_text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else "" if value is None else str(value)
