"""The order of a list of examples: chosen on Errors, followed by Previous and Next on Example."""

from __future__ import annotations

import numpy as np
import streamlit as st

from app_components import session
from app_components.navigation import keep
from saliency_core.store import Slice

ROWS = 50
"""Examples of a list on one page."""
SORTS = {
    "most confident": ("confidence", True),
    "least confident": ("confidence", False),
    "closest call": ("margin", False),
    "least coherent": ("coherence", False),
    "most coherent": ("coherence", True),
    "longest": ("length", True),
    "shortest": ("length", False),
    "least plausible label": ("label_quality", False),
    "dataset order": ("position", False),
}
"""What a list is sorted by, and whether downwards, by its name on the page."""


def keep_sort() -> str:
    """Keep the order of lists in the address; return the key of its widget."""
    return keep("sort", next(iter(SORTS)), SORTS)


def chosen_sort() -> str:
    """Return the name of the order that was chosen."""
    return st.session_state[keep_sort()]


def in_order(part: Slice) -> np.ndarray:
    """Return the positions of a slice in the order that was chosen."""
    sort, descending = SORTS[chosen_sort()]
    if sort == "label_quality" and part.run.quality(sort) is None:
        st.caption(
            "The labels of this run have not been checked yet (page Data), so the most confident "
            "predictions come first."
        )
        sort, descending = next(iter(SORTS.values()))
    return session.order(part, sort, descending)
