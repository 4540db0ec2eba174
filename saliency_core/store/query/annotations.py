"""What analysts decided, noted and tagged: the edits of a run, folded into what holds now."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

DECISIONS = ("label", "right", "reviewed", "skipped", "open")
"""What an edit may decide: a correct label, that the label is right, that somebody looked at it,
that somebody else should; `open` takes a decision back."""
EDITS = (*DECISIONS, "note", "tag", "untag")
REVIEWED = ("label", "right", "reviewed")
"""The decisions after which nobody need look again."""


class Edit(NamedTuple):
    """One change to some examples."""

    what: str
    """One of `EDITS`."""
    value: str = ""
    """The label, the note or the tag."""


class Annotations:
    """What holds on the examples of one run, by their positions; a later edit replaces an earlier.

    An undone edit takes no part, so to undo one is as if it had never been made.
    """

    def __init__(
        self, ask: Callable[[str, Sequence[Any]], list[tuple[Any, ...]]], run: int
    ) -> None:
        """Read the edits of a run; `ask` returns the rows of a query."""
        rows = ask(
            "SELECT what, value, done, positions FROM edits WHERE run = ? AND undone IS NULL"
            " ORDER BY done, edit",
            (run,),
        )
        self.edits = [Edit(*row[:2]) for row in rows]
        self.done = [row[2] for row in rows]
        lists = json.loads(f"[{','.join(row[3] for row in rows)}]")
        lengths = [len(positions) for positions in lists]
        places = np.fromiter(itertools.chain.from_iterable(lists), np.int64, sum(lengths))
        numbers = np.repeat(np.arange(len(rows), dtype=np.int32), lengths)
        self.size = int(places.max()) + 1 if len(places) else 0
        self.decision = self._last(places, numbers, self._is(*DECISIONS))
        """(position,) number of the edit that decided, -1 where none did."""
        self.note = self._last(places, numbers, self._is("note"))
        """(position,) number of the edit that noted, -1 where none did."""
        self.touched = self._last(places, numbers, self._is(*EDITS))
        """(position,) number of the last edit of any kind."""
        self.tags: dict[str, np.ndarray] = {}
        """Tag -> (position,) bool."""
        for name in dict.fromkeys(edit.value for edit in self.edits if edit.what == "tag"):
            own = np.array([edit.value == name for edit in self.edits]) & self._is("tag", "untag")
            last = self._last(places, numbers, own)
            self.tags[name] = self._holds(last, self._is("tag"))

    def _is(self, *what: str) -> np.ndarray:
        """Return (edit,) whether it does one of these."""
        return np.array([edit.what in what for edit in self.edits], bool)

    def _last(self, places: np.ndarray, numbers: np.ndarray, which: np.ndarray) -> np.ndarray:
        """Return (position,) the number of the last of some edits."""
        last = np.full(self.size, -1, np.int32)
        mine = which[numbers] if len(numbers) else np.zeros(0, bool)
        # Of several values for one place NumPy keeps the last.
        last[places[mine]] = numbers[mine]
        return last

    @staticmethod
    def _holds(last: np.ndarray, which: np.ndarray) -> np.ndarray:
        """Return (position,) whether the last edit is one of these."""
        return np.append(which, False)[last]

    def decided(self, *what: str) -> np.ndarray:
        """Return (position,) whether one of these decisions holds."""
        return self._holds(self.decision, self._is(*what))

    def noted(self) -> np.ndarray:
        """Return (position,) whether a note holds."""
        filled = [edit.what == "note" and bool(edit.value) for edit in self.edits]
        return self._holds(self.note, np.array(filled, bool))

    def labelled(self, names: list[str]) -> np.ndarray:
        """Return (position,) the index of the correct label.

        -1 where nobody gave one, the number of names where it is none of them.
        """
        index = {name: number for number, name in enumerate(names)}
        codes = [
            index.get(edit.value, len(names)) if edit.what == "label" else -1 for edit in self.edits
        ]
        return np.array([*codes, -1])[self.decision]

    def tagged(self, name: str) -> np.ndarray:
        """Return (position,) whether a tag holds."""
        return self.tags.get(name, np.zeros(self.size, bool))

    def says(self, edit: Edit, positions: np.ndarray) -> np.ndarray:
        """Return (example,) whether an edit would change nothing there.

        To mark as reviewed, or to skip, takes nothing back that says more.
        """
        what, value = edit
        if what in ("tag", "untag"):
            return spread(self.tagged(value), positions) == (what == "tag")
        kept = {"reviewed": REVIEWED, "skipped": (*REVIEWED, "skipped")}.get(what)
        if kept:
            return spread(self.decided(*kept), positions)
        last, is_default = (
            (self.note, not value) if what == "note" else (self.decision, what == "open")
        )
        same = np.array([*(one == edit for one in self.edits), is_default], bool)
        return same[spread(last, positions, -1)]

    def any(self) -> np.ndarray:
        """Return the rising positions at which anything holds."""
        held = self.decided("label", "right", "reviewed", "skipped") | self.noted()
        for mask in self.tags.values():
            held |= mask
        return np.flatnonzero(held)

    def at(self, position: int) -> dict[str, Any]:
        """Return what holds on one example: decision, label, note, tags and when it was edited."""
        held: dict[str, Any]
        held = {"decision": None, "label": None, "note": "", "tags": [], "updated": None}
        if not 0 <= position < self.size or self.touched[position] < 0:
            return held
        decision, note = int(self.decision[position]), int(self.note[position])
        if decision >= 0 and self.edits[decision].what != "open":
            held["decision"] = self.edits[decision].what
            held["label"] = self.edits[decision].value or None
        if note >= 0:
            held["note"] = self.edits[note].value
        held["tags"] = [name for name, mask in self.tags.items() if mask[position]]
        held["updated"] = self.done[int(self.touched[position])]
        return held


def spread(values: np.ndarray, positions: np.ndarray, missing: Any = False) -> np.ndarray:
    """Return (example,) values by position; `missing` beyond those that were ever edited."""
    found = np.full(len(positions), missing, values.dtype)
    inside = positions < len(values)
    found[inside] = values[positions[inside]]
    return found
