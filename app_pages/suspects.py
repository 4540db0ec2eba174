from functools import partial

import streamlit as st

from app_components import debias_panel, model_gate, session, slice_edit
from app_components.background_command import Background
from app_components.clicks import on_click
from app_components.filter_line import filter_chip, readable
from app_components.navigation import arrives, end_page, keep
from app_components.table import Column, place_of, show_table
from app_components.verdict_panel import VerdictPanel
from saliency_core.analysis.features import WORD
from saliency_core.analysis.kept_suspects import ASSESSMENTS, NONE, kept_suspects
from saliency_core.output.charts.suspects import MAX_POINTS, SUSPECT_FACTS, suspect_points
from saliency_core.server.commands import as_options
from saliency_core.shortcuts.presentation import (
    HONEST,
    SORTS,
    companion,
    counts,
    evidence,
    filtered,
    name_of,
    numbers,
    places_of,
    sanity_check,
    shown,
    with_judgements,
)
from saliency_core.store.query.terms import VERDICTS

ROWS = 25
ANY = "all"
HELP = {
    "Association": "Does the word go with the class in the labels? z is the distance of its rate "
    "from the class's rate in all texts, in standard errors (Gardner et al. 2021).",
    "Reliance": "How much of the saliency does the word take where the class is predicted?",
    "Effect": "How often does the prediction change when the word is deleted? Measuring this runs "
    "the model, so it is known only for the strongest suspects.",
    "Errors": "Is the class predicted wrongly more often with the word than without it? 1 means "
    "the same rate.",
}

run = session.opened()
filter_chip(run)
st.caption(f"Words and other features that may give a class away without being about it. {HONEST}")
if run.model.task != "single-label":
    st.info(
        "Suspects need a classifier with one label per example; this model gives several labels, "
        "or a number."
    )
    end_page()
background = Background(run, "suspects")


def look(first: bool):
    """Ask how to look for suspects, and start."""
    with st.form("look", border=not first):
        columns = st.columns(3)
        train = columns[0].text_input(
            "Training data (optional)",
            help="A file or folder on this machine, or the name of a Hugging Face dataset. The "
            "association is then measured there, and the difference from the audited texts is "
            "shown.",
        )
        words = columns[1].text_input(
            "Always test these words", help="Separated by spaces; optional."
        )
        st.session_state.setdefault("look_folder", st.session_state.get("model_folder", ""))
        folder = columns[2].text_input("Model folder, if it has moved", key="look_folder")
        if st.form_submit_button("Find shortcuts", type="primary"):
            options = as_options({"train": train.strip(), "model": folder.strip()})
            background.start(*(f"--word={word}" for word in words.split()), *options)


state = background.follow("Looking for suspects")
found = session.ask(kept_suspects, run)
if found is None:
    if state != "running":
        st.info(
            "This run has not been searched for suspects yet. The search takes a few minutes and "
            "runs in the background; its results are saved in this database."
        )
        look(first=True)
    end_page()
table, control = with_judgements(found[0], run.verdicts()), found[1]
said, shuffled = sanity_check(control)
st.caption(said, help=f"{shuffled} Saliency of layer {control['layer']}.")

number = counts(table)
st.markdown(
    " · ".join(
        f"**{count:,}** {'with no evidence' if name == NONE else name}"
        for name, count in number.items()
        if count
    )
)
if state != "running":
    with st.expander("Search again, with training data or other words"):
        look(first=False)

# Filters

first_page = partial(st.session_state.update, suspects_page=1)


def picker(label: str, key: str, options, width: int, **more) -> str | None:
    """Show a select box whose first option lets everything through."""
    options = [ANY, *options]
    key = keep(key, ANY, options)
    chosen = st.selectbox(label, options, key=key, on_change=first_page, width=width, **more)
    return None if chosen == ANY else chosen


with st.container(horizontal=True):
    choices = {
        "assessment": picker(
            "Assessment",
            "suspect_assessment",
            ASSESSMENTS,
            180,
            format_func=lambda name: name if name == ANY else f"{name} ({number[name]:,})",
            help="Relied on: more salient than frequency-matched words, and deleting it lowers "
            "the probability of the class more than deleting such a word does. Harmful: "
            "predictions of the class are also wrong more often with it. In the data only: the "
            "labels go with it, but the model does not rely on it.",
        ),
        "class_name": picker("Class", "suspect_class", run.label_names, 110),
        "kind": picker("Kind", "suspect_kind", sorted(table["kind"].unique()), 100),
        "judgement": picker("Your verdict", "suspect_judgement", VERDICTS, 105),
        "text": st.text_input(
            "Feature contains", key=keep("suspect_text", ""), on_change=first_page, width=110
        ),
        "sort": st.selectbox(
            "Sort by",
            SORTS,
            key=keep("suspect_sort", next(iter(SORTS)), SORTS),
            on_change=first_page,
            width=115,
        ),
    }
rows = filtered(table, **choices)
if rows.empty:
    st.info("No suspect matches these choices. Choose “all” in one of them to see more.")
    end_page()

# Table and scatter


def choose(row):
    st.session_state.update(suspect=row["feature"], of=row["class"])


asked = [st.session_state[keep(name, "")] for name in ("suspect", "of")]
hits = table[(table["feature"] == asked[0]) & (table["class"] == asked[1])]
current = (hits if len(hits) else rows).iloc[0].to_dict()
list_side, evidence_side = st.columns([12, 9], gap="medium")
with list_side:
    pages = max(1, -(-len(rows) // ROWS))
    # A link that names a suspect opens the page of the list that it stands on.
    is_current = (rows["feature"] == current["feature"]) & (rows["class"] == current["class"])
    first = (place_of(is_current) or 0) // ROWS + 1 if arrives() else 1
    page = st.pagination(pages, key=keep("suspects_page", first, range(1, pages + 1)))
on_page = slice((page - 1) * ROWS, page * ROWS)
page_rows = rows.iloc[on_page]
key = "-".join(map(str, ("suspects", run.number, page, *choices.values())))
with list_side:
    show_table(
        shown(page_rows),
        key,
        "Suspects, strongest first",
        columns={
            "assessment": Column(
                "assessment", "What the rule concludes from the four kinds of evidence."
            ),
            "flip_rate": Column("effect", HELP["Effect"], "{:.0%}"),
            "wrong_rate": Column(
                "wrong",
                "Share of wrong predictions among those of the class in texts with it.",
                "{:.0%}",
            ),
            "judgement": Column("your verdict"),
        },
        on_choose=lambda place: choose(page_rows.iloc[place]),
        chosen=place_of(is_current.iloc[on_page]),
        height=560,
    )
    st.caption(
        f"{len(rows):,} of {len(table):,} pairs of a feature and a class. Choose a row to see "
        "its evidence. ↳ marks a suspect tied to the nearest unmarked one above: it occurs only in "
        "texts that also contain that one, or most of its wrong predictions are in such texts."
    )
    session.download(rows, "suspects", "Download suspects (CSV)")


def show_evidence(row: dict):
    """Show everything known of one suspect, and where its examples are."""
    name = session.escape(name_of(row["feature"], row["kind"]))
    st.header(f"{name} → {session.escape(row['class'])}: {row['assessment']}")
    if beside := companion(row):
        st.info(session.escape(beside))
    for kind_of, (sentence, statistics) in evidence(row).items():
        st.markdown(
            f"**{kind_of}.** {session.escape(sentence)}", help=f"{HELP[kind_of]} {statistics}"
        )
    with st.container(horizontal=True):
        places = places_of(row)
        for label, count, where in places:
            session.link(f"{label} ({count:,}) →", "errors", key=f"place-{label}", where=where)
        if not places:
            st.caption(
                "The filter language has no term for this feature, so there is nothing to open."
            )
    VerdictPanel(run, row["feature"], row["class"]).show()


with evidence_side:
    show_evidence(current)
st.header("Association and reliance")
st.caption(
    "At the top right are features that both the labels and the model tie to the class. Size: "
    "how many examples contain the feature. Colour: how many predictions change when it is "
    "deleted (hollow: not measured). Click a point for its evidence."
    + f" Only the {MAX_POINTS:,} highest-ranked pairs are shown."
    * (len(rows) > MAX_POINTS)
)
session.figure(
    partial(suspect_points, rows[SUSPECT_FACTS], (current["feature"], current["class"])),
    "Association and reliance of the suspects; size is support, colour the effect",
    rows,
    "suspects-scatter",
    **on_click(f"scatter-{key}", "mark", choose),
)
with st.expander("All numbers for these suspects"):
    interval = "Examples and 95% interval. "
    show_table(
        numbers(page_rows),
        f"numbers-{key}",
        "All numbers, by feature",
        columns={
            "share_by_layer": Column(
                help="Mean share of the saliency, from the embeddings to the last block."
            ),
            "z": Column("association (z)", HELP["Association"], "{:.1f}"),
            "association": Column(
                "labelled as the class",
                f"{interval}Share of the texts with it that have the class as their label.",
            ),
            "mean_share": Column("reliance", HELP["Reliance"], "{:.1%}"),
            "reliance": Column("reliance: 95% interval", interval),
            "flip_rate": Column("effect", HELP["Effect"], "{:.1%}"),
            "effect": Column("effect: 95% interval", interval),
            "risk_ratio": Column("errors, times the usual rate", HELP["Errors"], "{:.2f}"),
            "errors": Column("errors: 95% interval", interval),
        },
    )


def hide(row: dict):
    """Say what would change if the model could not see a word."""
    st.header(f"If the model could not see “{session.escape(row['feature'])}”")
    st.caption("Shows which predictions would change, and the accuracy without the word.")
    folder = model_gate.asked_for(run)
    if folder is None:
        return
    columns = st.columns([3, 1], vertical_alignment="bottom")
    where = columns[0].text_input(
        "Only texts that match this filter",
        key=keep("hide_where", ""),
        placeholder="leave empty for all texts",
    )
    limit = columns[1].number_input(
        "Maximum number of texts", 1, value=1000, step=100, key="hide_limit"
    )
    edit = {"word": row["feature"], "way": "hide", "new": "", "where": where, "limit": int(limit)}
    if readable(run, where, "hide_where") and st.button("Hide it"):
        st.session_state["hidden"] = (run, edit)
    if st.session_state.get("hidden") == (run, edit):
        slice_edit.show(run, folder, **edit)


is_word = current["kind"] == WORD
if is_word:
    hide(current)
debias_panel.show(run, current["feature"] if is_word else None)
