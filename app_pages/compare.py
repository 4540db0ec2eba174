import shlex
from functools import partial
from typing import NamedTuple

import numpy as np
import streamlit as st

from app_components import session
from app_components.clicks import on_click
from app_components.example_list import painted_rows
from app_components.filter_line import filter_line
from app_components.navigation import end_page, keep, name_in_address
from app_components.new_audit.values import fill_from
from app_components.other_run import SPEAK, rows_of_both
from app_components.sorting import in_order
from app_components.table import Column, intervals, show_table
from saliency_core.analysis.layers.group_coherence import coherence_of_runs
from saliency_core.analysis.run_comparison import (
    KINDS,
    by_group,
    compare,
    names_of,
    verdict,
    words_between,
)
from saliency_core.errors import UserError
from saliency_core.output.charts.comparison import words_between as words_between_chart
from saliency_core.output.charts.layers import groups_by_layer
from saliency_core.program import program
from saliency_core.store import Run, Store
from saliency_core.store.query.editing import joined
from saliency_core.store.query.terms import quote

ROWS = 20


class Kind(NamedTuple):
    """A kind of examples, and what the predictions of both runs are there."""

    name: str
    meaning: str
    then: str
    now: str


SHOWN = {
    "fixed": Kind("Newly right", "Wrong before, right after.", "wrong", "right"),
    "broken": Kind("Newly wrong", "Right before, wrong after.", "right", "wrong"),
    "wrong in both": Kind("Wrong in both", "Wrong before and after.", "wrong", "wrong"),
    "right in both": Kind("Right in both", "Right before and after.", "right", "right"),
}
DIFFER = "differ"
"""The one kind of examples without labels."""

run = session.opened()


def second_audit(which: str):
    """Lead to the form of an audit of the same dataset into the same file."""

    def open_form():
        fill_from(run)
        session.go_to("new_audit")

    st.button(f"Audit this dataset with {which} model →", type="tertiary", on_click=open_form)


def chosen_runs() -> tuple[Run, Run]:
    """Let the user choose the run before and the run after; the address names both."""
    same = sorted([run.number, *session.ask(Run.comparable, run)])
    if len(same) == 1:
        st.info(
            "This database contains only one run on the dataset "
            f"“{session.escape(run.dataset.name)}”. To compare two models here, audit the dataset "
            "with a second model and save the results in this database."
        )
        second_audit("a second")
        with st.expander("On the command line"):
            st.code(
                f"{program()} audit OTHER_MODEL {shlex.quote(run.dataset.source)} "
                f"--db {shlex.quote(str(run.store.path))}",
                language="bash",
                wrap_lines=True,
            )
        end_page()
    options = [str(number) for number in same]
    place = max(same.index(run.number), 1)
    defaults = {"before": options[place - 1], "after": options[place]}
    asked = [st.session_state[keep(name, first, options)] for name, first in defaults.items()]
    if asked[0] == asked[1]:
        st.session_state.update(defaults)
        asked = list(defaults.values())
    for name, number in zip(defaults, asked, strict=True):
        # Named in any case, as the default depends on the run.
        name_in_address(name, number)
    runs = session.ask(Store.runs, run.store)
    names = {str(row.run): f"{row.run}: {session.name_of(row.model)}" for row in runs.itertuples()}

    def choose(changed: str = ""):
        """Show what was chosen; where it is the other one already, the two change places."""
        pair = dict(zip(("before", "after"), asked, strict=True))
        pair |= {changed: st.session_state[changed]} if changed else {}
        if not changed or pair["before"] == pair["after"]:
            pair = {"before": asked[1], "after": asked[0]}
        st.session_state.update(pair | {"run": pair["after"]})

    columns = st.columns([3, 3, 1], vertical_alignment="bottom")
    for column, name in zip(columns, ("before", "after"), strict=False):
        column.selectbox(
            name.capitalize(),
            options,
            key=name,
            format_func=lambda number: names.get(number, number),
            on_change=choose,
            args=(name,),
        )
    columns[2].button("Swap", on_click=choose, width="stretch")
    return run.store.run(int(asked[0])), run.store.run(int(asked[1]))


def headline(found):
    """Say which run is better, and by how much."""
    st.header(session.escape(verdict(found, *names)))
    test = found.difference
    if not test["n"]:
        return
    interval = f"{100 * test['low']:+.1f} to {100 * test['high']:+.1f}"
    tiles = {
        "Before": (f"{test['before']:.1%}", f"Accuracy of {session.escape(names[0])}."),
        "After": (f"{test['after']:.1%}", f"Accuracy of {session.escape(names[1])}."),
        "Difference": (
            f"{100 * test['difference']:+.1f} points",
            f"After minus before, in percentage points; paired 95% interval {interval}.",
        ),
    }
    for kind in ("fixed", "broken"):
        tiles[SHOWN[kind].name] = (f"{int(test[kind]):,}", SHOWN[kind].meaning)
    with st.grid(len(tiles), min_column_width=130):
        for name, (value, meaning) in tiles.items():
            st.metric(name, value, border=True, help=meaning)


def where_they_differ():
    """Show classes, metadata values and saved slices, those with the clearest difference first."""
    table = session.ask(by_group, before, after=after, where=where)
    if table.empty:
        return
    st.header(
        "Where they differ",
        help="Clearest difference first. q is the p-value of McNemar's test, corrected for the "
        "number of rows (Benjamini-Hochberg); below 0.05, a difference is unlikely to be chance.",
    )
    st.caption("Choose a row to see only its examples below.")

    def open_group(place: int):
        st.session_state.update(where=joined(where, table["filter"][place]), compare_page=1)

    points = 100 * table[["difference", "low", "high"]]
    shown = table.rename(columns={"name": "group", "part": "kind"}).assign(
        difference=points["difference"], interval=intervals(points, "{:+.1f}")
    )
    show_table(
        shown["group kind n before after difference interval q".split()],
        f"groups-{before.number}-{after.number}",
        "Accuracy of both runs by class, metadata value and saved slice",
        columns={
            "n": Column("texts", "Labelled examples for which both runs have a prediction."),
            "before": Column(names[0], "Accuracy of the “before” run.", "{:.1%}"),
            "after": Column(names[1], "Accuracy of the “after” run.", "{:.1%}"),
            "difference": Column(help="Percentage points, after minus before.", format="{:+.1f}"),
            "interval": Column("95% interval", "Of the difference."),
            "q": Column(help="Corrected p-value of McNemar's test.", format="{:.2g}"),
        },
        on_choose=open_group,
        ticks=False,
        height=300,
    )
    session.download(table, "where-they-differ")


def examples(found):
    """Show the examples of one kind, each painted by both runs."""
    counts = dict(zip(found.counts["kind"], found.counts["examples"], strict=True))
    shown = {kind: f"{SHOWN[kind].name} ({counts[kind]:,})" for kind in KINDS}
    if not sum(counts.values()):
        shown = {DIFFER: f"Predicted differently ({int(found.differs.sum()):,})"}

    kind = st.segmented_control(
        "Examples",
        list(shown),
        key=keep("kind", next(iter(shown)), shown),
        format_func=shown.__getitem__,
        required=True,
        on_change=partial(st.session_state.update, compare_page=1),
        help=" ".join(f"{kind.name}: {kind.meaning}" for kind in SHOWN.values()),
    )
    asked = SHOWN.get(kind)
    narrowed = joined(where, f"{asked.now} {asked.then}_in:{before.number}" if asked else "")
    positions = in_order(after.filter(narrowed))
    if kind == DIFFER:
        positions = positions[np.isin(positions, found.positions[found.differs])]
    if not len(positions):
        st.info("There are no examples of this kind.")
        return
    pages = max(1, -(-len(positions) // ROWS))
    page = st.pagination(pages, key="compare_page") if pages > 1 else 1
    places = positions[(page - 1) * ROWS : page * ROWS].tolist()
    st.caption(f"{SPEAK} Click a row to open it.")
    painted_rows(
        rows_of_both(before, after, places),
        key=f"compared-{before.number}-{after.number}-{kind}-{page}-{where}",
        on_open=lambda id: session.go_to(
            "example", id=id, run=after.number, other=before.number, where=narrowed, compared=where
        ),
    )

    def table():
        one, other = (side.examples_at(places) for side in (before, after))
        return one[["id", "text", "gold"]].assign(
            before=one["predicted"],
            before_confidence=one["confidence"],
            after=other["predicted"],
            after_confidence=other["confidence"],
        )

    session.download(table, "compared", "Download rows (CSV)")


def words_that_differ():
    st.header(
        "Words that one run relies on more",
        help="Mean share of the saliency in the “after” run minus that in the “before” run, with "
        "its 95% interval, each run at its recommended layer. Pale: the interval contains 0, so "
        "the difference may be chance.",
    )
    found = session.ask(words_between, before, after=after, where=where)
    if found.empty:
        st.info("No word occurs in enough of these texts.")
        return
    session.figure(
        partial(words_between_chart, found, *names),
        "Words whose share of the saliency differs most between the two runs",
        found,
        "words-between-runs",
        **on_click(
            "words-between",
            "word",
            lambda row: session.go_to(
                "errors", where=f"word:{quote(row['word'])}", run=after.number
            ),
        ),
    )
    st.caption("Click a word to see its texts.")


def coherence_between():
    st.header("Coherence", help="For every layer of both runs, with 95% intervals.")
    rows = session.ask(coherence_of_runs, run, runs=[before.number, after.number])
    if rows.empty:
        st.info("Neither run has coherence values yet.")
        return
    called = {f"run {side.number}": name for side, name in zip((before, after), names, strict=True)}
    rows = rows.assign(group=rows["group"].map(called))
    session.figure(
        partial(groups_by_layer, rows), "Coherence by layer of both runs", rows, "coherence-of-runs"
    )


before, after = chosen_runs()
names = names_of(before, after)
where = filter_line(after)
try:
    found = compare(before, after, where)
except UserError as error:
    st.error(session.escape(error))
    end_page()
if not len(found.positions):
    st.info("No example in both runs matches this filter. Remove a term to see more.")
    end_page()
headline(found)
where_they_differ()
examples(found)
left, right = st.columns(2)
with left:
    words_that_differ()
with right:
    coherence_between()
second_audit("another")
