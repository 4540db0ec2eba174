"""Terms of a filter chosen from what the data have; the line stands, each choice edits it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import streamlit as st

from app_components import session
from saliency_core.store import Run, Store
from saliency_core.store.query.editing import Line
from saliency_core.store.query.parser import number
from saliency_core.store.query.terms import META, QUALITY_FLAGS, REVIEW_FLAGS
from saliency_core.store.query.tree import Value

ANSWERS = ("wrong", "right")
FLAGS = ("truncated", "failed", *REVIEW_FLAGS)
MOST = 1_000
"""Values of a metadata column that can be chosen; of more, those in front."""


class Picker:
    """The pickers, at what a line says; `put` puts another line in its place."""

    def __init__(self, run: Run, text: str, put: Callable[[str], None]) -> None:
        """Read the line."""
        self.run, self.put, self.columns = run, put, run.metadata_columns()
        self.line = Line(text, self.columns)

    def show(self) -> None:
        """Show all pickers; each choice is applied at once."""
        labels = self.run.label_names
        relies = "Among the three most salient words."
        pickers = (
            self._answer,
            self._confidence,
            lambda: self._any_of("Label in the data", "gold", labels),
            lambda: self._any_of("Predicted", "predicted", labels),
            lambda: self._words("Contains the word", "word"),
            lambda: self._words("Does not contain the word", "word", excluded=True),
            lambda: self._words("Relies on the word", "salient", relies),
            self._phrase,
            lambda: self._flags("With the flag"),
            lambda: self._flags("Without the flag", excluded=True),
        )
        # Two a row, row after row: as Tab goes through them.
        places = (place for _ in itertools.count() for place in st.columns(2))
        for draw, place in zip(pickers, places, strict=False):
            with place:
                draw()
        self._metadata()
        slices = list(session.ask(Store.slices, self.run.store)["name"])
        for label, field, options in (
            ("In the saved slice", "slice", slices),
            ("Has the tag", "tag", session.ask(_tags, self.run)),
        ):
            if options:
                self._any_of(label, field, options)

    def _edit(self, change: Callable[[Line, Any], None], key: str) -> None:
        """Change the line by what a picker says now; a callback."""
        change(self.line, st.session_state[key])
        self.put(self.line.text())

    def _start(self, name: str, value: Any, change: Callable[[Line, Any], None]) -> dict[str, Any]:
        """Let a picker stand at what the line says; return how it is drawn."""
        key = f"pick-{name}"
        st.session_state[key] = value
        return {"key": key, "on_change": self._edit, "args": (change, key)}

    def _answer(self) -> None:
        chosen = self.line.flag(ANSWERS)
        draw = self._start(ANSWERS[0], chosen, lambda line, flag: line.put_flag(flag, ANSWERS))
        st.segmented_control("Prediction is", ANSWERS, **draw)

    def _flags(self, label: str, *, excluded: bool = False) -> None:
        some = [name for name in QUALITY_FLAGS if self.run.columns.quality(name) is not None]
        names = [*FLAGS, *some]

        def change(line: Line, chosen: list[str]) -> None:
            for name in names:
                line.put_flag(name if name in chosen else None, (name,), excluded=excluded)

        chosen = [name for name in names if self.line.flag([name], excluded=excluded)]
        draw = self._start("flags" + "-not" * excluded, chosen, change)
        st.multiselect(label, names, placeholder="none" if excluded else "any", **draw)

    def _any_of(
        self, label: str, field: str, options: Sequence[str], *, excluded: bool = False
    ) -> None:
        """Let any number of values of a name be chosen, or be left out."""

        def change(line: Line, values: list[str]) -> None:
            line.put(field, values, excluded=excluded)

        chosen = self.line.values(field, excluded=excluded)
        shown = [*options, *(value for value in chosen if value not in options)]
        draw = self._start(field + "-not" * excluded, chosen, change)
        st.multiselect(label, shown, placeholder="none" if excluded else "any", **draw)

    def _words(
        self, label: str, field: str, help: str | None = None, *, excluded: bool = False
    ) -> None:
        def change(line: Line, text: str) -> None:
            words = [word.strip().lower() for word in text.split(",") if word.strip()]
            line.put(field, words, excluded=excluded)

        said = ", ".join(self.line.values(field, excluded=excluded))
        draw = self._start(field + "-not" * excluded, said, change)
        st.text_input(label, help=help, placeholder="one, or several separated by commas", **draw)

    def _phrase(self) -> None:
        def change(line: Line, text: str) -> None:
            line.put("phrase", [text.strip()] if text.strip() else [])

        draw = self._start("phrase", "".join(self.line.values("phrase")[:1]), change)
        st.text_input("Contains the phrase", **draw)

    def _confidence(self) -> None:
        def change(line: Line, limits: tuple[float, float]) -> None:
            for sign in (">", "<", ">=", "<="):
                line.put("confidence", [], sign)
            if limits[0] > 0:
                line.put("confidence", [f"{limits[0]:g}"], ">=")
            if limits[1] < 1:
                line.put("confidence", [f"{limits[1]:g}"], "<=")

        limits = (self._limit((">=", ">"), 0.0), self._limit(("<=", "<"), 1.0))
        draw = self._start("confidence", tuple(sorted(limits)), change)
        st.slider("Confidence", 0.0, 1.0, step=0.01, **draw)

    def _limit(self, signs: Sequence[str], otherwise: float) -> float:
        found = [text for sign in signs for text in self.line.values("confidence", sign)]
        limit = number(Value(found[0])) if found else None
        return otherwise if limit is None else min(max(limit, 0.0), 1.0)

    def _metadata(self) -> None:
        """Let a column be chosen, then any of its values."""
        if not self.columns:
            return
        left, middle, right = st.columns(3)
        said = [
            name
            for name in self.columns
            if any(self.line.values(META + name, excluded=out) for out in (False, True))
        ]
        first = self.columns.index(said[0]) if said else 0
        column = left.selectbox("Metadata column", self.columns, first, key="pick-column")
        values = session.ask(Run.metadata_texts, self.run, column=column)[:MOST]
        with middle:
            self._any_of(f"{session.escape(column)} is", META + column, values)
        with right:
            name = f"{session.escape(column)} is not"
            self._any_of(name, META + column, values, excluded=True)


def _tags(run: Run) -> list[str]:
    return sorted(run.store.annotations(run.number).tags)
