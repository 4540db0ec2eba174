"""A line of the filter language, its names resolved: `parse` gives a tree or names every mistake.

What its terms select is the business of `masks`, and whether its values occur that of `checks`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import lru_cache

from saliency_core.store.query import syntax, terms
from saliency_core.store.query.mistakes import (
    MOST,
    FilterError,
    Fix,
    Mistake,
    listed,
    near,
    same_name,
    shown,
)
from saliency_core.store.query.syntax import Reading
from saliency_core.store.query.tree import Not, Term, Tree, Value

_TESTED = 500
"""Characters of a line up to which every fix is tried before it is offered."""


def parse(line: str, columns: Sequence[str] = ()) -> Tree:
    """Return the tree of a line; an empty one names all examples.

    Args:
        line: as it was typed.
        columns: metadata columns, whose names may stand without `meta.`.

    Raises:
        FilterError: with every mistake, its place and what may stand there instead.
    """
    reading = resolved(line, tuple(columns))
    if reading.mistakes:
        raise FilterError(
            line,
            proven(reading.mistakes, line, lambda other: resolved(other, tuple(columns)).mistakes),
        )
    return reading.tree


@lru_cache(maxsize=64)
def resolved(line: str, columns: tuple[str, ...] = ()) -> Reading:
    """Return what a line says, its names as the language has them, and its mistakes."""
    reading = syntax.read(line)
    known = {id(term): _named(term, columns) for term in reading.terms}
    found = tuple(known.values())
    mistakes = [mistake for term in found for mistake in _mistakes_of(term, columns, line)]
    return Reading(_renamed(reading.tree, known), found, (*reading.mistakes, *mistakes))


def proven(
    mistakes: Sequence[Mistake], line: str, mistakes_of: Callable[[str], Sequence[Mistake]]
) -> list[Mistake]:
    """Return mistakes with those fixes only after which a line has fewer.

    Args:
        mistakes: of the line.
        line: as it was typed.
        mistakes_of: returns the mistakes of any line.
    """
    told = [*mistakes]
    if len(line) > _TESTED:
        return told
    for place, mistake in enumerate(told[:MOST]):
        fixes = [fix for fix in mistake.fixes if len(mistakes_of(fix.apply(line))) < len(told)]
        told[place] = replace(mistake, fixes=tuple(fixes))
    return told


def _renamed(tree: Tree, known: dict[int, Term]) -> Tree:
    """Return a tree whose terms have the names of the language."""
    if isinstance(tree, Term):
        return known[id(tree)]
    if isinstance(tree, Not):
        return Not(_renamed(tree.part, known))
    return replace(tree, parts=tuple(_renamed(part, known) for part in tree.parts))


def _named(typed: Term, columns: Sequence[str]) -> Term:
    """Return a term under the name that the language has for it, if it has one."""
    name = _known_name(typed.field, columns) or typed.field
    sign = typed.operator
    if sign in (":", "="):
        sign = "=" if name in terms.NUMBERS else ":"
    return replace(typed, field=name, operator=sign)


def _mistakes_of(term: Term, columns: Sequence[str], line: str) -> list[Mistake]:
    """Return what is wrong with a term, whatever the data are."""
    if _known_name(term.field, columns) is None:
        return [_unknown(term, columns, line)]
    if term.field in terms.FLAGS:
        return [_flag_with_value(term)] if term.values else []
    if term.field in terms.NUMBERS or (
        term.field.startswith(terms.META) and term.operator in terms.ORDER
    ):
        return _numbers(term)
    return [*_wrong_operator(term), *_wrong_values(term)]


def _known_name(name: str, columns: Sequence[str]) -> str | None:
    """Return a name as the language has it; None where it means nothing."""
    lower = name.lower()
    if lower in (*terms.FLAGS, *terms.NAMED, *terms.NUMBERS, *terms.TEXTS):
        return lower
    if lower == "label":
        return "gold"
    for prefix in (terms.META, "metadata."):
        if lower.startswith(prefix) and len(name) > len(prefix):
            rest = name[len(prefix) :]
            return terms.META + (same_name(rest, columns) or rest)
    column = same_name(name, columns)
    if column is not None:
        return terms.META + column
    return terms.ALIASES.get(lower)


def _unknown(term: Term, columns: Sequence[str], line: str) -> Mistake:
    name = term.field

    def renamed(to: str) -> Fix:
        rest = line[term.name_end : term.end].lstrip()
        return instead(term, to + rest)

    if name.lower() in ("class", "classes"):
        return Mistake(
            term.start,
            f"{shown(name)} may be the label in the data or the prediction.",
            (renamed("gold"), renamed("predicted")),
        )
    if term.operator in terms.ORDER:
        names = [*terms.NUMBERS, *(terms.META + terms.quote_name(column) for column in columns)]
    else:
        names = [*terms.NAMED, *terms.TEXTS[:1], *columns]
    fixes = [
        renamed(terms.META + terms.quote_name(n) if n in columns else n) for n in near(name, names)
    ]
    phrase = terms.quote_phrase(line[term.start : term.end])
    if not fixes and any(letter.isalnum() for letter in phrase):
        fixes = [instead(term, phrase)]
    known = f"; metadata columns are {listed(list(columns))}" if columns and not fixes else ""
    return Mistake(term.start, f"{shown(name)} is not a filter term{known}.", tuple(fixes))


def _flag_with_value(term: Term) -> Mistake:
    is_denied = term.values[0].text.lower() in ("no", "false", "0")
    fix = instead(term, f"-{term.field}" if is_denied else term.field)
    return Mistake(term.start, f"{shown(term.field)} does not take a value.", (fix,))


def _numbers(term: Term) -> list[Mistake]:
    """Return what is wrong with a comparison of numbers."""
    if term.operator in terms.ORDER and len(term.values) > 1:
        first, last = term.values[0], term.values[-1]
        texts = [first.text]
        if len(term.values) == 2 and first.text.lstrip("-").isdigit() and last.text.isdigit():
            texts.insert(0, f"{first.text}.{last.text}")
        return [
            Mistake(
                first.start,
                f"{shown(term.operator)} takes one number.",
                tuple(Fix(first.start, last.end, text, text) for text in texts),
            )
        ]
    return [
        Mistake(value.start, f"{shown(value.text)} is not a number.")
        for value in term.values
        if number(value) is None
    ]


def instead(part: Term | Value, text: str, label: str | None = None) -> Fix:
    """Return the change of a term or value into a text; by its label, else by itself."""
    return Fix(part.start, part.end, text, text if label is None else label)


def names_instead(value: Value, names: Iterable[str]) -> tuple[Fix, ...]:
    """Return the changes of a value into each of some names."""
    return tuple(instead(value, terms.quote(name), name) for name in names)


def number(value: Value) -> float | None:
    """Return a value as a number, `90%` as 0.9; None where it is none."""
    text = value.text.strip()
    try:
        found = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        return None
    return None if math.isnan(found) else found


def _wrong_operator(term: Term) -> list[Mistake]:
    if term.operator == ":" or term.field.startswith(terms.META) or term.field == "regex":
        return []
    place, first = term.name_end, term.values[0]
    fix = Fix(place, first.start, ":", f"{term.field}:{terms.quote(first.text)}")
    sentence = f"{shown(term.field)} is followed by a colon, not by {shown(term.operator)}."
    return [Mistake(place, sentence, (fix,))]


def _wrong_values(term: Term) -> list[Mistake]:
    found = []
    for value in term.values:
        what, choices = terms.CHOICES.get(term.field, ("", ()))
        if choices and value.text not in choices:
            fixes = names_instead(value, near(value.text, choices, 1) or choices[:3])
            sentence = f"{shown(value.text)} is not a {what}; they are {listed(choices)}."
            found.append(Mistake(value.start, sentence, fixes))
        elif term.field == "phrase" and not any(letter.isalnum() for letter in value.text):
            found.append(Mistake(value.start, f"{shown(value.text)} contains no word to look for."))
    return found
