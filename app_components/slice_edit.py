"""What a word deleted, hidden or replaced in all texts of a slice does: run, kept, shown."""

from __future__ import annotations

from functools import partial
from typing import Any

import streamlit as st

from app_components import model_gate, session
from app_components.table import Column, show_table
from saliency_core.errors import UserError
from saliency_core.output.charts.overview import confusion_matrix
from saliency_core.store import Run
from saliency_core.store.connection import State

ROWS = 50
WAYS = ("hide", "delete", "replace")
HELP = (
    "hide: the mask token takes its place, so the model cannot see it; delete: it is taken out; "
    "replace: another word takes its place."
)


@st.cache_data(max_entries=32, show_spinner="Running the model ...")
def edited(state: State, number: int, folder: str, edit: dict[str, Any], _run: Run):
    """Return summary, rows, and the accuracy of the whole slice where nothing was left out."""
    from saliency_core.model.audited import mask_of
    from saliency_core.shortcuts.counterfactuals import replace_in_slice, whole_slice

    classifier = model_gate.loaded(_run, folder)
    part, limit = _run.filter(edit["where"]), edit["limit"]
    ways = {"hide": mask_of(classifier), "delete": "", "replace": edit["new"]}
    with model_gate.RUNNING:
        summary, frame = replace_in_slice(
            part, classifier, edit["word"], ways[edit["way"]], limit=limit
        )
    is_whole = limit is None or summary["n"] < limit
    return summary, frame, whole_slice(part, frame) if is_whole else None


def show(run: Run, folder: str, **edit: Any) -> None:
    """Run an edit (word, way, new, where, limit) and show what it changes."""
    try:
        found = edited(run.store.state(), run.number, folder, edit, run)
    except UserError as error:
        st.error(session.escape(error))
        return
    _numbers(*found[::2])
    _confusions(found[1], run.label_names)
    # The key holds what was edited: a selected row must never mean a row of another table.
    _flipped(run, found[1], "-".join(map(str, (run.number, *edit.values()))))


def _numbers(summary: dict, whole: dict | None) -> None:
    with st.container(horizontal=True):
        st.metric(
            "Texts edited",
            f"{summary['n']:,}",
            border=True,
            help="Texts of the filter that hold the word, at most as many as you allow.",
        )
        st.metric(
            "Answers that change",
            f"{summary['flips']:,} ({summary['flip_rate']:.1%})",
            border=True,
            help="The class with the highest probability is another one afterwards.",
        )
        st.metric(
            "95 % interval",
            f"{summary['low']:.1%} to {summary['high']:.1%}",
            border=True,
            help="Wilson's interval of the rate of answers that change.",
        )
        st.metric(
            "Mean fall of probability",
            f"{summary['mean_drop']:+.3f}",
            border=True,
            help="Of the class the model answered before.",
        )
        for name, found in (("of these texts", summary), ("of the whole filter", whole)):
            if found and found["judged"]:
                before = found["right_before"] / found["judged"]
                after = found["right_after"] / found["judged"]
                st.metric(
                    f"Accuracy {name}",
                    f"{after:.1%}",
                    f"{100 * (after - before):+.1f} points, from {before:.1%}",
                    delta_color="off",
                    border=True,
                    help="Right answers among labelled texts, with the word edited.",
                )


def _confusions(frame, labels: list[str]) -> None:
    from saliency_core.shortcuts.counterfactuals import confusion_of

    if not frame["gold"].notna().any():
        return
    titles = {"before": "As the texts are", "after": "With the word edited"}
    for column, (side, title) in zip(st.columns(2), titles.items(), strict=True):
        with column:
            st.markdown(f"**{title}**")
            cells = confusion_of(frame, side)
            session.figure(
                partial(confusion_matrix, cells, labels),
                f"Confusion matrix of the edited texts, {side}",
                cells,
                f"confusion-{side}",
            )


def _flipped(run: Run, frame, key: str) -> None:
    flipped = frame[frame["before"] != frame["after"]]
    if flipped.empty:
        st.info("No answer changes.")
        return
    page = st.pagination(max(1, -(-len(flipped) // ROWS)), key=f"{key}-page")
    rows = flipped.iloc[(page - 1) * ROWS : page * ROWS]
    texts = run.examples_at(rows["example"].tolist())["text"]
    table = rows[["gold", "before", "after", "drop", "id"]].assign(text=texts.to_numpy())

    def open_flipped(place: int):
        session.go_to("example", id=str(rows.iloc[place]["id"]), where="")

    show_table(
        table[["gold", "before", "after", "drop", "text", "id"]],
        f"{key}-flipped-{page}",
        "Texts whose answer changes",
        columns={"drop": Column("fall", "Fall of the probability of the answer before.")},
        on_choose=open_flipped,
        ticks=False,
    )
    st.caption("Choose a row to open the example.")
    session.download(flipped.drop(columns="example"), "flipped")
