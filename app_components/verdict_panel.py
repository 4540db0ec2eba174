"""The analyst's verdict on a suspect: saved by choosing it, said, and undone by a click."""

from __future__ import annotations

from typing import NamedTuple

import streamlit as st

from app_components import session
from app_components.clicks import attempt, tell
from saliency_core.store import Run, set_verdict
from saliency_core.store.query.terms import VERDICTS


class Verdict(NamedTuple):
    """What the file holds on a word and a class."""

    verdict: str | None
    note: str

    def in_words(self) -> str:
        """Return it as Markdown."""
        said = self.verdict or "not judged"
        return f"{said}, “{session.escape(self.note)}”" if self.note else said


class VerdictPanel:
    """The verdict on a word for a class: what is chosen is saved, as the file then says."""

    def __init__(self, run: Run, word: str, of: str) -> None:
        """Let the widgets say what the file says; a note waits for the verdict it goes with."""
        self.run, self.word, self.of = run, word, of
        self.key = f"verdict-{session.here(run)}-{word}-{of}"
        self.stored = self._read()
        state = st.session_state
        self.note_waits = self.stored.verdict is None and bool(state.get(self._of("note")))
        for field, value in self.stored._asdict().items():
            if state.get(self._of(field)) != value and not (field == "note" and self.note_waits):
                state[self._of(field)] = value

    def _of(self, field: str) -> str:
        return f"{self.key}-{field}"

    def _read(self) -> Verdict:
        kept = self.run.verdicts()
        kept = kept[(kept["word"] == self.word.lower()) & (kept["class"] == self.of)]
        return Verdict(None, "") if kept.empty else Verdict(*kept[["verdict", "note"]].iloc[0])

    def show(self) -> None:
        """Show verdict and note."""
        said = self._of("said")
        with st.container(border=True):
            st.markdown(f"**Your verdict:** {self.stored.in_words()}")
            with st.container(horizontal=True, vertical_alignment="bottom"):
                st.segmented_control(
                    "Your verdict",
                    VERDICTS,
                    key=self._of("verdict"),
                    on_change=attempt,
                    args=(said, self._save),
                    label_visibility="collapsed",
                    help="Saved when chosen; click it again to remove it. It is exported, and "
                    "used to fix the shortcut.",
                )
                if self._of("before") in st.session_state:
                    st.button(
                        "Undo", key=self._of("undo"), on_click=attempt, args=(said, self._undo)
                    )
            st.text_input("Note", key=self._of("note"), on_change=attempt, args=(said, self._save))
            if self.note_waits:
                st.caption("Choose a verdict: the note is saved with it.")
            tell(said)

    def _save(self) -> str:
        """Save what was chosen; a note without a verdict waits."""
        verdict = st.session_state[self._of("verdict")]
        if verdict is None:
            return self._write(Verdict(None, "")) if self.stored.verdict else ""
        return self._write(Verdict(verdict, st.session_state[self._of("note")].strip()))

    def _undo(self) -> str:
        said = self._write(st.session_state[self._of("before")])
        del st.session_state[self._of("before")]
        return said

    def _write(self, chosen: Verdict) -> str:
        before = self._read()
        set_verdict(self.run.store.path, self.run.number, self.word, self.of, *chosen)
        after = self._read()
        st.session_state[self._of("before")] = before
        st.session_state[self._of("note")] = after.note
        said = f"“{session.escape(self.word)}” → {session.escape(self.of)}: {after.in_words()}."
        st.toast(said)
        return f"Saved: {said}"
