"""Which column of a new audit plays which role, and what the labels of the dataset mean."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from app_components import session
from app_components.new_audit.values import (
    FIELD,
    MEANING,
    ROLES,
    Values,
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
NAMES = {"text": "Text", "label": "Label", "pair": "Second text", "id": "Id"}


@st.cache_resource(max_entries=16, show_spinner="Reading the first rows ...")
def _looked(source: str, split: str, header: bool, labels: tuple[str, ...], stamp: float) -> Any:
    return preview(source, split=split or None, header=header, model_labels=labels)


def columns() -> None:
    """Let the user say which column is what, and what the labels mean."""
    found = values()
    source = found.get("source")
    if not source:
        st.caption("Appears once you have chosen a dataset.")
        return
    labels = model_labels()
    try:
        table = _looked(
            source,
            found.get("split", ""),
            found.get("header", True),
            labels,
            stamp_of(Path(source)),
        )
    except UserError as error:
        said = in_page_words(called_by(str(error), source, found.get("called", "")))
        st.error(session.escape(said))
        return
    _guess(table.names, table.guesses)
    for column, (role, meaning) in zip(st.columns(4), ROLES.items(), strict=True):
        with column:
            _choose(role, meaning, table.names, table.guesses.get(role))
            complain(role)
    _show_rows(table.names, table.first)
    if found.get("label") not in (None, NO_COLUMN) and found.get("text"):
        _labels(table, labels)


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
            found[role] = guessed
            if role == "label":
                forget_meanings()
            st.session_state.pop(f"{FIELD}{role}", None)


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
    is_guess = role not in found.get("decided", ()) and found[role] not in (None, NO_COLUMN)
    if is_guess and guess is not None:
        by = "its name" if guess.by == "name" else "its values"
        st.caption(f"**Guessed** from {by}: please check.")
    elif found[role] is None and guess is not None and role == "text":
        st.caption("Several columns are possible.")
    elif found[role] is None and guess is not None:
        st.caption(f"Perhaps **{session.escape(guess.column)}**?")


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
        counts = _counted(
            found["source"],
            found["text"],
            found["label"],
            found.get("split", ""),
            found.get("header", True),
            stamp_of(Path(found["source"])),
        )
    except UserError as error:
        said = in_page_words(called_by(str(error), found["source"], found.get("called", "")))
        st.error(session.escape(said))
        return
    known = known_labels(list(counts), model_labels)
    asked = found.get("label_map") or {}
    if set(known) == set(counts) and not asked:
        st.caption(f"The labels are the model's: {session.escape(', '.join(model_labels))}.")
        with st.expander("They mean something else"):
            same = {label: model_labels[known[label]] for label in counts}
            st.button("Say what each label means", on_click=_ask, args=(same,))
        return
    if len(counts) > SHOWN_LABELS:
        st.error(
            f"The column {session.escape(found['label'])} contains {len(counts):,} labels, but "
            f"the model knows {len(model_labels)}. Choose another column for the label."
        )
        _offer_columns(table, model_labels)
        return
    st.markdown("**What the labels of the dataset mean to the model**")
    _offer_columns(table, model_labels)
    start = {
        label: asked.get(label, model_labels[known[label]] if label in known else None)
        for label in sorted(counts)
    }
    found["label_map"] = _selects(start, counts, model_labels)
    complain("label_map")
    means = found["label_map"]
    if len(means) == 2 and set(means.values()) <= set(model_labels):
        st.button("Swap the labels", on_click=_swap, args=(list(means),))


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
    values()["label"] = column
    st.session_state.pop(f"{FIELD}label", None)


def _selects(start: Values, counts: Any, model_labels: tuple[str, ...]) -> dict[str, str | None]:
    """Show one select per label of the dataset; return what each means."""
    means: dict[str, str | None] = {}
    options = [*model_labels, NO_LABEL]
    with st.container(border=True):
        for number, (label, wanted) in enumerate(start.items()):
            left, right = st.columns([1, 1], vertical_alignment="center")
            left.markdown(f"{session.escape(label)} :gray[({counts[label]:,} rows)]")
            key = f"{MEANING}{number}"
            if key not in st.session_state:
                st.session_state[key] = wanted if wanted in options else None
            means[label] = right.selectbox(
                f"Meaning of {session.escape(label)}",
                options,
                key=key,
                format_func=lambda name: name or "(no label)",
                label_visibility="collapsed",
                placeholder="Choose the model's label",
            )
    return means


def _ask(meant: dict[str, str]) -> None:
    values()["label_map"] = meant


def _swap(labels: list[str]) -> None:
    old = values()["label_map"]
    first, second = labels
    forget_meanings()
    values()["label_map"] = {first: old[second], second: old[first]}
