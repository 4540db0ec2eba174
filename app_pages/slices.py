from functools import partial

import pandas as pd
import streamlit as st

from app_components import session
from app_components.background_command import Background
from app_components.clicks import attempt, quoted, tell
from app_components.filter_line import filter_chip, readable
from app_components.navigation import keep
from app_components.table import Column, intervals, remembered, show_table
from saliency_core.analysis.error_slices import kept_discovered
from saliency_core.analysis.run_comparison import ALPHA
from saliency_core.analysis.slice_comparison import (
    compare_slices,
    saved_slices,
    settled_prediction,
    without_settling,
)
from saliency_core.analysis.word_tables import telling
from saliency_core.errors import UserError
from saliency_core.output.charts.comparison import error_rates
from saliency_core.output.charts.words import word_bars
from saliency_core.store.query.editing import joined, rest_of
from saliency_core.store.query.parser import parse
from saliency_core.store.query.tree import terms_of
from saliency_core.store.query.wording import in_words
from saliency_core.store.write.annotations import delete_slice, save_slice
from saliency_core.words import is_spoken

SAVED = "slice-said"
METRICS = {
    "slice": Column("examples where"),
    "where": Column("filter"),
    "examples": Column(help="Texts of this run in the slice."),
    "error_rate": Column(
        help="Share of wrong predictions among those with a label.", format="{:.1%}"
    ),
    "interval": Column("95% interval", "Wilson's interval of the error rate."),
    "coherence": Column(
        help="Mean over the texts at the layer shown: how similar in meaning are their salient "
        "words to those of other texts with the same prediction?",
    ),
    "problem": Column("remark"),
}
SMALLEST_P = 0.001
LONGEST_NAME = 60
"""Characters of the name under which a discovered slice is saved."""

run = session.opened()
filter_chip(run)
layer = session.reading_layer(run)
background = Background(run, "slices", "discover")
compared_under: list[str] = []
"""Names of the tables under which the comparison stands already."""


def table(rows: pd.DataFrame, shown: pd.DataFrame, which: str, **columns) -> int:
    """Show a table of slices; return the place of the chosen row, the first one at first."""
    chosen, choose = remembered(keep(f"slice-{which}", ""), rows["where"])
    st.caption(
        "Choose a row. The buttons below the table open its examples or compare it with all other "
        "texts."
    )
    show_table(
        shown,
        f"{which}-{run.number}-{run.store.version()}",
        f"Slices that are {which}",
        columns=METRICS | columns,
        on_choose=choose,
        chosen=chosen or 0,
    )
    return chosen or 0


def compare(where: str, name: str):
    """Set a slice against the rest; the answer stands under the table it was chosen in."""
    st.session_state.update(compare_a=where, compare_b=rest_of(where), compare_under=name)


def actions(where: str, name: str, saved_as: str = ""):
    """Offer what can be done with the chosen slice."""
    st.markdown(f"**{session.escape(in_words(where))}**")
    with st.container(horizontal=True):
        for label, filter_of in (
            ("Wrong predictions", joined("wrong", where)),
            ("All examples", where),
        ):
            session.link(f"{label} →", "errors", key=f"{name}-{label}", where=filter_of)
        st.button(
            "Compare with the rest",
            key=f"{name}-compare",
            type="tertiary",
            on_click=compare,
            args=(where, name),
        )
        if name == "discovered":
            known = run.store.slices().set_index("where")["name"]
            is_saved = where in known.index
            st.button(
                f"Saved as {session.escape(known[where])}" if is_saved else "Save this slice",
                key="save-discovered",
                disabled=is_saved,
                on_click=attempt,
                args=(
                    "discovered-said",
                    partial(save_as, in_words(where)[:LONGEST_NAME], where, ""),
                ),
            )
        else:
            st.button(
                "Delete slice",
                key="delete-slice",
                on_click=attempt,
                args=(SAVED, partial(delete, saved_as)),
            )
    if name == "discovered":
        tell("discovered-said")
    if st.session_state.get("compare_under") == name:
        compared_under.append(name)
        compared()


def saved():
    st.header("Saved slices")
    rows = session.ask(saved_slices, run, layer=layer)
    if rows.empty:
        st.info("No slices have been saved yet. Define one below, or save a discovered one.")
    else:
        right, wrong = (session.counted(run.filter(term)) for term in ("right", "wrong"))
        if right + wrong:
            st.caption(
                f"Highest error rate first. Of all {right + wrong:,} predictions with a label, "
                f"{wrong / (right + wrong):.1%} are wrong."
            )
        shown = rows.assign(interval=intervals(rows))
        names = ["name", "where", "examples", "error_rate", "interval", "coherence", "note"]
        if rows["problem"].any():
            names.insert(5, "problem")
        place = table(
            rows, shown[names], "saved", name=Column(help="In a filter, write slice:NAME.")
        )
        session.download(rows, "slices")
        actions(rows["where"].iloc[place], "saved", rows["name"].iloc[place])
    with st.form("save-slice"):
        columns = st.columns([1, 2, 2, 1], vertical_alignment="bottom")
        columns[0].text_input("Name", key="slice_name")
        # A key of its own: the filter used last is forgotten meanwhile, what is typed is not.
        st.session_state.setdefault("slice_where", last_filter())
        columns[1].text_input(
            "Filter",
            key="slice_where",
            help="Starts with the filter you last used, without `wrong`: the error rate of a "
            "filter that asks for wrong predictions tells you nothing.",
        )
        columns[2].text_input("Note", key="slice_note")
        columns[3].form_submit_button("Save", on_click=attempt, args=(SAVED, save))
    tell(SAVED)


def last_filter() -> str:
    """Return the filter used last, of right and wrong predictions alike."""
    where = st.session_state.get("where", "")
    try:
        return without_settling(where)
    except UserError:
        return where


def save() -> str:
    """Save the slice that stands in the form, and empty it."""
    said = save_as(
        *(st.session_state[f"slice_{part}"].strip() for part in ("name", "where", "note"))
    )
    st.session_state.update(slice_name="", slice_where="", slice_note="")
    return said


def save_as(name: str, where: str, note: str) -> str:
    """Save a slice; return what the file holds now."""
    known = run.store.slices().set_index("name")["where"]
    part = run.filter(where)
    part.check()
    save_slice(run.store.path, name, where, note)
    said = f"Saved “{session.escape(name)}”: filter {quoted(where)}"
    said += f", note {quoted(note)}." if note else "."
    if name in known.index and known[name] != where:
        said += f" Its filter was {quoted(known[name])} before."
    if settled := settled_prediction(part):
        said += f" Its filter asks for {settled} predictions, so it has no error rate."
    return said


def delete(name: str) -> str:
    """Delete a saved slice; return what it was."""
    where = run.store.slices().set_index("name").at[name, "where"]
    delete_slice(run.store.path, name)
    return f"Deleted “{session.escape(name)}” (filter {quoted(where)})."


def discovered():
    st.header("Discovered slices")
    st.caption(
        "Slices (by word, metadata value, length or label, or a combination of two) in which the "
        "model is wrong more often than elsewhere. Those that account for the most errors come "
        "first.",
        help="Fisher's exact test, corrected for all slices tried (Benjamini-Hochberg). p and q "
        "are in the CSV.",
    )
    state = background.follow("Looking for slices")
    found = session.ask(kept_discovered, run)
    if state != "running" and st.button(
        "Look for slices" if found is None else "Search again", key="discover"
    ):
        background.start()
    if found is None:
        return
    if found.empty:
        st.info(
            "In no slice is the model wrong more often than elsewhere: the errors are spread "
            "evenly."
        )
        return
    shown = found.assign(slice=found["where"].map(in_words), interval=intervals(found))
    names = "slice examples errors error_rate interval rest_error_rate risk_ratio explained where"
    place = table(
        found,
        shown[names.split()],
        "discovered",
        errors=Column("wrong"),
        rest_error_rate=Column("elsewhere", "Error rate of all other texts.", "{:.1%}"),
        risk_ratio=Column("ratio", "Error rate divided by that of all other texts.", "{:.1f}"),
        explained=Column(
            "excess errors", "Errors beyond those expected at the error rate of the rest.", "{:.0f}"
        ),
    )
    session.download(found, "discovered-slices")
    also = [session.escape(in_words(where)) for where in filter(spoken, found["also"].iloc[place])]
    if also:
        st.caption(
            f"Not listed: *{'*; *'.join(also)}*, with nearly the same errors as the chosen slice."
        )
    actions(found["where"].iloc[place], "discovered")


def spoken(where: str) -> bool:
    """Tell a filter from one of a punctuation mark, which older runs kept."""
    return not any(
        term.field == "word" and not any(is_spoken(value.text) for value in term.values)
        for term in terms_of(parse(where))
    )


def compared():
    st.header("Compare two slices")
    columns = st.columns(2)
    wheres = [
        columns[place].text_input(
            f"Slice {'AB'[place]}",
            key=keep(f"compare_{'ab'[place]}", ""),
            placeholder=example,
            help="A filter, as on the other pages.",
        )
        for place, example in enumerate(("meta.region:EU", "leave empty for all texts"))
    ]
    if not wheres[0]:
        st.caption(
            "Enter a filter for slice A, or choose “Compare with the rest” for a slice above."
        )
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
        rows["slice"] = [f"A: {in_words(wheres[0])}", f"B: {other_side(*wheres)}"]
        session.figure(
            partial(error_rates, rows),
            "Error rates of the two slices with their intervals",
            rows,
            "error-rates",
        )
        shared = f"{found['shared']:,} texts are in both, so the two rates are not tested."
        p = found["p"] or 0.0
        chance = "p < 0.001" if p < SMALLEST_P else f"p = {p:.2g}"
        differ = "differ" if p < ALPHA else "do not clearly differ"
        test = f"The two rates {differ} ({chance}, Fisher's exact test)."
        st.caption(shared if found["p"] is None else test)
    words = telling(found["words"])
    if words.empty:
        st.info("No word's share differs between A and B beyond chance.")
        return
    session.figure(
        partial(
            word_bars,
            words[["word", "difference", "low", "high", "z"]],
            "difference",
            f"Share of the saliency at layer {found['layer']}: A minus B",
        ),
        "Words whose share differs most between the two slices",
        found["words"],
        "words-a-b",
    )
    st.caption(
        "Words that are more often among a text's three strongest in A come first (by z), those "
        "more often in B last. Whiskers are 95% intervals; words whose difference may be chance "
        "are left out."
    )


def other_side(a: str, b: str) -> str:
    """Return what slice B is called beside slice A."""
    if not b:
        return "all texts"
    return "everything else" if b == rest_of(a) else in_words(b)


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
        help="Share of wrong predictions among those with a label, with Wilson's 95% interval.",
    )
    coherence = "–" if side["coherence"] is None else f"{side['coherence']:.3f}"
    st.metric("Coherence", coherence, border=True, help="Mean over its texts at the layer shown.")


discovered()
saved()
if not compared_under:
    compared()
