"""What is wrong with a filter, where it stands, and what may stand there instead."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from saliency_core.errors import UserError

MOST = 20
"""Mistakes that are told at once, and choices that a sentence lists."""
SHOWN = 60
"""Characters of a term that a sentence repeats."""


@dataclass(frozen=True)
class Fix:
    """A change of the line that removes a mistake."""

    start: int
    end: int
    text: str
    label: str
    """What a button says."""

    def apply(self, line: str) -> str:
        """Return the line with the change made."""
        return (line[: self.start] + self.text + line[self.end :]).strip()


@dataclass(frozen=True)
class Mistake:
    """One mistake, or a note on what is right but selects nothing."""

    start: int
    """Place in the line as it was typed, from 0."""
    sentence: str
    """Without place and fixes; ends in a full stop."""
    fixes: tuple[Fix, ...] = ()

    def told(self) -> str:
        """Return the sentence with what may stand there instead."""
        names = [fix.label for fix in self.fixes]
        return f"{self.sentence} Did you mean {listed(names, 'or')}?" if names else self.sentence


class FilterError(UserError):
    """A filter that can't be read: every mistake of it, at its place in the line."""

    def __init__(self, line: str, mistakes: Sequence[Mistake]) -> None:
        """Say all of them in one sentence each."""
        self.line = line
        self.mistakes = tuple(sorted(mistakes, key=lambda mistake: mistake.start)[:MOST])
        told = [f"character {mistake.start + 1}: {mistake.told()}" for mistake in self.mistakes]
        more = len(mistakes) - len(self.mistakes)
        super().__init__("Filter, " + " ".join(told) + (f" And {more} more." if more else ""))


def shown(text: str) -> str:
    """Return part of a line in quotation marks."""
    text = text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."
    return f"'{text}'"


def listed(names: Sequence[str], joined_by: str = "and") -> str:
    """Return names as one list in words, cut where it is long."""
    if len(names) > MOST:
        return ", ".join([*names[:MOST], "..."])
    return f" {joined_by} ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)


def same_name(text: str, names: Sequence[str]) -> str | None:
    """Return the name that a text means: itself, or the only one that differs in case."""
    if text in names:
        return text
    alike = [name for name in names if name.lower() == text.lower()]
    return alike[0] if len(alike) == 1 else None


def near(word: str, choices: Iterable[str], most: int = 3, cutoff: float = 0.6) -> list[str]:
    """Return the choices most like a word, whatever their case."""
    by_name = {choice.lower(): choice for choice in reversed([*choices])}
    return [
        by_name[name] for name in difflib.get_close_matches(word.lower(), by_name, most, cutoff)
    ]
