"""Forms over what the file holds: what is typed is what is saved, and the page says what that was.

A widget whose default comes from the file is another widget as soon as the file holds something
else, and what was typed into the first is lost. So the widgets here have keys of their own, one a
field and record, and the file only says what stands in them at first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st

from app_components import session
from saliency_core.errors import UserError

Values = dict[str, Any]


class StoredForm:
    """The fields of one record of the file, e.g. the note on an example; used inside `st.form`."""

    def __init__(
        self,
        name: str,
        read: Callable[[], Values],
        write: Callable[[Values], None],
        describe: Callable[[Values], str],
    ) -> None:
        """Fill the widgets with what the file holds, where they do not stand on the page yet.

        Args:
            name: of the record, unlike any other of any file.
            read: returns field -> value as the file holds them.
            write: saves field -> value; raises UserError where it can't.
            describe: says field -> value in words, as Markdown.
        """
        self.key, self._read, self._write, self._describe = name, read, write, describe
        self._known_key, self._said_key = f"known-{name}", f"said-{name}"
        stored = read()
        if any(self.field(field) not in st.session_state for field in stored):
            for field, value in stored.items():
                st.session_state[self.field(field)] = value
            st.session_state[self._known_key] = stored

    def field(self, name: str) -> str:
        """Return the key of the widget of a field."""
        return f"{self.key}-{name}"

    def submit(self) -> None:
        """Show the button that saves; must stand inside the form."""
        st.form_submit_button("Save", on_click=attempt, args=(self._said_key, self._save))

    def _save(self) -> str:
        """Save what stands in the widgets; return what the file holds now, in words."""
        before = self._read()
        self._write({name: st.session_state[self.field(name)] for name in before})
        # Read back: the page says what the file holds, not what it was asked to hold.
        after = self._read()
        said = f"Saved: {self._describe(after)}"
        if before not in (st.session_state.get(self._known_key), after):
            kept = self._describe(before)
            said += f" This replaced what had meanwhile been saved elsewhere: {kept}"
        st.session_state[self._known_key] = after
        return said

    def say(self) -> None:
        """Say what was saved, or why not; and where the file was changed elsewhere meanwhile."""
        tell(self._said_key)
        stored = self._read()
        if st.session_state.get(self._known_key) != stored:
            st.caption(f"Meanwhile saved elsewhere: {self._describe(stored)}")


def attempt(slot: str, action: Callable[[], str]) -> None:
    """Do what a click asks for, in its callback; keep for `tell` what came of it.

    Args:
        slot: names the place of the page where it is told.
        action: returns what came of it, as Markdown; raises UserError where it can't be done.
    """
    try:
        st.session_state[slot] = (True, action())
    except UserError as error:
        st.session_state[slot] = (False, session.escape(error))


def tell(slot: str) -> None:
    """Say once what came of the last click."""
    done, said = st.session_state.pop(slot, (True, ""))
    if said:
        (st.success if done else st.error)(said)


def quoted(text: str) -> str:
    """Return what somebody typed in quotation marks, as Markdown."""
    return f'"{session.escape(text)}"'
