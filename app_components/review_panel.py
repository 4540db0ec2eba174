"""The text of an example, and beside it keys and buttons that decide on it and lead on.

The browser holds the next examples already and shows each decision at once; the script stores what
was decided and draws the rest of the page when it gets to it. So no key waits for the script, and
none is lost: what is not acknowledged here is sent again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import numpy as np
import streamlit as st

from app_components import review, session
from app_components.component import component
from saliency_core.errors import UserError
from saliency_core.output.highlighting import COLOURS, painted_row
from saliency_core.store import Run, Slice
from saliency_core.store.query.annotations import Edit

BEHIND, AHEAD = 5, 40
"""Examples beside the shown one that the browser has."""
CHARACTERS = 60_000
"""Of their texts together, so that long ones are not sent by the dozen."""
ACKNOWLEDGED = 500
"""Edits that are remembered as stored, should they be sent again."""

_component = component(__file__, "review_panel", "review", COLOURS)


@dataclass
class Panel:
    """What a session knows of the panel of one run."""

    run: Run
    turn: int = 0
    """Moves of the browser that the page has followed."""
    stored: dict[str, int | None] = field(default_factory=dict)
    """Edit -> the action that it made; None where it changed nothing."""
    storing: Lock = field(default_factory=Lock)
    """Held while edits are stored: a rerun begins before the one it replaces has ended, and what
    the browser had no answer to comes with both."""


def _panels() -> dict[str, Panel]:
    return st.session_state.setdefault("review-panels", {})


def review_panel(
    part: Slice, order: np.ndarray, shown: dict[str, Any], layer: int, named: str
) -> None:
    """Show an example, painted, with what analysts may say of it.

    Args:
        part: the slice whose examples are gone through.
        order: their positions as they are gone through.
        shown: row of `painted_row` of the example on show, with its position as `example`.
        layer: that the texts beside it are painted at.
        named: what the list is, after "3 of 72".
    """
    run = part.run
    name = f"panel-{session.here(run)}"
    state = _panels().setdefault(name, Panel(run))
    own = review.review_of(run)
    place = np.flatnonzero(order == shown["example"])
    first, rows = (
        _beside(run, order, int(place[0]), shown, layer) if len(place) else (None, [shown])
    )
    for row, held in zip(rows, run.annotations_at([row["example"] for row in rows]), strict=True):
        row |= {name: held[name] for name in ("decision", "label", "note", "tags")}
    _component(
        data={
            "name": name,
            "rows": rows,
            "at": shown["id"],
            "first": first,
            "total": len(order),
            "named": named,
            "labels": run.label_names if run.model.task == "single-label" else [],
            "turn": state.turn,
            "acked": list(state.stored),
            "said": own.said,
            "hasOlder": own.said == review.OLDER,
            "failed": own.failed,
            "progress": {"text": review.progress_sentence(part)},
        },
        key=name,
        default={"sent": None},
        on_sent_change=lambda: _receive(state, st.session_state[name]["sent"]),
        on_older_change=lambda: session.go_to("errors", where=part.where),
    )


def outbox() -> None:
    """On a page without a panel, take what one that was left had still to send; shows nothing."""
    panels = _panels()
    if not panels:
        return

    def receive() -> None:
        sent = st.session_state["outbox"]["sent"] or {"left": {}}
        for name, edits in sent["left"].items():
            if name in panels:
                _store_all(panels[name], edits)

    with st.container(key="review-outbox"):
        _component(
            data={
                "left": list(panels),
                "acked": [uid for panel in panels.values() for uid in panel.stored],
            },
            key="outbox",
            default={"sent": None},
            on_sent_change=receive,
        )


def _receive(state: Panel, sent: dict[str, Any] | None) -> None:
    """Store what was decided since; go to where the browser is."""
    if not sent:
        return
    at = _store_all(state, sent["edits"]) or sent["at"]
    if sent["turn"] >= state.turn:
        state.turn = sent["turn"]
        # Also where it is the same: the field may be on its way to where the move before led.
        st.session_state["id"] = at


def _store_all(state: Panel, edits: list[dict[str, Any]]) -> str | None:
    """Store edits in order and each once; return the id of the example that an undo leads to."""
    back = None
    with state.storing:
        try:
            for edit in edits:
                if edit["uid"] not in state.stored:
                    back = _store(state.run, state.stored, edit)
        except UserError:
            # Said by the panel; the browser sends again what was not acknowledged.
            pass
        for oldest in list(state.stored)[:-ACKNOWLEDGED]:
            del state.stored[oldest]
    return back


def _store(run: Run, stored: dict[str, int | None], sent: dict[str, Any]) -> str | None:
    """Store one edit or undo one; return the id of the example that an undo leads to."""
    uid, back = sent["uid"], None
    if "undo" not in sent:
        edits = [Edit(what, value) for what, value in sent["edits"]]
        replaced = _replaced(run, sent)
        stored[uid] = review.act(run, edits, id=sent["id"])
        review.review_of(run).said += replaced
        return None
    if sent["undo"] is None:
        back = review.take_back(run)
    else:
        # A session that began anew, as after a lost connection, does not know the edit.
        known = sent["undo"] in stored
        number = stored[sent["undo"]] if known else run.last_action_on(sent["id"])
        if number is None:
            review.nothing_to_take_back(run)
        else:
            review.take_back(run, number)
    stored[uid] = None
    return back


def _replaced(run: Run, sent: dict[str, Any]) -> str:
    """Say which note of somebody else a note replaces."""
    if "was" not in sent:
        return ""
    before = (run.note(sent["id"]) or {"note": ""})["note"]
    if before in (sent["was"], dict(sent["edits"])["note"]):
        return ""
    return f" This replaced what had meanwhile been saved elsewhere: “{before}”."


def _beside(
    run: Run, order: np.ndarray, place: int, shown: dict[str, Any], layer: int
) -> tuple[int, list[dict[str, Any]]]:
    """Return the place of the first row that the browser gets, and the rows."""
    first = max(place - BEHIND, 0)
    _, found = session.with_words(run, order[first : place + AHEAD].tolist(), layer)
    rows, size = [], 0
    for number, (example, words) in enumerate(found, first):
        size += len(example["text"]) if number > place else 0
        if size > CHARACTERS and number > place + 1:
            break
        rows.append(shown if number == place else row_of(example, words))
    return first, rows


def row_of(example: dict[str, Any], words: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    """Return an example as the panel shows it."""
    confidence = example["confidence"]
    known = confidence is not None and confidence == confidence
    return {
        **painted_row(example, words, about=session.top_words_line(words)),
        "example": int(example["example"]),
        "percent": f"{confidence:.1%}" if known else "",
        **more,
    }
