from functools import partial

import streamlit as st

from app_components import session as context
from app_components.example_list import painted_rows
from app_components.filter_line import filter_chip
from app_components.new_audit.values import fill_from
from saliency_core.analysis.layers.group_coherence import coherence_of_runs
from saliency_core.analysis.run_comparison import KINDS, compare, runs_over_the_same
from saliency_core.analysis.word_tables import contrast
from saliency_core.errors import UserError
from saliency_core.output.charts.layers import groups_by_layer
from saliency_core.output.charts.words import word_bars
from saliency_core.output.highlighting import painted_row
from saliency_core.store import Run, Store

ROWS = 20
WORDS = 25
MEANING = {
    "fixed": "Wrong in this run, right in the other.",
    "broken": "Right in this run, wrong in the other.",
    "wrong in both": "Wrong in both runs.",
    "right in both": "Right in both runs.",
}

run = context.opened()
filter_chip(run)


def second_audit():
    """Open the form, filled in but for the model."""
    fill_from(run)
    context.go_to("new_audit")


def other_run() -> tuple[Run, dict[int, str]]:
    """Let the user choose a second run over the same dataset; return it and how runs are called."""
    same = context.ask(runs_over_the_same, run)
    if not same:
        st.info(
            "This file holds one run over this dataset. Audit the dataset with a second model into "
            "the same file, then both can be compared here."
        )
        st.button("Audit with a second model", type="primary", on_click=second_audit)
        st.stop()
    runs = context.ask(Store.runs, run.store)
    names = {int(row.run): f"{row.run}: {context.name_of(row.model)}" for row in runs.itertuples()}
    options = [str(number) for number in same]
    # Not bound: Streamlit would write the label into the address, not the number.
    if st.session_state.get("other") not in options:
        asked = st.query_params.get("other")
        st.session_state["other"] = asked if asked in options else options[0]
    chosen = st.selectbox(
        "Compared with",
        options,
        key="other",
        format_func=lambda number: names.get(int(number), number),
        help="Runs over the same dataset in this file.",
    )
    st.query_params["other"] = chosen
    return run.store.run(int(chosen)), names


def counts(found):
    with st.grid(len(found.counts), min_column_width=130):
        for row in found.counts.itertuples():
            st.metric(
                row.kind.capitalize(), f"{row.examples:,}", border=True, help=MEANING[row.kind]
            )


def examples(found, other: Run):
    """Show the examples of one kind, painted by both runs."""
    kind = st.segmented_control(
        "Show", KINDS, default=KINDS[0], key="kind", bind="query-params", required=True
    )
    positions = found.of_kind(kind)
    if not len(positions):
        st.info("No example is of this kind.")
        return
    page = st.pagination(max(1, -(-len(positions) // ROWS)), key="compare_page")
    places = positions[(page - 1) * ROWS : page * ROWS].tolist()
    sides = []
    for side in (run, other):
        frame = context.ask(Run.examples_at, side, positions=places)
        words = context.ask(Run.top_words, side, positions=places, layer=side.layer_to_read())
        sides.append((frame, words))
    (before, one), (after, two) = sides
    rows = [
        painted_row(example, *words, about=f"run {other.number}: {answer} ({confidence:.3f})")
        for example, words, answer, confidence in zip(
            before.to_dict("records"),
            zip(one, two, strict=True),
            after["predicted"],
            after["confidence"],
            strict=True,
        )
    ]
    painted_rows(
        rows,
        key=f"compared-{run.number}-{other.number}-{kind}-{page}",
        on_open=context.open_example(""),
        headings=(f"run {run.number}", f"run {other.number}"),
    )
    table = before[["id", "gold", "predicted", "confidence", "text"]].assign(
        then=after["predicted"], then_confidence=after["confidence"]
    )
    context.download(table, "compared", "These rows as CSV")


def words_between(other: Run):
    st.subheader(
        "Words that gain and lose saliency",
        help="Mean share in the other run minus in this one, with 95 % interval.",
    )
    layer = run.layer_to_read()
    words = context.ask(contrast, other.filter(), part_b=run.filter(), layer=layer, minimum=5)
    words = words.reindex(words["difference"].abs().sort_values(ascending=False).index)
    context.figure(
        partial(
            word_bars,
            words.head(WORDS),
            "difference",
            f"Mean share, run {other.number} minus {run.number}",
        ),
        "Words whose share differs most between the two runs",
        words,
        "words-between-runs",
    )
    st.caption(f"At layer {layer} of both runs.")


def coherence_between(other: Run):
    st.subheader(
        "Coherence side by side",
        help="Semantic coherence of every layer of both runs, with 95 % interval.",
    )
    rows = context.ask(coherence_of_runs, run, runs=[run.number, other.number])
    if rows.empty:
        st.info("Neither run has a coherence yet.")
        return
    context.figure(
        partial(groups_by_layer, rows),
        "Coherence by layer of both runs",
        rows,
        "coherence-of-runs",
    )


other, names = other_run()
try:
    found = compare(run, other)
except UserError as error:
    st.error(context.escape(error))
    st.stop()
this, that = context.escape(names[run.number]), context.escape(names[other.number])
st.caption(f"Fixed: wrong in {this}, right in {that}. Broken: the other way round.")
counts(found)
examples(found, other)
left, right = st.columns(2)
with left:
    words_between(other)
with right:
    coherence_between(other)
