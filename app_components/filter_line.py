"""The filter line of a page: typed, picked or put together of chips; one line is the truth.

What can't be read is told with buttons that put it right, while the page goes on with the last
filter that could be.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence

import streamlit as st

from app_components import session
from app_components.filter_picker import Picker
from app_components.navigation import keep
from saliency_core.store import Run, Slice
from saliency_core.store.query.editing import Line
from saliency_core.store.query.mistakes import FilterError, Mistake
from saliency_core.store.query.parser import resolved
from saliency_core.store.query.terms import JOINS, TABLE, quote, quote_name
from saliency_core.store.query.tree import text_of

KEY = "where"
CHIPS = 12
"""Terms that have a chip each; of a longer line only the whole can be taken off."""
LISTED = 30
"""Labels and columns that the help names."""


def filter_line(run: Run, first: str = "", on_change: Callable[[], None] | None = None) -> str:
    """Show the filter line, at `first` in the beginning; return the filter that the page is about.

    That is the line, or where it can't be read the last one that could.
    """
    changed = on_change or (lambda: None)

    def typed() -> None:
        # A bare word becomes `word:WORD` and so on: what stands there is what is looked for.
        st.session_state[KEY] = _canonical(run, st.session_state[KEY])
        changed()

    def put(line: str) -> None:
        st.session_state[KEY] = line
        changed()

    with st.container(horizontal=True, vertical_alignment="bottom"):
        line = st.text_input(
            "Filter",
            key=keep(KEY, first),
            on_change=typed,
            placeholder='wrong confidence>0.9 word:people "a phrase" meta.region:EU',
        )
        good = f"good-filter-{session.here(run)}"
        mistakes = mistakes_of(run, line)
        if not mistakes:
            st.session_state[good] = line
        shown = st.session_state.get(good, first)
        with st.popover("Add term", on_change="rerun", key="pick") as opened:
            if opened.open:
                Picker(run, shown, put).show()
        with st.popover("Syntax", help="The terms that a filter can contain."):
            st.html(_help(run))
    if not mistakes:
        chips(run, line, put)
    is_told = _tell(run, line, mistakes, KEY, put)
    if mistakes:
        kept = session.escape(shown) or "all examples"
        st.caption(f"Showing the last valid filter: {kept}.")
    elif not is_told:
        _tell_why_nothing_fits(run, line)
    return shown


def filter_chip(run: Run) -> None:
    """Show the filter that is kept for other pages, on one that shows all examples."""
    line = st.session_state[keep(KEY, "")]
    if line:
        with st.container(horizontal=True, vertical_alignment="center", gap="xsmall"):
            chips(run, line, lambda new: st.session_state.update({KEY: new}))
            st.caption("Applies to the pages that show examples; this page covers the whole run.")


def chips(run: Run, line: str, put: Callable[[str], None]) -> None:
    """Show each term of a filter with a cross that takes it out."""
    terms = Line(line, run.metadata_columns()).terms()
    if not 0 < len(terms) <= CHIPS:
        terms = [(line, "")] if terms else []
    if not terms:
        return
    with st.container(horizontal=True, gap="xsmall", width="content"):
        for number, (text, rest) in enumerate(terms):
            st.button(
                session.escape(text),
                icon=":material/close:",
                key=f"chip-{number}",
                help=f"Remove {session.escape(text)} from the filter",
                on_click=put,
                args=(rest,),
            )


def mistakes_of(run: Run, line: str) -> tuple[Mistake, ...]:
    """Return what is wrong with a filter; nothing where it can be read."""
    try:
        session.ask(Slice.check, run.filter(line))
    except FilterError as error:
        return error.mistakes
    return ()


def readable(run: Run, line: str, key: str) -> bool:
    """Tell what is wrong with the filter that the field `key` holds, or never occurs in it."""

    def put(new: str) -> None:
        st.session_state[key] = new

    mistakes = mistakes_of(run, line)
    _tell(run, line, mistakes, key, put)
    return not mistakes


def _tell(
    run: Run, line: str, mistakes: Sequence[Mistake], field: str, put: Callable[[str], None]
) -> bool:
    """Tell mistakes, else what never occurs, with buttons that put it right; whether any is."""
    kind, tell = ("mistake", st.error) if mistakes else ("note", st.info)
    key, told = f"{kind}-{field}", mistakes or session.ask(Slice.notes, run.filter(line))
    for number, mistake in enumerate(told):
        with st.container(
            horizontal=True, vertical_alignment="center", gap="small", key=f"told-{key}-{number}"
        ):
            asks = " Did you mean" if mistake.fixes else ""
            place = f"Character {mistake.start + 1}: " if len(told) > 1 else ""
            tell(session.escape(place + mistake.sentence + asks))
            for which, fix in enumerate(mistake.fixes):
                label = session.escape(fix.label)
                new = fix.apply(line)
                st.button(label, key=f"{key}-{number}-{which}", on_click=put, args=(new,))
    return bool(told)


def _tell_why_nothing_fits(run: Run, line: str) -> None:
    """Where terms fit examples each and none together, say how many each does."""
    terms = [text for text, _ in Line(line, run.metadata_columns()).terms()]
    if not 1 < len(terms) <= CHIPS or session.counted(run.filter(line)):
        return
    counts = [f"{session.escape(text)} {session.counted(run.filter(text)):,}" for text in terms]
    st.caption(f"Each term by itself matches: {', '.join(counts)}. Put OR between alternatives.")


def _canonical(run: Run, line: str) -> str:
    """Return a line as the language writes it; one with mistakes as it was typed."""
    if mistakes_of(run, line):
        return line
    return text_of(resolved(line, tuple(run.metadata_columns())).tree)


def _help(run: Run) -> str:
    """Return the terms, how they are joined, and what this run has, as a table."""
    names, columns = run.label_names, run.metadata_columns()
    own = [("Labels of this run", ", ".join(map(quote, names[:LISTED])))] if names else []
    if columns:
        own.append(("Its metadata columns", ", ".join(map(quote_name, columns[:LISTED]))))
    escape = html.escape
    cells = [(what, f"<code>{escape(listed)}</code>") for what, listed in own]
    cells += [(f"<code>{escape(term)}</code>", escape(said)) for term, said in (*JOINS, *TABLE)]
    rows = "".join(f"<tr><td>{left}</td><td>{right}</td></tr>" for left, right in cells)
    return f"<table class='filter-terms'>{rows}</table>"
