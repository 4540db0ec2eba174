"""Which column of a new audit plays which role, and what the labels of the dataset mean."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from app_components import session
from app_components.new_audit.values import (
    MEANING,
    ROLES,
    choose,
    complain,
    decide,
    forget_meanings,
    key_of,
    model_labels,
    stamp_of,
    values,
)
from saliency_core.data.columns import Guess, label_columns
from saliency_core.data.dataset import preview
from saliency_core.data.labels.counts import count_labels
from saliency_core.data.labels.mapping import known_labels
from saliency_core.errors import UserError
from saliency_core.server.audit_request import NO_COLUMN, NO_LABEL
from saliency_core.server.page_words import called_by, in_page_words

SHOWN_ROWS = 8
SHOWN_LABELS = 40
"""Labels that a table of selects can hold; beyond, they must be the model's own."""
NAMES = {"text": "Text", "label": "Label", "pair": "Second text", "id": "ID"}


@st.cache_resource(max_entries=16, show_spinner="Reading the first rows ...")
def _looked(source: str, split: str, header: bool, labels: tuple[str, ...], stamp: float) -> Any:
    return preview(source, split=split or None, header=header, model_labels=labels)


def columns() -> None:
    """Let the user say which column is what, and what the labels mean."""
    found = values()
    source = found.get("source")
    if not source:
        st.caption("These settings appear once you have chosen a dataset.")
        return
    labels = model_labels()
    try:
        table = _looked(source, labels=labels, **_how_read())
    except UserError as error:
        _tell(error)
        return
    _guess(table.names, table.guesses)
    for column, (role, meaning) in zip(st.columns(4), ROLES.items(), strict=True):
        with column:
            _choose(role, meaning, table.names, table.guesses.get(role))
            complain(role)
    _show_rows(table.names, table.first)
    if found.get("label") not in (None, NO_COLUMN) and found.get("text"):
        _labels(table, labels)


def _how_read() -> dict[str, Any]:
    """Return how the file is read, and what tells it from what stood there before."""
    found = values()
    return {
        "split": found.get("split", ""),
        "header": found.get("header", True),
        "stamp": stamp_of(Path(found["source"])),
    }


def _tell(error: UserError) -> None:
    """Say why the file can't be read, in words of the page."""
    said = called_by(str(error), values()["source"], values().get("called", ""))
    st.error(session.escape(in_page_words(said)))


def _guess(names: list[str], guesses: dict[str, Guess]) -> None:
    """Fill in the columns that nobody has decided on, where a guess is sure; else leave them."""
    found = values()
    for role in ROLES:
        guess = guesses.get(role)
        if role in found.get("decided", ()) and (found.get(role) in (None, NO_COLUMN, *names)):
            continue
        nothing = None if role == "text" or (role == "label" and guess) else NO_COLUMN
        guessed = guess.column if guess is not None and guess.sure else nothing
        if guessed != found.get(role):
            choose(role, guessed)


def _choose(role: str, meaning: str, names: list[str], guess: Guess | None) -> None:
    found = values()
    found[role] = st.selectbox(
        NAMES[role],
        names if role == "text" else [NO_COLUMN, *names],
        key=key_of(role, None),
        on_change=decide,
        args=(role,),
        placeholder="Choose a column",
        help=meaning,
    )
    if guess is None:
        return
    if found[role] is None:
        perhaps = f"Perhaps **{session.escape(guess.column)}**?"
        st.caption("Several columns are possible." if role == "text" else perhaps)
    elif found[role] != NO_COLUMN and role not in found.get("decided", ()):
        by = "its name" if guess.by == "name" else "its values"
        st.caption(f"**Guessed** from {by}: please check.")


def _show_rows(names: list[str], rows: list[dict[str, Any]]) -> None:
    """Show the first rows, the chosen columns in front and named for what they are."""
    found = values()
    roles = {found[role]: NAMES[role] for role in ROLES if found.get(role) in names}
    order = [*roles, *(name for name in names if name not in roles)]
    shown = [{name: str(row.get(name, "")) for name in order} for row in rows[:SHOWN_ROWS]]
    st.dataframe(
        pd.DataFrame(shown, columns=order),
        hide_index=True,
        column_config={
            name: st.column_config.Column(f"{role}: {name}") for name, role in roles.items()
        },
    )


# Labels


@st.cache_data(max_entries=32, show_spinner="Counting the labels ...")
def _counted(source: str, text: str, label: str, split: str, header: bool, stamp: float) -> Any:
    return count_labels(source, text, label, split=split or None, header=header)


def _labels(table: Any, model_labels: tuple[str, ...]) -> None:
    """Let the user say what the labels of the dataset mean, where they are not the model's."""
    found = values()
    if not model_labels:
        st.caption("The labels are compared with the model's when the audit starts.")
        return
    try:
        counts = _counted(found["source"], found["text"], found["label"], **_how_read())
    except UserError as error:
        _tell(error)
        return
    known = known_labels(list(counts), model_labels)
    if set(known) == set(counts) and not found.get("label_map"):
        st.caption(f"The labels are the model's: {session.escape(', '.join(model_labels))}.")
        with st.expander("They mean something else"):
            same = {"label_map": {label: model_labels[known[label]] for label in counts}}
            st.button("Say what each label means", on_click=found.update, args=(same,))
        return
    if len(counts) > SHOWN_LABELS:
        st.error(
            f"The column {session.escape(found['label'])} contains {len(counts):,} labels, but "
            f"the model knows {len(model_labels)}. Choose another column for the label."
        )
    else:
        st.markdown("**What the labels of the dataset mean to the model**")
    _offer_columns(table, model_labels)
    if len(counts) <= SHOWN_LABELS:
        _meanings(counts, known, model_labels)


def _offer_columns(table: Any, model_labels: tuple[str, ...]) -> None:
    """Offer other columns, whose values are the model's labels."""
    found = values()
    used = {found.get(role) for role in ROLES}
    free = [name for name in table.names if name not in used]
    for column in label_columns(free, table.first, model_labels):
        st.button(
            f"Use the column **{session.escape(column)}** instead",
            key=f"audit_use_{column}",
            on_click=_use_column,
            args=(column,),
            help="Its values are the model's labels.",
        )


def _use_column(column: str) -> None:
    decide("label")
    choose("label", column)


def _meanings(counts: Any, known: dict[str, int], model_labels: tuple[str, ...]) -> None:
    """Let the user say what each label of the dataset means."""
    asked, means = values().get("label_map") or {}, {}
    options = [*model_labels, NO_LABEL]
    with st.container(border=True):
        for number, label in enumerate(sorted(counts)):
            left, right = st.columns([1, 1], vertical_alignment="center")
            left.markdown(f"{session.escape(label)} :gray[({counts[label]:,} rows)]")
            key = f"{MEANING}{number}"
            if key not in st.session_state:
                same = model_labels[known[label]] if label in known else None
                wanted = asked.get(label, same)
                st.session_state[key] = wanted if wanted in options else None
            means[label] = right.selectbox(
                f"Meaning of {session.escape(label)}",
                options,
                key=key,
                format_func=lambda name: name or "(no label)",
                label_visibility="collapsed",
                placeholder="Choose the model's label",
            )
    values()["label_map"] = means
    complain("label_map")
    if len(means) == 2 and set(means.values()) <= set(model_labels):
        swapped = dict(zip(means, reversed(means.values()), strict=True))
        st.button("Swap the labels", on_click=_swap, args=(swapped,))


def _swap(swapped: dict[str, str]) -> None:
    forget_meanings()
    values()["label_map"] = swapped
