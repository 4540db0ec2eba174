from functools import partial

import pandas as pd
import streamlit as st

from app_components import session
from app_components.background_command import Background
from app_components.filter_line import filter_chip, readable
from app_components.navigation import keep
from app_components.stored_form import attempt, quoted, tell
from app_components.table import Column, place_of, show_table
from saliency_core.analysis.error_slices import kept_discovered
from saliency_core.analysis.slice_comparison import compare_slices, saved_slices
from saliency_core.output.charts.slices import error_rates
from saliency_core.output.charts.words import word_bars
from saliency_core.store.query.editing import joined, rest_of
from saliency_core.store.write.annotations import delete_slice, save_slice

SHOWN_WORDS = 25
SAVED = "slice-said"
METRICS = {
    "where": Column("filter"),
    "examples": Column(help="Texts of this run in the slice."),
    "judged": Column(help="Of them, those with a label and an answer."),
    "error_rate": Column(help="Wrong answers among the judged.", format="{:.1%}"),
    "low": Column("95 % from", "Wilson's interval.", "{:.1%}"),
    "high": Column("to", "Wilson's interval.", "{:.1%}"),
    "coherence": Column(
        help="Mean over the texts at the layer that is read: do their words mean what the words of "
        "the same decision mean elsewhere?",
    ),
}

run = session.opened()
filter_chip(run)
layer = session.reading_layer(run)
background = Background(run, "slices", "discover")


def table(rows: pd.DataFrame, name: str, **columns):
    """Show a table of slices; return the place of the chosen row."""

    def choose(place: int):
        st.session_state[f"slice-{name}"] = rows["where"].iloc[place]

    chosen = place_of(rows["where"] == st.session_state[keep(f"slice-{name}", "")])
    show_table(
        rows,
        f"{name}-{run.number}-{run.store.version()}",
        f"Slices that are {name}",
        columns=METRICS | columns,
        on_choose=choose,
        chosen=chosen,
    )
    return chosen


def actions(where: str, name: str):
    """Offer what can be done with a slice."""
    with st.container(horizontal=True):
        for label, filter_of in (
            ("Its wrong answers", joined("wrong", where)),
            ("All of it", where),
        ):
            session.link(f"{label} →", "errors", key=f"{name}-{label}", where=filter_of)
        if st.button("Compare with the rest", key=f"{name}-compare", type="tertiary"):
            st.session_state["compare_a"] = where
            st.session_state["compare_b"] = rest_of(where)


def saved():
    st.subheader("Saved")
    rows = session.ask(saved_slices, run, layer=layer)
    if rows.empty:
        st.info("No slice is saved yet. Name one below, or look for some.")
    else:
        if not rows["problem"].any():
            rows = rows.drop(columns="problem")
        place = table(rows, "saved")
        session.download(rows, "slices")
        if place is not None:
            row = rows.iloc[place]
            actions(row["where"], "saved")
            st.button(
                "Delete it", key="delete-slice", on_click=attempt, args=(SAVED, lambda: delete(row))
            )
    with st.form("save-slice"):
        columns = st.columns([1, 2, 2, 1], vertical_alignment="bottom")
        columns[0].text_input("Name", key="slice_name")
        # A key of its own: the filter used last is forgotten meanwhile, what is typed is not.
        st.session_state.setdefault("slice_where", st.session_state.get("where", ""))
        columns[1].text_input(
            "Filter", key="slice_where", help="The filter you last used stands here."
        )
        columns[2].text_input("Note", key="slice_note")
        columns[3].form_submit_button("Save", on_click=attempt, args=(SAVED, save))
    tell(SAVED)


def save() -> str:
    """Save the slice that stands in the form; return what the file holds now."""
    name, where, note = (
        st.session_state[f"slice_{part}"].strip() for part in ("name", "where", "note")
    )
    known = run.store.slices().set_index("name")["where"]
    run.filter(where).check()
    save_slice(run.store.path, name, where, note)
    said = f"Saved: {session.escape(name)} is {quoted(where)}"
    said += f", {quoted(note)}." if note else "."
    if name in known.index and known[name] != where:
        said += f" It was {quoted(known[name])} before."
    return said


def delete(row: pd.Series) -> str:
    """Delete a saved slice; return what it was."""
    delete_slice(run.store.path, row["name"])
    return f"Deleted: {session.escape(row['name'])} was {quoted(row['where'])}."


def discovered():
    st.subheader("Discovered")
    st.caption(
        "Words, metadata values, lengths, labels and their pairs in which the model errs more than "
        "elsewhere (Fisher's exact test, Benjamini-Hochberg over all that were tried). Those that "
        "explain most errors come first."
    )
    state = background.follow("Looking for slices")
    found = session.ask(kept_discovered, run)
    if state != "running" and st.button(
        "Look for slices" if found is None else "Look again", key="discover"
    ):
        background.start()
    if found is None:
        return
    if found.empty:
        st.info("No slice errs more than the rest: the errors are spread evenly.")
        return
    place = table(
        found.assign(also=found["also"].map("\n".join)),
        "discovered",
        rest_error_rate=Column("rest", "Error rate of all other judged texts.", "{:.1%}"),
        risk_ratio=Column("times", "Error rate over that of the rest.", "{:.1f}x"),
        explained=Column(
            "explains",
            "Errors beyond those it would hold at the error rate of the rest.",
            "{:.0f}",
        ),
        p=Column(
            help="Chance of a rate this far above, were there no difference.", format="{:.2g}"
        ),
        q=Column(help="Smallest rate of false discoveries at which it passes.", format="{:.2g}"),
        also=Column(help="Slices that hold nearly the same errors."),
    )
    session.download(found, "discovered-slices")
    if place is not None:
        actions(found.iloc[place]["where"], "discovered")


def compared():
    st.subheader("Two side by side")
    columns = st.columns(2)
    wheres = [
        columns[place].text_input(
            f"Slice {'AB'[place]}",
            key=keep(f"compare_{'ab'[place]}", ""),
            placeholder=example,
            help="One line of the filter language.",
        )
        for place, example in enumerate(("meta.region:EU", "empty: all texts"))
    ]
    if not wheres[0]:
        st.caption("Name slice A, or choose “Compare” of a slice above.")
        return
    fields = zip(wheres, ("compare_a", "compare_b"), strict=True)
    if not all([readable(run, where, key) for where, key in fields]):
        return
    a, b = (run.filter(where) for where in wheres)
    found = session.ask(compare_slices, a, part_b=b)
    for column, name, where in zip(columns, "ab", wheres, strict=True):
        with column.container(horizontal=True):
            side_numbers(found[name], where)
    if found["a"]["judged"] and found["b"]["judged"]:
        rows = pd.DataFrame([found["a"], found["b"]])
        rows["slice"] = [f"A: {wheres[0]}", f"B: {wheres[1] or 'all texts'}"]
        session.figure(
            partial(error_rates, rows),
            "Error rates of the two slices with their intervals",
            rows,
            "error-rates",
        )
        shared = f"{found['shared']:,} texts are in both, so no test is made."
        test = f"The two rates differ with p = {found['p'] or 0:.2g} (Fisher's exact test)."
        st.caption(shared if found["p"] is None else test)
    words = found["words"].dropna(subset=["low"])
    if words.empty:
        st.info("No word is in enough texts of both to be compared.")
        return
    st.caption(
        "The words whose place among the three most salient differs most (log-odds with an "
        "informative prior); whiskers are 95 % intervals."
    )
    session.figure(
        partial(
            word_bars,
            words.head(SHOWN_WORDS),
            "difference",
            f"Mean share at layer {found['layer']}, A minus B",
        ),
        "Words whose share differs most between the two slices",
        words,
        "words-a-b",
    )


def side_numbers(side: dict, where: str):
    st.metric("Texts", f"{side['examples']:,}", border=True, help="Texts of this run in the slice.")
    rate = "no labels" if side["error_rate"] is None else f"{side['error_rate']:.1%}"
    st.metric(
        "Error rate",
        rate,
        f"{side['low']:.1%} to {side['high']:.1%}" if side["judged"] else None,
        delta_color="off",
        delta_arrow="off",
        border=True,
        help="Wrong among the judged, with Wilson's 95 % interval.",
    )
    coherence = "–" if side["coherence"] is None else f"{side['coherence']:.3f}"
    st.metric(
        "Coherence",
        coherence,
        border=True,
        help="Mean over its texts at the layer that is read.",
    )


discovered()
saved()
compared()
