"""The most telling findings of an audit as sentences, each with the slice that shows it."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np

from saliency_core.analysis.features import MAXIMUM_VALUES, WORD
from saliency_core.analysis.kept_suspects import HARMFUL, RELIED, kept_suspects
from saliency_core.analysis.word_tables import contrast
from saliency_core.records import SEVERITIES, Finding
from saliency_core.store import Run
from saliency_core.store.query.terms import metadata_term, quote

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


def findings(run: Run) -> list[Finding]:
    """Return what an analyst should look at first, the worst first.

    Worst group, worst word, surprising errors; nothing of a run without labels or without errors.
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
    return by_severity(finding for finding in found if finding is not None)


def by_severity(found: Iterable[Finding]) -> list[Finding]:
    """Return findings, the worst first, those that are as bad in the order given."""
    return sorted(found, key=lambda finding: SEVERITIES.index(finding.severity))


def headline(run: Run) -> str:
    """Return in one sentence what was audited and what there is to see."""
    n = run.filter().count()
    kind = "regression model" if run.model.task == "regression" else "classifier"
    layers = f"{run.model.layers}-layer"
    article = "An" if layers.startswith(("8", "11-", "18-")) else "A"
    texts = f"{n:,} text{'s' if n != 1 else ''} from the dataset “{run.dataset.name}”"
    does = "what it predicts" if run.accuracy is None else "what it gets wrong"
    return (
        f"{article} {layers} {family(run.model.architecture)} {kind} on {texts}: {does} and which "
        "words it relies on."
    )


def family(architecture: str) -> str:
    """Return what people call a model whose class has this name: `BERT`, `RoBERTa`, `GPT2`."""
    name = re.sub(r"(For|With)[A-Z].*$|Model$", "", architecture) or architecture
    return re.sub("bert", "BERT", name, flags=re.IGNORECASE)


def _worst_group(run: Run, error_rate: float) -> Finding | None:
    """Return the metadata value with the most errors beyond the expected, of those far above."""
    wrong = run.filter("wrong").mask()
    judged = wrong | run.filter("right").mask()
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
    column, value, wrong_there, there = worst
    return Finding(
        f"{wrong_there / there:.0%} wrong",
        f"where “{{}}” is {{}} ({wrong_there:,} of {there:,} predictions, against "
        f"{(wrong.sum() - wrong_there) / (judged.sum() - there):.0%} elsewhere)",
        (column, value),
        severity="high",
        where=f"wrong {metadata_term(column, value)}",
    )


def _strongest_suspect(run: Run) -> Finding | None:
    """Return the first suspect that the model relies on, once suspects were looked for."""
    kept = kept_suspects(run)
    table = kept[0][kept[0]["assessment"].isin([HARMFUL, RELIED])] if kept else None
    if table is None or table.empty:
        return None
    row = table.iloc[0]
    feature = "“{}”" if row["kind"] == WORD else "the feature {}"
    message, names = f"{feature} makes the model predict {{}}", [row["feature"], row["class"]]
    if row["errors_k"]:
        names.append(row["class"])
        wrong, n = int(row["errors_k"]), int(row["errors_n"])
        message += f"; {wrong:,} of the {n:,} {{}} predictions for texts with it are wrong"
    return Finding(
        "Possible shortcut:",
        message,
        tuple(names),
        severity="high" if row["assessment"] == HARMFUL else "medium",
        page="suspects",
        where=row["where"],
        options={"suspect": row["feature"], "of": row["class"]},
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
        f"{errors / total:.0%} wrong",
        f"where “{{}}” is among the three words that the model relies on most: {errors:,} of "
        f"{total:,} predictions",
        (word,),
        where=f"wrong {where}",
    )


def _confident_errors(run: Run, wrong: int) -> Finding | None:
    where = f"wrong confidence>{CONFIDENT:g}"
    count = run.filter(where).count()
    if not count:
        return None
    return Finding(
        f"{count:,} of the {wrong:,}",
        f"wrong predictions were made with more than {CONFIDENT:.0%} confidence: check the "
        "labels of these texts",
        where=where,
    )


def _worst_confusion(run: Run) -> Finding | None:
    cells = run.filter().confusion()
    cells = cells[cells["gold"] != cells["predicted"]]
    if cells.empty:
        return None
    cell = cells.loc[cells["count"].idxmax()]
    texts = "1 text" if cell["count"] == 1 else f"{cell['count']:,} texts"
    return Finding(
        texts,
        "labelled {} but predicted as {}: the most frequent confusion",
        (cell["gold"], cell["predicted"]),
        severity="low",
        where=f"gold:{quote(cell['gold'])} predicted:{quote(cell['predicted'])}",
    )
