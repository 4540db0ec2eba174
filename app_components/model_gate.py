"""The audited model, loaded only once somebody asks for it with a click."""

from __future__ import annotations

import json
import threading
from dataclasses import asdict
from typing import TYPE_CHECKING

import streamlit as st

from app_components import session
from saliency_core.errors import UserError
from saliency_core.model.audited import classifier_of
from saliency_core.store import Run

if TYPE_CHECKING:
    from saliency_core.model.classifier import Classifier

RUNNING = threading.Lock()
"""Held while the model runs: several sessions share it, and an attribution changes its hooks."""


def audited(run: Run) -> str:
    """Return what tells the model of a run, as it was audited, from every other one.

    Answers of the model are kept by it: a run of that number in another file may be of another.
    """
    return json.dumps([asdict(run.model), asdict(run.settings)], sort_keys=True)


@st.cache_resource(max_entries=1, show_spinner="Loading the model ...", hash_funcs={Run: audited})
def loaded(run: Run, folder: str) -> Classifier:
    """Return the classifier of a run; `folder` says where it is, empty: where the run says.

    Raises:
        UserError: it is not there, or is another model.
    """
    return classifier_of(run, folder or None)


def asked_for(run: Run) -> str | None:
    """Return the folder of the loaded model ("" where the run says) once it was asked for.

    Before that a button stands here; where the model has moved, a question for its folder.
    """
    wanted = audited(run)
    if st.session_state.get("model_wanted") != wanted:
        name = session.escape(session.name_of(run.model.name))
        st.caption(
            f"The model “{name}” is needed here. Loading it takes a few seconds and some "
            "memory; only a few parts of the dashboard need it."
        )
        if st.button("Load the model", type="primary"):
            st.session_state["model_wanted"] = wanted
            st.rerun()
        return None
    folder = st.session_state.get("model_folder", "")
    try:
        with RUNNING:
            loaded(run, folder)
        return folder
    except UserError as error:
        st.warning(session.escape(error))
    with st.form("where-the-model-is"):
        st.session_state.setdefault("typed_folder", folder)
        typed = st.text_input(
            "Folder of the model", key="typed_folder", help="A folder on this machine."
        )
        if st.form_submit_button("Load it from there"):
            st.session_state["model_folder"] = typed.strip()
            st.rerun()
    return None
