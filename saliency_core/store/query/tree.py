"""A filter as a tree: terms joined by AND and OR, some of them negated; and its canonical text."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from saliency_core.store.query import terms


@dataclass(frozen=True)
class Value:
    """One alternative of a term."""

    text: str
    start: int = dataclasses.field(default=0, compare=False)
    """Place in the line, from 0."""
    end: int = dataclasses.field(default=0, compare=False)


@dataclass(frozen=True)
class Term:
    """One condition: a flag, or a name with what its value must be."""

    field: str
    """A flag, a name, a number, `phrase`, `regex`, `meta.KEY`, or a name nobody knows yet."""
    operator: str = ""
    """Empty for a flag, `:` for names, `=` or an order for numbers, any for metadata."""
    values: tuple[Value, ...] = ()
    start: int = dataclasses.field(default=0, compare=False)
    end: int = dataclasses.field(default=0, compare=False)
    is_bare: bool = dataclasses.field(default=False, compare=False)
    """Whether a word stands without its name."""
    name_end: int = dataclasses.field(default=0, compare=False)


@dataclass(frozen=True)
class Not:
    """What does not hold."""

    part: Tree


@dataclass(frozen=True)
class And:
    """What holds together; without parts, everything."""

    parts: tuple[Tree, ...]


@dataclass(frozen=True)
class Or:
    """Of which at least one holds."""

    parts: tuple[Tree, ...]


Tree = Term | Not | And | Or
EVERYTHING = And(())


def both(parts: Iterable[Tree]) -> Tree:
    """Return what holds where all parts hold."""
    flat: list[Tree] = []
    for part in parts:
        flat += part.parts if isinstance(part, And) else (part,)
    return flat[0] if len(flat) == 1 else And(tuple(flat))


def either(parts: Iterable[Tree]) -> Tree:
    """Return what holds where at least one of the parts does; there is at least one."""
    flat: list[Tree] = []
    for part in parts:
        if part is EVERYTHING or (isinstance(part, And) and not part.parts):
            return EVERYTHING
        flat += part.parts if isinstance(part, Or) else (part,)
    return flat[0] if len(flat) == 1 else Or(tuple(flat))


def negated(part: Tree) -> Tree:
    """Return what holds where the part does not."""
    return part.part if isinstance(part, Not) else Not(part)


def terms_of(tree: Tree) -> Iterator[Term]:
    """Yield the terms from left to right."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, Term):
            yield node
        elif isinstance(node, Not):
            waiting.append(node.part)
        else:
            waiting.extend(reversed(node.parts))


def text_of(tree: Tree) -> str:
    """Return the one line that says a tree; reading it gives the tree again."""
    if isinstance(tree, Term):
        return _term_text(tree)
    if isinstance(tree, Not):
        text = text_of(tree.part)
        return f"-{text}" if isinstance(tree.part, Term) else f"-({text})"
    if isinstance(tree, Or):
        return " OR ".join(map(text_of, tree.parts))
    return " ".join(
        f"({text_of(part)})" if isinstance(part, Or) else text_of(part) for part in tree.parts
    )


def _term_text(term: Term) -> str:
    texts = [value.text for value in term.values]
    if term.field == "regex":
        # A slash that nothing escapes would end the pattern.
        either = re.compile(r"(\\.)|/", re.DOTALL)
        return "/" + either.sub(lambda found: found[1] or r"\/", texts[0]) + "/"
    if term.field == "phrase":
        return ",".join(map(terms.quote_phrase, texts))
    name = term.field
    if name.startswith(terms.META):
        name = terms.META + terms.quote_name(name.removeprefix(terms.META))
    elif name not in (*terms.FLAGS, *terms.NAMED, *terms.NUMBERS):
        name = terms.quote_name(name)
    return name + term.operator + ",".join(map(terms.quote, texts))
