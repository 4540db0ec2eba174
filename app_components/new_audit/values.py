"""What is filled in: it outlives the widgets, which Streamlit forgets with their page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import streamlit as st

from app_components import session
from saliency_core.model.declared_labels import declared_labels
from saliency_core.paths import default_database
from saliency_core.server.audit_request import EXISTING, NO_COLUMN, AuditRequest
from saliency_core.store import Run

ROLES = {
    "text": "What the model reads.",
    "label": "The correct label; without one, right and wrong stay unknown.",
    "pair": "The second text of a pair, for models that read two.",
    "id": "A stable id of each row; without one, rows are numbered.",
}
"""Role of a column -> what it is."""

UPLOADS = "uploads"
"""The folder of what was uploaded, in that of the databases."""
FIELD = "audit_field_"
"""How the keys of widgets begin."""
MEANING = f"{FIELD}means_"
TRIED = "audit_tried"
"""Key of the session: somebody pressed Start, so that what is missing is told."""

Values = dict[str, Any]


def cache_folder() -> Path:
    """Return where uploads, jobs and new databases lie."""
    return default_database().parent.absolute()


def values() -> Values:
    """Return what is filled in; it outlives the widgets, which Streamlit forgets with the page."""
    return st.session_state.setdefault("audit_values", {})


def fill(found: Values) -> None:
    """Fill the form anew and show it; from a callback."""
    _drop(FIELD)
    st.session_state["audit_values"] = {**found, "decided": sorted(ROLES)}
    st.session_state["audit_job"] = None
    st.session_state.pop(TRIED, None)


def fill_from(run: Run) -> None:
    """Fill the form with the data of a run, for another model into the same file.

    From a callback, before New audit is opened.
    """
    dataset = run.dataset
    is_upload = UPLOADS in Path(dataset.source).parts
    fill(
        {
            "source": dataset.source,
            "called": Path(dataset.source).name or dataset.name,
            "is_upload": is_upload,
            "typed": "" if is_upload else dataset.source,
            "split": dataset.split or "",
            **{role: dataset.columns.get(role) or NO_COLUMN for role in ROLES},
            "label_map": dict(run.settings.label_map),
            "place": EXISTING,
            "into": str(run.store.path.absolute()),
        }
    )


def key_of(field: str, first: Any) -> str:
    """Return the key of a widget, which shows what is filled in."""
    key = f"{FIELD}{field}"
    if key not in st.session_state:
        kept = values().get(field)
        st.session_state[key] = first if kept in (None, "") else kept
    return key


def text(field: str, label: str, **more: Any) -> str:
    values()[field] = st.text_input(label, key=key_of(field, ""), **more).strip()
    return values()[field]


def decide(role: str) -> None:
    """Remember that a person chose a column: it is no guess any more."""
    values().setdefault("decided", []).append(role)
    if role == "label":
        forget_meanings()


def forget_meanings() -> None:
    """Forget what the labels of another column meant."""
    values().update(label_map={}, trust_labels=False)
    _drop(MEANING)


def _drop(beginning: str) -> None:
    """Let the widgets whose keys begin so start anew."""
    for key in [key for key in st.session_state if str(key).startswith(beginning)]:
        del st.session_state[key]


def choose(field: str, value: Any) -> None:
    """Fill in a field in the place of what its widget shows."""
    values()[field] = value
    st.session_state.pop(f"{FIELD}{field}", None)
    if field == "label":
        forget_meanings()


def complain(field: str) -> None:
    """Say beside a field what has to be done there, once somebody tried to start."""
    if st.session_state.get(TRIED):
        missing = AuditRequest.of(values()).missing(cache_folder())
        if field in missing:
            st.error(session.escape(missing[field]))


@st.cache_data(max_entries=32, show_spinner=False)
def _declared(model: str, stamp: float) -> tuple[str, ...]:
    return declared_labels(model)


def model_labels() -> tuple[str, ...]:
    """Return the labels of the named model, as far as its configuration tells."""
    model = values().get("model") or ""
    return _declared(model, stamp_of(Path(model) / "config.json")) if model else ()


def stamp_of(path: Path) -> float:
    return path.stat().st_mtime if path.is_file() else 0.0
