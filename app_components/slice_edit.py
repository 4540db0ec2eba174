"""What a word deleted, hidden or replaced in all texts of a slice does: run, kept, shown."""

from __future__ import annotations

from functools import partial
from typing import Any

import streamlit as st

from app_components import model_gate, session
from app_components.example_list import painted_rows
from saliency_core.errors import UserError
from saliency_core.model.audited import mask_of
from saliency_core.output.charts.overview import confusion_matrix
from saliency_core.output.highlighting import painted_row
from saliency_core.shortcuts.counterfactuals import confusion_of, replace_in_slice, whole_slice
from saliency_core.store import Run
from saliency_core.store.connection import State

ROWS = 20
WAYS = ("hide", "delete", "replace")
HELP = (
    "hide: the mask token takes its place, so the model cannot see it; delete: it is removed; "
    "replace: another word takes its place."
)


@st.cache_data(max_entries=32, show_spinner="Running the model ...")
def edited(state: State, number: int, folder: str, edit: dict[str, Any], _run: Run):
    """Return summary, rows, and the accuracy of the whole slice where nothing was left out."""
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
    metric = partial(st.metric, delta_color="off", border=True)
    with st.container(horizontal=True):
        metric(
            "Texts edited",
            f"{summary['n']:,}",
            help="Texts in the filter that contain the word, up to the maximum you set.",
        )
        metric(
            "Predictions that change",
            f"{summary['flips']:,} ({summary['flip_rate']:.1%})",
            f"95% interval {summary['low']:.1%} to {summary['high']:.1%}",
            delta_arrow="off",
            help="The class with the highest probability is a different one afterwards.",
        )
        metric(
            "Average drop in probability",
            f"{100 * summary['mean_drop']:.0f} points",
            help="For the class that was predicted before; a negative value is a rise.",
        )
        for name, found in (("on these texts", summary), ("on the whole slice", whole)):
            if found and found["judged"]:
                before = found["right_before"] / found["judged"]
                after = found["right_after"] / found["judged"]
                metric(
                    f"Accuracy {name}",
                    f"{after:.1%}",
                    f"{100 * (after - before):+.1f} points, from {before:.1%}",
                    help="Share of right predictions among those with a label, with the word "
                    "edited.",
                )


def _confusions(frame, labels: list[str]) -> None:
    if not frame["gold"].notna().any():
        return
    titles = {"before": "Original texts", "after": "With the word edited"}
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
        st.info("No prediction changes.")
        return
    st.markdown("**Texts whose prediction changes**")
    st.caption("Shown with the original word. Click a text to open it.")
    pages = -(-len(flipped) // ROWS)
    page = st.pagination(pages, key=f"{key}-page") if pages > 1 else 1
    rows = flipped.iloc[(page - 1) * ROWS : page * ROWS]
    _, found = session.with_words(run, rows["example"].tolist(), session.reading_layer(run))
    painted = [
        painted_row(*one, about=f"now {row.after}; original class down {100 * row.drop:.0f} points")
        for one, row in zip(found, rows.itertuples(), strict=True)
    ]
    painted_rows(painted, f"{key}-flipped-{page}", session.open_example(""))
    session.download(flipped.drop(columns="example"), "flipped")
