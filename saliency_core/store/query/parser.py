"""The slice language: one line of text to terms. What a term selects is the reader's business."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from saliency_core.errors import UserError

QUALITY_FLAGS = ("label_issue", "duplicate", "duplicate_conflict", "in_train")
"""What `data-quality` found out about examples."""
REVIEW_FLAGS = ("reviewed", "relabelled", "note")
"""What analysts said of examples."""
FLAGS = ("wrong", "right", "truncated", "failed", *REVIEW_FLAGS, *QUALITY_FLAGS)
NAMED = ("gold", "predicted", "word", "salient", "verdict", "slice", "id", "tag")
NUMBERS = ("confidence", "margin", "length", "coherence", "label_quality")
VERDICTS = ("spurious", "genuine", "unsure")
OPERATORS = (">=", "<=", ">", "<", ":", "=")

HELP = (
    "wrong, right, gold:LABEL, predicted:A,B, confidence>0.9, margin<0.1, length>=50, truncated, "
    'failed, word:WORD, salient:WORD@LAYER, coherence<0, "a phrase", meta.KEY:VALUE, '
    "reviewed, relabelled, note, tag:NAME, "
    "verdict:spurious, slice:NAME, id:ID, label_issue, label_quality<0.2, duplicate, "
    "duplicate_conflict, in_train"
)


@dataclass(frozen=True)
class Value:
    """One alternative of a term."""

    text: str
    start: int
    """Place in the line, from 0."""
    quoted: bool = False


@dataclass(frozen=True)
class Term:
    """One condition of a slice."""

    field: str
    """A flag, a name, a number, `phrase`, or `meta.KEY`."""
    operator: str
    values: tuple[Value, ...]
    negated: bool
    start: int
    text: str


def parse(line: str) -> tuple[Term, ...]:
    """Parse a slice; an empty line is the slice of everything.

    Raises:
        UserError: With the place and the nearest valid term.
    """
    line = line or ""
    terms, place = [], 0
    while place < len(line):
        if line[place].isspace():
            place += 1
            continue
        end = _end(line, place)
        if line[place:end] != "AND":
            terms.append(_term(line, place, end))
        place = end
    return tuple(terms)


def rest_of(line: str) -> str | None:
    """Return the slice of all other examples; None where one line can't say it.

    Only a single term has one: terms are joined by AND, and there is no OR to negate them with.
    """
    terms = parse(line)
    if len(terms) != 1:
        return None
    text = line.strip()
    return text.removeprefix("-") if terms[0].negated else f"-{text}"


def quote(value: str) -> str:
    """Return a value as it must stand in a slice."""
    plain = value and not any(c.isspace() or c in '",\\' for c in value)
    if plain:
        return value
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _end(line: str, place: int) -> int:
    """Return where the term that starts at `place` ends; spaces within quotes do not end it."""
    inside, opened, start = False, 0, place
    while place < len(line):
        letter = line[place]
        if letter == "\\" and inside:
            place += 1
        elif letter == '"':
            inside, opened = not inside, place
        elif letter.isspace() and not inside:
            break
        place += 1
    if inside:
        raise error(line, start, opened, "has a quote that does not end", None)
    return min(place, len(line))


def _term(line: str, start: int, end: int) -> Term:
    """Parse one term."""
    negated = line[start] == "-" and end > start + 1
    begin = start + negated
    text = line[start:end]
    if line[begin] == '"':
        values = _values(line, begin, end)
        return Term("phrase", ":", values, negated, start, text)
    at, operator = _operator(line, begin, end)
    if operator is None:
        word = line[begin:end]
        if word in FLAGS:
            return Term(word, "", (), negated, start, text)
        raise error(line, start, begin, "is not a term", _nearest(word))
    name = line[begin:at]
    values = _values(line, at + len(operator), end)
    _check(line, start, begin, name, operator, values)
    field = "meta." + _unquote(name[5:]) if name.startswith("meta.") else name
    return Term(field, operator, values, negated, start, text)


def _operator(line: str, begin: int, end: int) -> tuple[int, str | None]:
    """Return the place of the first operator outside quotes, and it."""
    inside, place = False, begin
    while place < end:
        if line[place] == "\\" and inside:
            place += 1
        elif line[place] == '"':
            inside = not inside
        elif not inside:
            found = next((o for o in OPERATORS if line.startswith(o, place)), None)
            if found:
                return place, found
        place += 1
    return end, None


def _values(line: str, start: int, end: int) -> tuple[Value, ...]:
    """Split alternatives at commas outside quotes."""
    values, text, begin, place = [], "", start, start
    inside = quoted = False
    while place < end:
        letter = line[place]
        if letter == "\\" and inside and place + 1 < end:
            place += 1
            text += line[place]
        elif letter == '"':
            inside, quoted = not inside, True
        elif letter == "," and not inside:
            values.append(Value(text, begin, quoted))
            text, begin, quoted = "", place + 1, False
        else:
            text += letter
        place += 1
    values.append(Value(text, begin, quoted))
    return tuple(values)


def _unquote(name: str) -> str:
    """Return a metadata key without quotes."""
    return _values(name, 0, len(name))[0].text if '"' in name else name


def _check(
    line: str, start: int, begin: int, name: str, operator: str, values: tuple[Value, ...]
) -> None:
    """Refuse unknown names, operators that do not apply and missing values."""
    meta = name.startswith("meta.") and len(name) > 5
    if name in FLAGS:
        raise error(line, start, begin, "takes no value", name)
    if not meta and name not in (*NAMED, *NUMBERS):
        rest = operator + ",".join(quote(value.text) for value in values)
        raise error(line, start, begin, "is not a term", _nearest(name, rest))
    if name in NAMED and operator not in (":", "="):
        raise error(line, start, begin + len(name), f"needs a colon, not {operator!r}", f"{name}:")
    for value in values:
        if not value.text and not value.quoted:
            raise error(line, start, value.start, "lacks a value", f"{name}{operator}VALUE")
    if name in NUMBERS or (meta and operator in (">", "<", ">=", "<=")):
        for value in values:
            number(line, start, value)
    if name == "verdict":
        for value in values:
            choose(line, start, value, VERDICTS, "is not a verdict")


def number(line: str, start: int, value: Value) -> float:
    """Return a value as a number."""
    try:
        return float(value.text)
    except ValueError:
        raise error(line, start, value.start, "needs a number", None) from None


def choose(
    line: str, start: int, value: Value, choices: tuple[str, ...] | list[str], problem: str
) -> str:
    """Return a value that is one of the choices; else an error with the nearest."""
    if value.text in choices:
        return value.text
    near = difflib.get_close_matches(value.text, list(choices), 1, 0.0)
    shown = ", ".join(list(choices)[:20]) + (", ..." if len(choices) > 20 else "")
    raise error(
        line,
        start,
        value.start,
        f"{problem} (there are: {shown or 'none'})",
        quote(near[0]) if near else None,
    )


def _nearest(word: str, rest: str | None = None) -> str:
    """Return the valid term most like a wrong one."""
    name = word.lower()
    if rest is None:
        names = [*FLAGS, *(f"{n}:" for n in NAMED), *NUMBERS]
        close = difflib.get_close_matches(name, names, 1, 0.6)
        if not close:
            return f"word:{quote(word)}"
        near = close[0]
        if near.endswith(":"):
            return near + near[:-1].upper()
        return near if near in FLAGS else f"{near}>0.5"
    names = [*NAMED, *NUMBERS, "meta."]
    near = (difflib.get_close_matches(name, names, 1, 0.0) or ["word"])[0]
    if near == "meta.":
        return f"meta.KEY{rest}"
    return near + rest


def error(line: str, start: int, place: int, problem: str, near: str | None) -> UserError:
    """Return the sentence: the term, its place, what is wrong, the nearest valid one."""
    try:
        end = _end(line, start)
    except UserError:
        end = len(line)
    except RecursionError:
        end = len(line)
    sentence = f"Slice, character {place + 1}: {line[start:end]!r} {problem}."
    if near:
        sentence += f" Nearest valid: {near}."
    return UserError(f"{sentence} Terms: {HELP}.")
