"""The form of a new audit. What was filled in stays, whatever page one goes to and comes from."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from app_components import session
from app_components.new_audit.cards import begin
from app_components.new_audit.columns import columns
from app_components.new_audit.values import (
    FIELD,
    ROLES,
    TRIED,
    UPLOADS,
    cache_folder,
    choose,
    complain,
    key_of,
    stamp_of,
    text,
    values,
)
from saliency_core.errors import UserError
from saliency_core.paths import default_database
from saliency_core.server import commands
from saliency_core.server.audit_request import EXISTING, NEW, AuditRequest, free_name
from saliency_core.server.page_words import in_page_words
from saliency_core.store import Store

ENDINGS = ["csv", "tsv", "txt", "jsonl", "json", "parquet", "arrow", "xlsx", "gz", "zip"]
TABLES = (".csv", ".tsv", ".xlsx", ".csv.gz", ".tsv.gz", ".csv.zip")
"""Endings of files whose first line may be no header."""


def form() -> None:
    st.header("1. Dataset", anchor=False)
    _dataset()
    st.header("2. Model", anchor=False)
    _model()
    st.header("3. Columns and labels", anchor=False)
    columns()
    st.header("4. Where the results go", anchor=False)
    _place()


# The dataset


def _took_upload() -> None:
    """Keep a file that was uploaded, or forget it."""
    file = st.session_state["audit_upload"]
    try:
        kept = file and commands.keep_upload(cache_folder() / UPLOADS, file.name, file.getvalue())
    except UserError as error:
        st.session_state["audit_upload_failed"] = str(error)
        return
    _set_source(str(kept) if kept else "", file.name if file else "", is_upload=bool(file))


def _typed_source() -> None:
    typed = commands.absolute(st.session_state[f"{FIELD}typed"].strip())
    if typed:
        _set_source(typed, Path(typed).name or typed)
    elif not values().get("is_upload"):
        _set_source("", "")


def _set_source(source: str, called: str, is_upload: bool = False) -> None:
    """Start with another source: nothing is known of its columns."""
    if source == values().get("source"):
        return
    values().update(source=source, called=called, is_upload=is_upload, decided=[])
    values().update(dict.fromkeys(ROLES) | {"label_map": {}, "trust_labels": False, "name": ""})
    for field in ("name", "header", "split", *ROLES):
        st.session_state.pop(f"{FIELD}{field}", None)


def _dataset() -> None:
    upload, path = st.columns(2)
    with upload:
        st.file_uploader(
            "Upload a file",
            type=ENDINGS,
            key="audit_upload",
            on_change=_took_upload,
            help="It is copied into the cache folder of this machine and goes nowhere else.",
        )
        if failed := st.session_state.pop("audit_upload_failed", ""):
            st.error(session.escape(in_page_words(failed)))
        if values().get("is_upload") and not st.session_state.get("audit_upload"):
            st.caption(f"Already uploaded: **{session.escape(values()['called'])}**")
    with path:
        text(
            "typed",
            "or enter the path of a file or folder, or the name of a Hugging Face dataset",
            on_change=_typed_source,
            placeholder="/data/reviews.csv or imdb",
        )
    complain("source")
    source = values().get("source", "")
    if not source:
        return
    is_file = Path(source).is_file()
    with st.container(horizontal=True, vertical_alignment="bottom"):
        if not is_file:
            text("split", "Split", help="train, test, ...", placeholder="test", width=200)
        if is_file and source.lower().endswith(TABLES):
            header = st.toggle(
                "The first line contains the column names", key=key_of("header", True)
            )
            values()["header"] = header
        values()["limit"] = st.number_input(
            "Rows to audit",
            1,
            value=None,
            step=100,
            key=key_of("limit", None),
            placeholder="all",
            width=200,
            help="Audits the first rows only; leave empty for all.",
        )


# The model


def _model() -> None:
    classifier, pretrained = st.columns(2)
    with classifier:
        _choose_model(
            "model",
            "Classifier",
            placeholder="/models/reviews or distilbert-base-uncased-finetuned-sst-2-english",
            help="A folder on this machine, or a name on the Hugging Face Hub. Those used before "
            "are listed.",
        )
        complain("model")
    with pretrained:
        _choose_model(
            "lm_head",
            "Pretrained language model it was fine-tuned from (optional)",
            placeholder="bert-base-uncased",
            help="Decodes the layers into words. Without it, the model's own input embeddings are "
            "used, which is less accurate.",
        )


def _choose_model(field: str, label: str, **more: str) -> None:
    """Let the user choose a model that was used before, or name another."""
    first = values().get(field) or None
    # The newest first.
    recent = [job.form.get(field) for job in commands.jobs(cache_folder() / "jobs")]
    chosen = st.selectbox(
        label,
        [name for name in dict.fromkeys([*recent, first]) if name],
        key=key_of(field, first),
        accept_new_options=True,
        **more,
    )
    values()[field] = commands.absolute((chosen or "").strip())


# Where it goes


@st.cache_data(max_entries=64, show_spinner=False)
def _holds_runs(path: str, stamp: float) -> bool:
    try:
        return bool(len(session.ask(Store.runs, session.store_at(path))))
    except UserError:
        return False


def _existing_databases() -> list[str]:
    """Return the files that an audit may be added to."""
    return [
        str(Path(path).absolute())
        for path in session.databases()
        if Path(path).is_file() and _holds_runs(path, stamp_of(Path(path)))
    ]


def _place() -> None:
    found = values()
    if there := _existing_databases():
        found["place"] = st.radio(
            "Save the results in",
            [NEW, EXISTING],
            key=key_of("place", NEW),
            horizontal=True,
            help="Runs on the same dataset in one database can be compared on the Compare page.",
        )
    else:
        found["place"] = NEW
    if found["place"] == EXISTING:
        found["into"] = st.selectbox(
            "Database",
            there,
            key=key_of("into", there[0]),
            format_func=lambda path: Path(path).name,
            width=400,
        )
        complain("into")
        return
    if not found.get("name"):
        choose("name", _proposed_name(found.get("called", "")))
    text("name", "Name of the new database", width=400)
    complain("name")


def _proposed_name(called: str) -> str:
    """Return the default database's name where it is still to come, else the dataset's."""
    default = default_database()
    if not default.exists():
        return default.stem
    return free_name(cache_folder(), called.partition(".")[0]) if called else ""


def start_button() -> None:
    """Show the button that starts the audit, whatever is still missing, and say what is."""
    tries = {TRIED: True}
    is_asked = st.button("Start", type="primary", on_click=st.session_state.update, kwargs=tries)
    request = AuditRequest.of(values())
    missing = request.missing(cache_folder())
    if is_asked and not missing:
        st.session_state.pop(TRIED, None)
        begin(request)
        st.rerun()
    if missing and st.session_state.get(TRIED):
        st.warning(f"Before the audit can start: {session.escape(' '.join(missing.values()))}")
