"""The dashboard: page config, masthead and navigation; pages live in app_pages/."""

from pathlib import Path

import streamlit as st

from app_components import beginning, file_watch, navigation, session
from app_components.review_panel import outbox
from saliency_core.errors import UserError

WORDMARK = Path(__file__).parent / "app_components" / "wordmark.svg"
NAVIGATION_WIDTH = 200
"""Pixels."""

st.set_page_config(
    page_title="Saliency audit",
    page_icon="🔎",
    layout="wide",
    initial_sidebar_state=NAVIGATION_WIDTH,
)
st.logo(WORDMARK, size="large")
page = st.navigation(
    {
        "": [st.Page("app_pages/overview.py", title="Overview", default=True)],
        "Examples": [
            st.Page("app_pages/errors.py", title="Errors"),
            st.Page("app_pages/example.py", title="Example"),
            st.Page("app_pages/slices.py", title="Slices"),
            st.Page("app_pages/data.py", title="Data"),
        ],
        "Explanations": [
            st.Page("app_pages/words.py", title="Words"),
            st.Page("app_pages/suspects.py", title="Suspects"),
            st.Page("app_pages/what_if.py", title="What if"),
            st.Page("app_pages/layers.py", title="Layers"),
        ],
        "Audits": [
            st.Page("app_pages/compare.py", title="Compare"),
            st.Page("app_pages/new_audit.py", title="New audit"),
        ],
    },
)


def draw():
    """Draw what all pages share, and the page."""
    session.masthead(page.title)
    file_watch.watch()
    if page.title != "Example":
        outbox()
    try:
        page.run()
    except session.NothingAudited as nothing:
        beginning.offer(nothing)
    except UserError as error:
        # What a page could not foresee: the file went, was damaged or can't be written.
        st.error(session.escape(error))


navigation.run_page(page, draw)
