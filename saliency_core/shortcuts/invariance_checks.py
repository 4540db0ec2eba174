"""Invariance checks: pairs of texts that differ in a spurious word and must get one answer."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from saliency_core.data.files.row_writer import write_json_lines
from saliency_core.errors import UserError
from saliency_core.model.audited import answers
from saliency_core.shortcuts.counterfactuals import edits_in_slice
from saliency_core.stats import wilson
from saliency_core.store import Run, Slice

if TYPE_CHECKING:
    from saliency_core.model.classifier import Classifier

PER_WORD = 50
"""Pairs a word."""
KIND = "invariance"


def write_checks(
    part: Slice, output: Path, words: Sequence[str] = (), *, per_word: int = PER_WORD
) -> int:
    """Write a JSON line a pair, an example with a word and the same without it; return how many.

    Of the words given, else of those with the verdict `spurious`, at most `per_word` pairs each.

    Raises:
        UserError: no word is named or judged spurious, or no example holds one.
    """
    run = part.run
    draw = np.random.default_rng(0)
    rows: list[dict[str, Any]] = []
    for word in spurious_words(run, words):
        edits = edits_in_slice(part, word, "", per_word, draw)
        edits = [(position, old, new) for position, old, new in edits if old != new]
        ids = run.examples_at([position for position, _, _ in edits])["id"]
        for id, (_, texts, edited) in zip(ids, edits, strict=True):
            pair = {} if texts[1] is None else {"pair": texts[1], "edited_pair": edited[1]}
            rows.append(
                {"check": KIND, "word": word, "id": id, "text": texts[0], "edited": edited[0]}
                | pair
            )
    if not rows:
        raise UserError("No example of this slice contains any of the words.")
    output.parent.mkdir(parents=True, exist_ok=True)
    write_json_lines(output, rows)
    return len(rows)


def spurious_words(run: Run, words: Sequence[str] = ()) -> list[str]:
    """Return the words named, else those an analyst judged spurious.

    Raises:
        UserError: there are none.
    """
    named = sorted({word.strip().lower() for word in words if word.strip()})
    if not named:
        verdicts = run.verdicts()
        named = sorted(set(verdicts.loc[verdicts["verdict"] == "spurious", "word"]))
    if not named:
        raise UserError(
            "Name the words with --word, or give words the verdict “spurious” on the Suspects page."
        )
    return named


@dataclass(frozen=True)
class Checked:
    """How many pairs of a word got two answers."""

    word: str
    pairs: int
    failed: int
    low: float
    high: float
    """95 % Wilson interval of the rate of failed pairs."""
    examples: list[dict[str, str]]
    """id, before, after of the failed pairs."""


def run_checks(classifier: Classifier, path: Path) -> list[Checked]:
    """Return, word by word, whether a model gives both texts of a pair the same answer.

    Raises:
        UserError: the file holds no checks.
    """
    if not path.is_file():
        raise UserError(f"There is no file {path}.")
    rows = [row for row in rows_of(path) if row.get("check") == KIND]
    if not rows:
        raise UserError(f'{path} contains no line with "check": "{KIND}".')
    missing = next((row for row in rows if not {"text", "edited", "word"} <= row.keys()), None)
    if missing is not None:
        raise UserError(f"{path}: a check needs text, edited and word, but one has {missing}.")
    first = [(row["text"], row.get("pair")) for row in rows]
    second = [(row["edited"], row.get("edited_pair")) for row in rows]
    before, after = np.split(answers(classifier, [*first, *second]).argmax(1), 2)
    names = classifier.info.label_names
    result = []
    for word in sorted({row["word"] for row in rows}):
        mine = [place for place, row in enumerate(rows) if row["word"] == word]
        failed = [place for place in mine if before[place] != after[place]]
        low, high = wilson(len(failed), len(mine))
        examples = [
            {
                "id": str(rows[place].get("id", "")),
                "before": names[before[place]],
                "after": names[after[place]],
            }
            for place in failed
        ]
        result.append(Checked(word, len(mine), len(failed), low, high, examples))
    return result


def rows_of(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects of a JSON Lines file.

    Raises:
        UserError: a line is not a JSON object.
    """
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise UserError(f"{path}, line {number} is not JSON: {error.msg}.") from None
            if not isinstance(row, dict):
                raise UserError(f"{path}, line {number} is not a JSON object.")
            yield row
