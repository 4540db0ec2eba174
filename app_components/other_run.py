"""Examples as two runs see them, in a comparison and beside an example that it led to."""

from __future__ import annotations

from typing import Any

import numpy as np
import streamlit as st

from app_components import session
from app_components.example_list import painted_rows
from app_components.navigation import keep
from saliency_core.analysis.example_detail import words_for_label
from saliency_core.analysis.run_comparison import names_of
from saliency_core.output.highlighting import painted_row
from saliency_core.store import Run

SPEAK = (
    "Both sides are highlighted for one class, the label: orange words support it; blue, "
    "underlined words count against it. The darkest shade marks the strongest word of the text."
)


def show_other_run(run: Run, position: int) -> None:
    """Show an example as the run sees it that the address names as the other one, if any."""
    asked = st.session_state[keep("other", "")]
    keep("compared", "")
    if not asked or asked not in map(str, session.ask(Run.comparable, run)):
        return
    other = run.store.run(int(asked))
    if other.columns.rows_of(np.array([position]))[0] < 0:
        return
    painted_rows(
        rows_of_both(other, run, [position]),
        key=f"both-{other.number}-{run.number}-{position}",
        on_open=lambda _: _back(other, run),
    )
    st.caption(SPEAK)
    st.button("Back to the comparison", type="tertiary", on_click=_back, args=(other, run))


def _back(before: Run, after: Run) -> None:
    """Return to the comparison as it was left: Example went on through one kind of its examples."""
    session.go_to(
        "compare",
        before=before.number,
        after=after.number,
        run=after.number,
        where=st.session_state["compared"],
    )


def rows_of_both(before: Run, after: Run, positions: list[int]) -> list[dict[str, Any]]:
    """Return examples as rows of `painted_rows`, each side headed by what that run says."""
    runs = (before, after)
    examples = [
        session.ask(Run.examples_at, side, positions=positions).to_dict("records") for side in runs
    ]
    words = [
        session.ask(words_for_label, side, positions=positions, layer=side.layer_to_read())
        for side in runs
    ]
    names = names_of(*runs)
    rows = []
    for sides, found in zip(zip(*examples, strict=True), zip(*words, strict=True), strict=True):
        # Each run's own facts of the example, in the words of a row.
        said = [painted_row(side, own) for side, (own, _) in zip(sides, found, strict=True)]
        columns = [row["columns"][0] for row in said]
        for name, row, column, (_, speaks) in zip(names, said, columns, found, strict=True):
            mark = "" if sides[0]["gold"] is None else " ✗" if row["wrong"] else " ✓"
            own = "" if speaks else " (highlighted for this prediction)"
            head = f"{name}: {row['predicted']} {row['confidence']}{mark}{own}"
            column.insert(0, [(head, "head", "")])
        rows.append(
            said[1]
            | {
                "gold": said[0]["predicted"],
                "wrong": False,
                "confidence": "",
                "about": f"label {said[1]['gold']}" if sides[1]["gold"] else "no label",
                "columns": columns,
            }
        )
    return rows
