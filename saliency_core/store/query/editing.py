"""Filters made of filters: joined, negated, or with one of their terms changed.

All take and give lines, never pasted: what was joined by OR gets its brackets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from saliency_core.store.query import parser, syntax
from saliency_core.store.query.mistakes import FilterError
from saliency_core.store.query.terms import FLAGS
from saliency_core.store.query.tree import (
    EVERYTHING,
    And,
    Not,
    Or,
    Term,
    Tree,
    Value,
    both,
    either,
    negated,
    text_of,
)

NOTHING = "-length>=0"
"""A filter that no example fits."""


def joined(*lines: str) -> str:
    """Return the filter of the examples that fit all of some filters, each as it was typed.

    What an earlier one asks already is not asked again.
    """
    lines = tuple(line.strip() for line in lines if line.strip())
    if len(lines) == 1:
        return lines[0]
    texts: list[str] = []
    asked: list[Tree] = []
    for line in lines:
        tree = syntax.read(line).tree
        parts = tree.parts if isinstance(tree, And) else (tree,)
        new = [part for part in parts if part not in asked]
        if len(new) < len(parts):
            line = text_of(both(new))
        texts.append(f"({line})" if new and isinstance(both(new), Or) else line)
        asked += new
    return " ".join(filter(None, texts))


def rest_of(line: str) -> str:
    """Return the filter of all other examples."""
    tree = tree_of(line)
    return text_of(negated(tree)) if tree != EVERYTHING else NOTHING


def either_of(*lines: str) -> str:
    """Return the filter of the examples that fit at least one of some filters."""
    return text_of(either(tree_of(line) for line in lines))


def tree_of(line: str) -> Tree:
    """Return what a line says under the names it uses.

    Raises:
        FilterError: it can't be read.
    """
    reading = syntax.read(line)
    if reading.mistakes:
        raise FilterError(line, reading.mistakes)
    return reading.tree


def _term_of(part: Tree, excluded: bool) -> Term | None:
    """Return the term that a part is, or, where `excluded`, the term that it negates."""
    if excluded:
        part = part.part if isinstance(part, Not) else EVERYTHING
    return part if isinstance(part, Term) else None


class Line:
    """A filter whose terms can be taken out and put in one by one, such as by a form.

    Only terms that hold for all its examples are its own: those within OR or brackets stay as
    they are.
    """

    def __init__(self, line: str, columns: Sequence[str] = ()) -> None:
        """Read a line; one with mistakes has no terms and is replaced by what is put in."""
        reading = parser.resolved(line, tuple(columns))
        tree = EVERYTHING if reading.mistakes else reading.tree
        self.parts: tuple[Tree, ...] = tree.parts if isinstance(tree, And) else (tree,)

    def text(self) -> str:
        """Return the line."""
        return text_of(both(self.parts))

    def terms(self) -> list[tuple[str, str]]:
        """Return the text of each part, and the line without it."""
        return [
            (
                f"({text_of(part)})" if isinstance(part, Or) else text_of(part),
                text_of(both((*self.parts[:place], *self.parts[place + 1 :]))),
            )
            for place, part in enumerate(self.parts)
        ]

    def values(self, field: str, operator: str = ":", *, excluded: bool = False) -> list[str]:
        """Return the alternatives of the first term of a name, in the order they stand.

        Args:
            field: the name.
            operator: between name and value.
            excluded: of the first term that is negated, rather than of one that is not.
        """
        for part in self.parts:
            term = _term_of(part, excluded)
            if term is not None and term.field == field and term.operator == operator:
                return [value.text for value in term.values]
        return []

    def flag(self, names: Iterable[str], *, excluded: bool = False) -> str | None:
        """Return which of some flags it has (or excludes), None for none of them."""
        names = list(names)
        found = (_term_of(part, excluded) for part in self.parts)
        return next(
            (term.field for term in found if term is not None and term.field in names), None
        )

    def put(
        self, field: str, values: Sequence[str], operator: str = ":", *, excluded: bool = False
    ) -> None:
        """Let a name have these alternatives, or none of them; no values take its term out."""
        new = Term(field, operator, tuple(Value(text) for text in values)) if values else None
        self._put(new, lambda term: term.field == field and term.operator == operator, excluded)

    def put_flag(
        self, name: str | None, of: Iterable[str] = FLAGS, *, excluded: bool = False
    ) -> None:
        """Let it have (or exclude) one of some flags, or none of them."""
        of = tuple(of)
        new = None if name is None else Term(name)
        self._put(new, lambda term: term.field in of, excluded)

    def _put(self, term: Term | None, is_old: Callable[[Term], bool], excluded: bool) -> None:
        """Replace the first old term by the new one, at its place; drop the other old ones."""
        new: Tree | None = Not(term) if term is not None and excluded else term
        parts: list[Tree] = []
        for part in self.parts:
            own = _term_of(part, excluded)
            if own is not None and is_old(own):
                if new is not None:
                    parts.append(new)
                    new = None
            else:
                parts.append(part)
        self.parts = (*parts, *([] if new is None else [new]))
