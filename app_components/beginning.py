"""What stands on a page before there is an audit to show."""

from __future__ import annotations

import shlex
from pathlib import Path

import streamlit as st

from app_components import session
from saliency_core.paths import DEMO, demo_folder
from saliency_core.program import program
from saliency_core.server.audit_request import free_name

DEMONSTRATION_WANTED = "demonstration_wanted"
"""Key of the session: New audit builds the demonstration when it is opened next."""


def offer(nothing: session.NothingAudited) -> None:
    """Say that there is nothing to see yet, and lead to what makes something."""
    if Path(nothing.path).exists():
        st.info(session.escape(nothing))
    else:
        st.header("No audit yet", anchor=False)
        st.markdown(
            "Audit a text classifier on a file of your own to see which examples it gets wrong, "
            "and which words it relies on. Or look at a finished audit of generated messages first."
        )
    with st.container(horizontal=True):
        st.button("Audit a file", type="primary", on_click=session.go_to, args=("new_audit",))
        st.button("Look at the demonstration", on_click=_look_at_demonstration)
    with st.expander("On the command line"):
        path = Path(nothing.path)
        if not nothing.takes_an_audit:
            st.markdown("This file can't take an audit; another one can:")
            path = path.with_name(f"{free_name(path.parent, path.stem)}.sqlite")
        st.code(
            f"{program()} audit MODEL DATASET --db {shlex.quote(str(path))}\n{program()} demo",
            language="bash",
            wrap_lines=True,
        )


def _look_at_demonstration() -> None:
    """Open the demonstration where it was built; else let New audit build it."""
    if (demo_folder() / DEMO).is_file():
        session.go_to("overview", db=DEMO)
    else:
        st.session_state[DEMONSTRATION_WANTED] = True
        session.go_to("new_audit")
