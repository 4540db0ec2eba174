"""Which column plays which role: by its name, else by the values of many rows; pure functions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from saliency_core.jsonable import as_number

ROLE_NAMES = {
    "text": ("text", "sentence", "sentence1", "premise", "review", "content", "message", "query"),
    "pair": ("text_pair", "pair", "sentence2", "hypothesis", "text2"),
    "label": ("label", "gold_label", "labels", "category", "class", "sentiment", "intent"),
    "id": ("id", "idx", "uid", "guid", "example_id"),
}
"""Column names that tell a role; the first found wins."""

SURE = 0.8
"""Confidence from which a column is taken without asking."""
BY_NAME, FITTING, DOUBTFUL = 1.0, 0.95, 0.4
FEWEST_ROWS = 3
"""Filled cells from which values tell anything."""
TEXT_WORDS = 3.0
"""Words a cell of a text column has on average."""
MOST_LABELS = 50
LONGEST_LABEL = 60
PREDICTED = re.compile(r"pred|output|answer|served|argmax", re.IGNORECASE)
"""Names of columns that hold what a model said, not what is true."""
WITHOUT_BLANKS = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u9fff]")
"""Scripts that write words without blanks between them; about two characters are a word."""


@dataclass(frozen=True)
class Guess:
    """A column taken for a role."""

    column: str
    confidence: float
    by: str
    """`name` or `values`."""

    @property
    def sure(self) -> bool:
        """Whether it may be taken without asking."""
        return self.confidence >= SURE


def role_of_name(name: str) -> str | None:
    """Return the role that a column's name tells."""
    lower = str(name).strip().lower()
    return next((role for role, names in ROLE_NAMES.items() if lower in names), None)


def guess_columns(
    names: Sequence[str], rows: Sequence[dict[str, Any]], model_labels: Iterable[str] = ()
) -> dict[str, Guess]:
    """Return role -> the likeliest column, for the roles that some column may play.

    Names go first. A name is not believed where the values speak against it and another column's
    for it: texts that are none, labels that are not the model's. By values a column is the text if
    it is the only one of long, distinct texts; the label if its values are the model's labels.
    Other columns of few short values are named as doubtful.

    Args:
        names: the columns.
        rows: many rows; the more, the surer.
        model_labels: the labels of the model, where they are known.
    """
    lower = {name.lower(): name for name in reversed(names)}
    cells = {name: [row[name] for row in rows if not is_missing(row.get(name))] for name in names}
    texts = [name for name in names if _are_texts(cells[name])]
    guessed: dict[str, Guess] = {}
    for role, candidates in ROLE_NAMES.items():
        found = [lower[name] for name in candidates if name in lower]
        if role == "text" and texts:
            found = [name for name in found if name in texts or _may_be_text(cells[name])]
        if found:
            guessed[role] = Guess(found[0], BY_NAME, "name")
    used = {guess.column for guess in guessed.values()}
    free = [name for name in names if name not in used]
    if "text" not in guessed:
        _add(guessed, "text", [name for name in texts if name in free], 0.9)
    named = guessed.get("label")
    fitting = label_columns(free if named is None else [*free, named.column], rows, model_labels)
    if named is None:
        few = [name for name in free if _are_few(cells[name])]
        _add(guessed, "label", fitting or few, FITTING if fitting else DOUBTFUL)
    elif fitting and named.column not in fitting:
        _add(guessed, "label", fitting, FITTING)
    return guessed


def _add(guessed: dict[str, Guess], role: str, columns: list[str], confidence: float) -> None:
    """Add the first of some columns as a guess, doubtful where there are others."""
    if columns:
        sure = confidence if len(columns) == 1 else min(confidence, DOUBTFUL)
        guessed[role] = Guess(columns[0], sure, "values")


def label_columns(
    names: Sequence[str], rows: Sequence[dict[str, Any]], model_labels: Iterable[str]
) -> list[str]:
    """Return the columns whose values are the model's labels, what a model said left out."""
    known = {_lower(label) for label in model_labels}
    found = []
    for name in names:
        cells = [row[name] for row in rows if not is_missing(row.get(name))]
        if not PREDICTED.search(name) and _are_few(cells) and set(map(_lower, cells)) <= known:
            found.append(name)
    return found


def _lower(value: Any) -> str:
    return str(value).strip().lower()


def _are_few(cells: list[Any]) -> bool:
    """Return whether cells are like labels: short, few distinct, most of them repeated."""
    if len(cells) < FEWEST_ROWS or any(_is_inexact(cell) for cell in cells):
        return False
    values = {_lower(cell) for cell in cells}
    return (
        2 <= len(values) <= min(MOST_LABELS, len(cells) // 2 + 1)
        and max(map(len, values)) <= LONGEST_LABEL
    )


def _is_inexact(cell: Any) -> bool:
    return isinstance(cell, (dict, bytes)) or (isinstance(cell, float) and not cell.is_integer())


def _may_be_text(cells: list[Any]) -> bool:
    """Return whether nothing speaks against texts: some cell is a string and no number."""
    return not cells or any(isinstance(cell, str) and as_number(cell) is None for cell in cells)


def _are_texts(cells: list[Any]) -> bool:
    """Return whether cells are texts: strings of several words, most of them distinct."""
    if len(cells) < FEWEST_ROWS or not all(isinstance(cell, str) for cell in cells):
        return False
    words = sum(count_words(cell) for cell in cells) / len(cells)
    return words >= TEXT_WORDS and 2 * len(set(cells)) >= len(cells)


def count_words(text: str) -> float:
    """Return about how many words a text has, in any script."""
    return max(len(text.split()), len(WITHOUT_BLANKS.findall(text)) / 2)


def may_be_data(names: Sequence[str], rows: Sequence[dict[str, Any]]) -> bool:
    """Return whether a header seems to be the first row: a number, a text, or a value below it."""
    for name in names:
        below = {str(row.get(name)).strip() for row in rows}
        if as_number(name) is not None or len(name.split()) > 4 or name in below:
            return True
    return False


def is_missing(value: Any) -> bool:
    """Return whether a cell is empty: None, NaN, or what pandas calls NA."""
    if value is None:
        return True
    if isinstance(value, (str, int, list, dict)):
        return False
    try:
        return bool(value != value)
    except (TypeError, ValueError, RuntimeError):  # pandas.NA has no truth; an array has several
        return type(value).__name__ == "NAType"
