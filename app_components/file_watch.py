"""Notices that the open file was written, replaced or deleted, and says so.

Numbers stay on a page until it is drawn again, and nobody should read those of a file that is no
longer there.
"""

from __future__ import annotations

from typing import NamedTuple

import streamlit as st

from app_components import session
from saliency_core.errors import UserError

SECONDS = 4
"""Between two looks at the file."""
_SEEN = "seen-file"


class _Seen(NamedTuple):
    """What tells whether a file is still the one that a page was drawn from."""

    device: int
    inode: int
    version: int
    runs: frozenset[tuple[int, str, str]]
    """Number, content key and time of each run."""


def watch() -> None:
    """Say what happened to the file since the page was drawn last, and go on looking."""
    if st.session_state.get("db-missing"):
        return
    path = session.database()
    name = session.escape(session.name_of(path))
    seen = _look(path)
    before = st.session_state.get(_SEEN, {}).get(path)
    if before and seen is None:
        st.warning(
            f"{name} is gone: it was moved or deleted. This page returns as soon as the file is "
            "back."
        )
    elif before and seen and not before.runs <= seen.runs:
        st.info(
            f"{name} is no longer the same file: it was replaced, or runs were deleted. This page "
            "shows what it contains now."
        )
    st.session_state[_SEEN] = {path: seen or before}
    _go_on_looking(path, seen)


@st.fragment(run_every=SECONDS)
def _go_on_looking(path: str, drawn: _Seen | None) -> None:
    """Say that the page no longer shows what the file holds, at the edge of the window."""
    now = _look(path)
    if now == drawn:
        return
    name = session.escape(session.name_of(path))
    if now is None:
        said = f"{name} is gone: it was moved or deleted. What you see was read before that."
    elif drawn is None:
        said = f"{name} now exists."
    elif drawn.runs <= now.runs:
        said = f"{name} has changed since this page was loaded."
    else:
        said = f"{name} has been replaced by another file since this page was loaded."
    with st.container(key="file-watch", horizontal=True, vertical_alignment="center"):
        st.markdown(said, width="content")
        if st.button("Show what it contains now" if now else "Check again", key="look-again"):
            st.rerun(scope="app")


def _look(path: str) -> _Seen | None:
    """Return what stands at a path, None where nothing that can be read does."""
    try:
        store = session.store_at(path)
        with store.steady():
            file, version = store.state()
            runs = store.rows("SELECT run, key, created FROM runs")
    except UserError:
        return None
    return _Seen(file.device, file.inode, version, frozenset(runs))
