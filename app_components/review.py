"""What a session did to examples: stored at once, told in words, undone from wherever it shows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import streamlit as st

from app_components import session
from saliency_core.errors import UserError
from saliency_core.store import Run, Slice, annotate, redo, undo
from saliency_core.store.query.annotations import Edit
from saliency_core.store.read.annotations import in_words

OLDER = "Nothing to undo since this page was loaded. History on Errors undoes earlier work."
"""Where all that could be undone was done in another session."""


@dataclass
class Review:
    """The actions of one session on one run, the last one last."""

    actions: list[tuple[int, str | None]] = field(default_factory=list)
    """Number and, where it was on one example, its id."""
    said: str = ""
    """What came of the last one, in words."""
    failed: str = ""
    """Why the last one could not be stored."""


def review_of(run: Run) -> Review:
    """Return what this session did to the examples of a run."""
    return st.session_state.setdefault(f"review-{session.here(run)}", Review())


def act(
    run: Run,
    edits: Sequence[Edit],
    *,
    id: str | None = None,
    ids: Iterable[str] | None = None,
    where: str | None = None,
) -> int | None:
    """Store an action on one example, on some, or on a filter; return its number.

    Raises:
        UserError: it could not be stored; `failed` says so too.
    """
    review = review_of(run)
    with _told(review):
        ids = ids if id is None else [id]
        done = annotate(run.store.path, run.number, edits, ids=ids, where=where)
    what = in_words(edits)
    if id is not None:
        review.said = f"Saved for {id}: {what}."
    elif done.number is None:
        review.said = f"No change: all {done.chosen:,} examples already had this ({what})."
    else:
        review.said = f"Saved for {done.examples:,} of {done.chosen:,} examples: {what}."
    if done.number is not None:
        review.actions.append((done.number, id))
    return done.number


def take_back(run: Run, number: int | None = None) -> str | None:
    """Undo an action, the last one of this session by default; return the id of its example.

    Raises:
        UserError: it could not be undone; `failed` says so too.
    """
    review = review_of(run)
    if number is None:
        if not review.actions:
            nothing_to_take_back(run)
            return None
        number = review.actions[-1][0]
    ids = dict(review.actions)
    of = f" for {ids[number]}" if ids.get(number) else ""
    with _told(review):
        if run.is_undone(number):
            review.said = f"Already undone{of}, in another tab or from the history."
        else:
            undo(run.store.path, run.number, number)
            review.said = f"Undone{of}."
    review.actions = [action for action in review.actions if action[0] != number]
    return ids.get(number)


def nothing_to_take_back(run: Run) -> None:
    """Say that nothing is left to undo."""
    review = review_of(run)
    review.failed = ""
    was_any = run.actions()["undone"].isna().any()
    review.said = OLDER if was_any else "Nothing to undo."


def do_again(run: Run, number: int) -> None:
    """Let an action that was undone hold again.

    Raises:
        UserError: it was not undone.
    """
    review = review_of(run)
    with _told(review):
        redo(run.store.path, run.number, number)
    review.actions.append((number, None))
    review.said = "Redone."


@contextmanager
def _told(review: Review) -> Iterator[None]:
    """Keep why something could not be stored, for the page to say."""
    review.failed = ""
    try:
        yield
    except UserError as error:
        review.failed = f"Not saved: {error}"
        raise


def progress_sentence(part: Slice) -> str:
    """Say how many examples of a slice were reviewed and relabelled."""
    found = session.ask(Slice.progress, part)
    return (
        f"{found['reviewed']:,} of {found['examples']:,} reviewed"
        f" · {found['relabelled']:,} relabelled"
    )


def marks_of(held: dict[str, Any], gold: str | None) -> list[str]:
    """Return what was decided on an example, as short marks."""
    is_new = held["decision"] == "label" and held["label"] != gold
    decided = {
        "right": "label is right",
        "label": f"correct label: {held['label']}" if is_new else "label is right",
    }
    marks = [decided.get(held["decision"], held["decision"]), "note" if held["note"] else None]
    return [*filter(None, marks), *held["tags"]]
