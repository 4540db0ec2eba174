"""The most telling findings of an audit as sentences, each with the slice that shows it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from saliency_core.analysis.word_tables import contrast
from saliency_core.store import Run
from saliency_core.store.query.parser import quote

CONFIDENT = 0.9
MINIMUM_SUPPORT = 10
"""Examples a metadata value or word needs before a sentence is made of it."""
MINIMUM_Z = 3.0
"""z of the log-odds from which a word counts as typical of errors."""
STRONGEST = 1_000
"""Words of the greatest difference that are looked at."""
SAMPLED_CHUNKS = 48
"""Chunks, of some thousand examples each, in which the word typical of errors is looked for; what
is then said of it is counted in all."""
MAXIMUM_VALUES = 50
"""Values a metadata column may have to be looked at: ids and free text are no groups."""


@dataclass(frozen=True)
class Finding:
    """One sentence and where to look."""

    sentence: str
    where: str
    """A slice of the examples it speaks of."""
    page: str = "errors"
    """Where the evidence is shown."""


def findings(run: Run) -> list[Finding]:
    """Return what an analyst should look at first: worst group, worst word, surprising errors.

    Nothing is said of a run without labels or without errors.
    """
    right, wrong = run.filter("right").count(), run.filter("wrong").count()
    if not wrong:
        return []
    error_rate = wrong / (right + wrong)
    found = [
        _worst_group(run, error_rate),
        _strongest_suspect(run) or _word_of_errors(run),
        _confident_errors(run, wrong),
        _worst_confusion(run),
    ]
    return [finding for finding in found if finding is not None]


def _worst_group(run: Run, error_rate: float) -> Finding | None:
    """Return the metadata value with the most errors beyond the expected, of those far above."""
    gold = run.column("gold")
    predicted = run.column("predicted")
    judged = (gold >= 0) & (predicted >= 0)
    wrong = judged & (gold != predicted)
    worst, most = None, 0.0
    for column in run.metadata_columns():
        texts, codes = run.metadata_codes(column)
        names = np.array(texts)
        if not 1 < len(names) <= MAXIMUM_VALUES:
            continue
        n = np.bincount(codes[judged], minlength=len(names))
        errors = np.bincount(codes[wrong], minlength=len(names))
        spread = np.sqrt(error_rate * (1 - error_rate) * np.maximum(n, 1))
        telling = (n >= MINIMUM_SUPPORT) & (errors - error_rate * n > MINIMUM_Z * spread)
        excess = np.where(telling & (names != ""), errors - error_rate * n, 0.0)
        place = int(excess.argmax())
        if excess[place] > most:
            most = float(excess[place])
            worst = (column, str(names[place]), int(errors[place]), int(n[place]))
    if worst is None:
        return None
    column, value, errors, n = worst
    return Finding(
        f"Where {column} is {value}, {errors} of {n} answers are wrong ({errors / n:.0%}, "
        f"against {error_rate:.0%} overall).",
        f"wrong meta.{quote(column)}:{quote(value)}",
    )


def _strongest_suspect(run: Run) -> Finding | None:
    """Return the first suspect that the model relies on, once suspects were looked for."""
    # Their statistics take a second to import: only where there are any.
    if run.table("suspects") is None:
        return None
    from saliency_core.shortcuts.suspects import HARMFUL, RELIED, kept_suspects

    kept = kept_suspects(run)
    table = kept[0][kept[0]["verdict"].isin([HARMFUL, RELIED])] if kept else []
    if not len(table):
        return None
    row = table.iloc[0]
    return Finding(
        f"The model is suspected to rely on “{row['feature']}” for {row['class']} "
        f"({row['verdict']}).",
        row["where"],
        page="suspects",
    )


def _word_of_errors(run: Run) -> Finding | None:
    """Return the word whose place among the most salient is most typical of wrong answers."""
    layer = run.recommended
    if layer is None or not run.filter("right").count():
        return None
    words = contrast(
        run.filter("wrong"),
        run.filter("right"),
        layer,
        minimum=MINIMUM_SUPPORT,
        chunks=SAMPLED_CHUNKS,
        most=STRONGEST,
    )
    words = words[(words["z"] > MINIMUM_Z) & words["word"].str.contains(r"\w")]
    if words.empty:
        return None
    word = words.sort_values("z", ascending=False)["word"].iloc[0]
    where = f"salient:{quote(word)}@{layer}"
    part = run.filter(where)
    total, errors = part.count(), part.filter("wrong").count()
    if not errors:
        return None
    return Finding(
        f"Where “{word}” is among the three words the model leans on most, {errors} of {total} "
        f"answers are wrong ({errors / total:.0%}).",
        f"wrong {where}",
    )


def _confident_errors(run: Run, wrong: int) -> Finding | None:
    where = f"wrong confidence>{CONFIDENT:g}"
    count = run.filter(where).count()
    if not count:
        return None
    return Finding(
        f"{count} of {wrong} wrong answers are given with more than {CONFIDENT:.0%} confidence: "
        "wrong labels often stand at the top of them.",
        where,
    )


def _worst_confusion(run: Run) -> Finding | None:
    cells = run.filter().confusion()
    cells = cells[cells["gold"] != cells["predicted"]]
    if cells.empty:
        return None
    cell = cells.loc[cells["count"].idxmax()]
    return Finding(
        f"{cell['gold']} is most often taken for {cell['predicted']}: {cell['count']} times.",
        f"gold:{quote(cell['gold'])} predicted:{quote(cell['predicted'])}",
    )
