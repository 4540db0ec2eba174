"""What all tests of pages share."""

import pytest
import streamlit as st


@pytest.fixture(autouse=True)
def no_cached_answers():
    """Begin without what an earlier test made Streamlit remember."""
    st.cache_data.clear()
    st.cache_resource.clear()
