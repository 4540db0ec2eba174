"""Decisions on many examples at once, and the history of all that was decided."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import streamlit as st

from app_components import review, session
from app_components.example_list import BulkActions
from saliency_core.errors import UserError
from saliency_core.output.export import frame_as_csv, frame_as_json_lines
from saliency_core.store import Run, Slice
from saliency_core.store.connection import day
from saliency_core.store.query.annotations import Edit

SHOWN = 20
"""Actions of the history."""


def bulk_actions(part: Slice, total: int) -> BulkActions:
    """Return what may be done to rows of a slice."""
    run, own = part.run, review.review_of(part.run)

    def act(sent: dict[str, Any] | None) -> None:
        if not sent:
            return
        # What failed is said by the list.
        with suppress(UserError):
            if "undo" in sent:
                review.take_back(run)
                return
            edits = [Edit(what, value) for what, value in sent["edits"]]
            chosen = {"where": part.where} if "all" in sent else {"ids": sent["ids"]}
            review.act(run, edits, **chosen)

    return BulkActions(
        {
            "labels": run.label_names if run.model.task == "single-label" else [],
            "tags": sorted(run.store.annotations(run.number).tags),
            "total": total,
            "said": own.said,
            "failed": own.failed,
            "canUndo": bool(own.actions),
        },
        act,
    )


def corrections(part: Slice) -> None:
    """Let the user keep what was decided on the examples of a slice."""
    with st.container(horizontal=True):
        for kind, ending, write, mime in (
            ("CSV", "csv", frame_as_csv, "text/csv"),
            ("JSON Lines", "jsonl", frame_as_json_lines, "application/jsonl"),
        ):
            session.offer(
                f"Download corrections ({kind})",
                lambda write=write: write(part.corrections()),
                f"corrections.{ending}",
                mime,
            )


def history(run: Run) -> None:
    """List the last actions, each with a button that undoes it or lets it hold again."""
    actions = session.ask(Run.actions, run, limit=SHOWN)
    if actions.empty:
        return
    with st.popover("History"):
        for row in actions.itertuples():
            said = f"{row.did} · {_chosen(row)} · {day(row.done)}"
            said = f"~~{session.escape(said)}~~" if row.undone else session.escape(said)
            with st.container(horizontal=True, vertical_alignment="center"):
                st.markdown(said, width="stretch")
                st.button(
                    "Redo" if row.undone else "Undo",
                    key=f"history-{row.action}",
                    on_click=_change,
                    args=(review.do_again if row.undone else review.take_back, run, row.action),
                )


def _chosen(action: Any) -> str:
    """Say which examples an action was on."""
    if action.where is None and action.examples == 1:
        return action.id or "one example"
    of = "selected rows" if action.where is None else f"filter {action.where}"
    examples = "1 example" if action.examples == 1 else f"{action.examples:,} examples"
    return f"{examples} · {'the whole run' if action.where == '' else of}"


def _change(change: Callable[[Run, int], Any], run: Run, action: int) -> None:
    with suppress(UserError):
        change(run, int(action))
