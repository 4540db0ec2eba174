"""The grammar of filters: one line of text to a tree of terms, and every mistake in it.

    filter  = or ;  or = and {("OR" | "|") and} ;  and = not {["AND" | "&"] not}
    not     = {"-" | "!" | "NOT"} (term | "(" or ")")
    term    = [name operator] value {"," value} | "/" pattern "/" ["i"]

One pass over the line with a stack of its own, so nothing a user types is too deep or too long.
What a name means is the business of `parser`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from saliency_core.store.query import terms
from saliency_core.store.query.mistakes import Fix, Mistake, shown
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
    terms_of,
)

DEEPEST = 50
"""Brackets within brackets that say something: each may take one mask over the examples."""

_AND = re.compile(r"&&?|(?:and|AND)(?![^\s()])")
_OR = re.compile(r"\|\|?|(?:or|OR)(?![^\s()])")
_NOT = re.compile(r"-|!(?!=)|not(?=[\s(])|NOT(?=[\s(])")
_OPERATOR = re.compile(r"\s*(:(?=[<>]=?\s*[-+.\d]))?(" + "|".join(terms.OPERATORS) + ")")
_ANY_TERM = re.compile(
    rf"\s*[-!(]|\s*[\w.]+\s*(:|!=|[<>=])|({'|'.join(terms.FLAGS)})(?![^\s()|&])|\s|$"
)
_QUOTED, _PATTERN = (re.compile(rf"{end}((?:\\.|[^{end}])*)({end}?)", re.DOTALL) for end in '"/')
"""What stands in quotation marks, and between slashes; their last sign is empty if it is missing.

A backslash takes what a letter means away."""
_JOIN_WORD = re.compile(r"(AND|OR|NOT)(?!\S)")
_ANY_CASE = re.compile(r"i(?![^\s()|&])")


Ends = Callable[[int, int, bool], bool]
"""Whether a value ends at a place, within so many brackets of its own, as its first letter."""


@dataclass(frozen=True)
class Reading:
    """What was read of a line."""

    tree: Tree
    """Means something only where there is no mistake."""
    terms: tuple[Term, ...]
    mistakes: tuple[Mistake, ...]


def read(line: str) -> Reading:
    """Return what a line says, each term under the name it was given."""
    reader = _Reader(line)
    return Reading(reader.tree(), tuple(reader.terms), tuple(reader.mistakes))


def _joined(parts: list[tuple[Tree, int]], kind: type[And] | type[Or]) -> tuple[Tree, int]:
    """Join trees and their depths; one of the kind that they become part of adds no depth."""
    if len(parts) == 1:
        return parts[0]
    depth = max((depth - isinstance(tree, kind) for tree, depth in parts), default=0)
    return (both if kind is And else either)(tree for tree, _ in parts), depth + 1


@dataclass
class _Group:
    """An open bracket, or the line itself."""

    start: int
    alternatives: list[list[tuple[Tree, int]]] = field(default_factory=lambda: [[]])
    """Parts joined by OR, each of parts joined by AND, each with its depth."""
    negations: list[tuple[int, int]] = field(default_factory=list)
    """The places of each minus sign or NOT whose term has not come."""
    operator: tuple[int, int] | None = None
    """The place of an AND or OR whose right side has not come."""


class _Reader:
    """Goes through a line from left to right; `at` is always the place that is read next."""

    def __init__(self, line: str) -> None:
        self.line, self.at = line, 0
        self.mistakes: list[Mistake] = []
        self.terms: list[Term] = []
        self.open = [_Group(0)]

    def tree(self) -> Tree:
        """Read the line."""
        while self._skip_blanks() < len(self.line):
            self._step()
        while len(self.open) > 1:
            start = self.open[-1].start
            end = len(self.line)
            self._mistake(start, "'(' is never closed.", Fix(end, end, ")", "a ')' at the end"))
            self._close()
        return self._finished()[0]

    def _step(self) -> None:
        letter = self.line[self.at]
        if letter == "(":
            self.open.append(_Group(self.at))
            self.at += 1
        elif letter == ")":
            self._close_bracket()
        elif found := _AND.match(self.line, self.at):
            self._join(found)
        elif found := _OR.match(self.line, self.at):
            if self._join(found):
                self.open[-1].alternatives.append([])
        elif found := _NOT.match(self.line, self.at):
            self.open[-1].negations.append(found.span())
            self.at = found.end()
        else:
            start = self.at
            found_term = self._regex() if letter == "/" else self._term()
            self.terms += [] if found_term is None else terms_of(found_term)
            self._add(found_term, 0)
            assert self.at > start, f"nothing was read at {start} of {self.line!r}"

    def _join(self, found: re.Match[str]) -> bool:
        """Take an AND or OR; return whether something stands on its left."""
        group = self.open[-1]
        self.at = found.end()
        if group.negations or group.operator or not group.alternatives[-1]:
            self._lonely(*found.span())
            return False
        group.operator = found.span()
        return True

    def _lonely(self, start: int, end: int) -> None:
        """Tell of an operator that has nothing to join, or to negate."""
        name = self.line[start:end]
        side = "after it" if _NOT.fullmatch(name + " ", 0, len(name)) else "on both sides"
        self._mistake(start, f"{shown(name)} needs a term {side}.", self._left_out(start, end))

    def _left_out(self, start: int, end: int) -> Fix:
        return Fix(start, end, "", f"to leave {shown(self.line[start:end])} out")

    def _add(self, tree: Tree | None, depth: int) -> None:
        """Add a term or a closed bracket to the group that is open; None: it was a mistake."""
        group = self.open[-1]
        if tree is None:
            # Stands for what could not be read, so that what joins it is no mistake too.
            tree, depth = EVERYTHING, 0
        elif len(group.negations) % 2:
            tree = negated(tree)
        group.alternatives[-1].append((tree, depth))
        group.negations.clear()
        group.operator = None

    def _close_bracket(self) -> None:
        if len(self.open) == 1:
            fix = self._left_out(self.at, self.at + 1)
            self._mistake(self.at, "')' closes no bracket.", fix)
            self.at += 1
            return
        start = self.open[-1].start
        self.at += 1
        if not self.line[start + 1 : self.at - 1].strip():
            self._mistake(start, "the brackets are empty.", self._left_out(start, self.at))
            self.open.pop()
            self._add(None, 0)
            return
        self._close()

    def _close(self) -> None:
        tree, depth = self._finished()
        start = self.open.pop().start
        if depth > DEEPEST:
            self._mistake(start, f"brackets are nested more than {DEEPEST} deep.")
            tree = EVERYTHING
        self._add(None if tree == EVERYTHING else tree, depth)

    def _finished(self) -> tuple[Tree, int]:
        """Return tree and depth of the group that is open, whose end was reached."""
        group = self.open[-1]
        if group.negations:
            self._lonely(*group.negations[-1])
        elif group.operator:
            self._lonely(*group.operator)
        if not group.alternatives[-1]:
            group.alternatives.pop()
        if not group.alternatives:
            return EVERYTHING, 0
        return _joined([_joined(parts, And) for parts in group.alternatives], Or)

    def _regex(self) -> Term | None:
        start = self.at
        found = _PATTERN.match(self.line, start)
        assert found is not None
        self.at = found.end()
        if not found[2]:
            phrase = terms.quote_phrase(found[0])
            fix = Fix(start, self.at, phrase, phrase)
            self._mistake(start, f"{shown(found[0])} needs a '/' at its end.", fix)
            return None
        pattern = re.sub(r"\\(/)|(\\.)", r"\1\2", found[1], flags=re.DOTALL)
        if _ANY_CASE.match(self.line, self.at):
            self.at += 1
            pattern = f"(?i){pattern}"
        if not pattern:
            self._mistake(start, "'//' contains no pattern.", self._left_out(start, self.at))
            return None
        return Term("regex", ":", (Value(pattern, *found.span(1)),), start, self.at)

    def _term(self) -> Tree | None:
        start = self.at
        is_phrase = self.line[start] == '"'
        name, end = self._atom(start, self._ends_a_word)
        operator = _OPERATOR.match(self.line, end)
        if operator is None:
            return self._bare(start, is_phrase)
        self.at = operator.end()
        values = self._values()
        text = self.line[start : self.at]
        if not name.strip():
            self._mistake(start, f"{shown(text)} has no name before {shown(operator[2])}.")
            return None
        if not values:
            self._mistake(start, f"{shown(text)} needs a value.")
            return None
        sign = terms.SPELLINGS.get(operator[2], operator[2])
        sign, is_unequal = (":", True) if sign == "!=" else (sign, False)
        term = Term(name, sign, values, start, self.at, name_end=end)
        return Not(term) if is_unequal else term

    def _bare(self, start: int, is_phrase: bool) -> Tree | None:
        """Read words or phrases that stand without a name."""
        values = self._alternatives(self._ends_a_word)
        if not values:
            self.at = max(self.at, start + 1)
            text = self.line[start : self.at]
            self._mistake(start, f"{shown(text)} is empty.", self._left_out(start, self.at))
            return None
        if is_phrase:
            return Term("phrase", ":", values, start, self.at)
        words = tuple(value for value in values if value.text.lower() not in terms.FLAGS)
        flags = [value for value in values if value.text.lower() in terms.FLAGS]
        found: list[Tree] = [
            Term(flag.text.lower(), "", (), flag.start, flag.end) for flag in flags
        ]
        if words:
            found.append(Term("word", ":", words, words[0].start, words[-1].end, is_bare=True))
        return either(found)

    def _values(self) -> tuple[Value, ...]:
        """Read the alternatives behind an operator; none where the line goes on without one."""
        before = self.at
        self._skip_blanks()
        if self.at > before and _JOIN_WORD.match(self.line, self.at):
            self.at = before
            return ()
        return self._alternatives(self._ends_a_value)

    def _alternatives(self, ends: Ends) -> tuple[Value, ...]:
        """Read values joined by commas; `at` is the first letter, and afterwards the next term."""
        values: list[Value] = []
        comma = None
        while True:
            start = self.at
            text, self.at = self._atom(start, ends)
            if self.at > start:
                values.append(Value(text, start, self.at))
            after = self._skip_blanks(self.at)
            goes_on = self._goes_on(after)
            if self.at == start and (values or goes_on):
                extra = after if comma is None else comma
                self._mistake(extra, "a value is missing.", self._left_out(extra, extra + 1))
            if not goes_on:
                return tuple(values)
            if terms.KNOWN.match(self.line, after + 1):
                fix = Fix(after, after + 1, " OR ", "OR in place of the comma")
                self._mistake(after, "a comma separates values of one term.", fix)
                self.at = after + 1
                return tuple(values)
            comma = after
            self.at = self._skip_blanks(after + 1)

    def _goes_on(self, place: int) -> bool:
        """Return whether another alternative follows: behind a comma, or a `|` without blanks."""
        letter = self.line[place : place + 1]
        return letter == "," or (letter == "|" and place == self.at and not self._joins(place))

    def _atom(self, start: int, ends: Ends) -> tuple[str, int]:
        """Read plain letters and quoted parts; return the text and where it ends."""
        pieces, place, depth = [], start, 0
        while place < len(self.line):
            letter = self.line[place]
            if letter == '"':
                text, place = self._quoted(place)
                pieces.append(text)
                continue
            if letter.isspace() or letter == "," or ends(place, depth, place == start):
                break
            depth += (letter == "(") - (letter == ")")
            pieces.append(letter)
            place += 1
        return "".join(pieces), place

    def _ends_a_word(self, place: int, depth: int, is_first: bool) -> bool:
        return self.line[place] in "()|&:=<>≥≤≠" or self.line.startswith("!=", place)

    def _ends_a_value(self, place: int, depth: int, is_first: bool) -> bool:
        """Return whether a value ends: at the bracket of its group, or where another term begins.

        Brackets of its own belong to a value, so that `word:(` means what it says.
        """
        letter = self.line[place]
        if letter == ")":
            return depth <= 0 and len(self.open) > 1
        if is_first:
            return False
        return letter == "|" or (letter == "&" and self._joins(place))

    def _joins(self, place: int) -> bool:
        """Return whether a term follows a `|` or `&`, and no more of the value."""
        letter = self.line[place]
        follows = place + (2 if self.line.startswith(letter * 2, place) else 1)
        return follows > place + 1 or bool(_ANY_TERM.match(self.line, follows))

    def _quoted(self, start: int) -> tuple[str, int]:
        """Read what stands in quotation marks; return it and the place behind."""
        found = _QUOTED.match(self.line, start)
        assert found is not None
        end = found.end()
        if not found[2]:
            fix = Fix(end, end, '"', "a '\"' at the end")
            self._mistake(start, "the quotation mark is never closed.", fix)
        return re.sub(r"\\(.)", r"\1", found[1], flags=re.DOTALL), end

    def _skip_blanks(self, place: int | None = None) -> int:
        """Return the next place that is no blank; without `place`, go there."""
        found = self.at if place is None else place
        while found < len(self.line) and self.line[found].isspace():
            found += 1
        if place is None:
            self.at = found
        return found

    def _mistake(self, start: int, sentence: str, *fixes: Fix) -> None:
        mistake = Mistake(start, sentence[0].upper() + sentence[1:], fixes)
        if mistake not in self.mistakes[-1:]:  # A name is read twice where it is none.
            self.mistakes.append(mistake)
