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


def picker(run: Run, text: str, put: Callable[[str], None]) -> None:
    """Show the pickers, at what the line says.

    Args:
        run: that has the values.
        text: the line.
        put: puts another line in its place.
    """
    _Picker(run, text, put).show()


class _Picker:
    def __init__(self, run: Run, text: str, put: Callable[[str], None]) -> None:
        self.run, self.put = run, put
        self.text, self.columns = text, run.metadata_columns()
        self.line = Line(text, self.columns)

    def show(self) -> None:
        """Show all pickers; each choice is applied at once."""
        labels = self.run.label_names
        # Two a row, row after row: as Tab goes through them.
        places = (place for _ in itertools.count() for place in st.columns(2))
        with next(places):
            self._one_of("Prediction is", ANSWERS)
        with next(places):
            self._confidence()
        with next(places):
            self._any_of("Label in the data", "gold", labels)
        with next(places):
            self._any_of("Predicted", "predicted", labels)
        with next(places):
            self._words("Contains the word", "word")
        with next(places):
            self._words("Does not contain the word", "word", excluded=True)
        with next(places):
            self._words("Relies on the word", "salient", "Among the three most salient words.")
        with next(places):
            self._phrase()
        with next(places):
            self._flags("With the flag")
        with next(places):
            self._flags("Without the flag", excluded=True)
        self._metadata()
        self._any_of("In the saved slice", "slice", self._slices(), hide_empty=True)
        self._any_of("Has the tag", "tag", session.ask(_tags, self.run), hide_empty=True)

    def _edit(self, change: Callable[[Line, Any], None], key: str) -> None:
        """Change the line by what a picker says now; a callback."""
        line = Line(self.text, self.columns)
        change(line, st.session_state[key])
        self.put(line.text())

    def _start(self, name: str, value: Any, change: Callable[[Line, Any], None]) -> dict[str, Any]:
        """Let a picker stand at what the line says; return how it is drawn."""
        key = f"pick-{name}"
        st.session_state[key] = value
        return {"key": key, "on_change": self._edit, "args": (change, key)}

    def _one_of(self, label: str, flags: Sequence[str]) -> None:
        chosen = self.line.flag(flags)
        draw = self._start(flags[0], chosen, lambda line, flag: line.put_flag(flag, flags))
        st.segmented_control(label, flags, **draw)

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
        self,
        label: str,
        field: str,
        options: Sequence[str],
        *,
        hide_empty: bool = False,
        excluded: bool = False,
    ) -> None:
        """Let any number of values of a name be chosen, or be left out."""
        if hide_empty and not options:
            return

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
            for excluded in (False, True)
            if self.line.values(META + name, excluded=excluded)
        ]
        column = left.selectbox(
            "Metadata column", self.columns, key="pick-column", **_first(said, self.columns)
        )
        values = session.ask(Run.metadata_texts, self.run, column=column)[:MOST]
        with middle:
            self._any_of(f"{session.escape(column)} is", META + column, values)
        with right:
            name = f"{session.escape(column)} is not"
            self._any_of(name, META + column, values, excluded=True)

    def _slices(self) -> list[str]:
        return list(session.ask(Store.slices, self.run.store)["name"])


def _first(said: Sequence[str], columns: Sequence[str]) -> dict[str, int]:
    """Let the column that the line names be the first choice."""
    return {"index": columns.index(said[0]) if said else 0}


def _tags(run: Run) -> list[str]:
    return sorted(run.store.annotations(run.number).tags)
