"""The kept suspects for people: filtered, joined with the analyst's verdicts, told in sentences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from saliency_core.analysis.features import WORD
from saliency_core.analysis.kept_suspects import VERDICTS
from saliency_core.stats import wilson
from saliency_core.store.query.editing import joined
from saliency_core.store.query.parser import quote

HONEST = "A word that carries the class's meaning is also relied on: the judgement is yours."
SORTS = ("suspicion", "association", "reliance", "effect", "errors", "examples")
_VALUE = {
    "association": "z",
    "reliance": "mean_share",
    "effect": "flip_rate",
    "errors": "risk_ratio",
    "examples": "examples",
}
OPTIONAL = (
    "effect_n flip_rate flip_low flip_high mean_drop control_flip_rate"
    " share_low share_high risk_low risk_high"
).split()
"""Columns a kept table may lack: effects that nobody measured, intervals it is too old for."""


def with_judgements(table: pd.DataFrame, verdicts: pd.DataFrame) -> pd.DataFrame:
    """Return the suspects with the analyst's `judgement` and `note` ("" where there are none).

    Columns of `OPTIONAL` that it lacks are added as NaN.

    Args:
        table: of `suspects.kept_suspects`.
        verdicts: of `Store.verdicts`.
    """
    mine = verdicts.rename(columns={"word": "lower", "verdict": "judgement"})
    mine = mine[["lower", "class", "judgement", "note"]]
    missing = {name: np.nan for name in OPTIONAL if name not in table}
    table = table.assign(lower=table["feature"].str.lower(), **missing)
    joined = table.merge(mine, on=["lower", "class"], how="left").drop(columns="lower")
    return joined.fillna({"judgement": "", "note": ""})


def filtered(
    table: pd.DataFrame,
    *,
    verdict: str | None = None,
    class_name: str | None = None,
    kind: str | None = None,
    judgement: str | None = None,
    text: str = "",
    sort: str = SORTS[0],
) -> pd.DataFrame:
    """Return the rows that pass every filter given; `text` is a part of the feature, any case.

    Sorted by suspicion, which is the order of the table, or by one kind of evidence, largest first.
    """
    kept = pd.Series(True, table.index)
    for column, value in (("verdict", verdict), ("class", class_name), ("kind", kind)):
        if value is not None:
            kept &= table[column] == value
    if judgement is not None:
        kept &= table["judgement"] == judgement
    if text.strip():
        kept &= table["feature"].str.contains(text.strip(), case=False, regex=False)
    found = table[kept]
    if sort in _VALUE:
        found = found.sort_values(_VALUE[sort], ascending=False, kind="stable")
    return found.reset_index(drop=True)


def counts(table: pd.DataFrame) -> dict[str, int]:
    """Return how many rows have each verdict, strongest first."""
    found = table["verdict"].value_counts()
    return {verdict: int(found.get(verdict, 0)) for verdict in VERDICTS}


def shown(table: pd.DataFrame) -> pd.DataFrame:
    """Return the columns of the table on the page.

    The four values stand side by side; their supports and intervals follow, as texts.
    """
    rows = table.to_dict("records")
    return pd.DataFrame(
        {
            "feature": table["feature"],
            "class": table["class"],
            "verdict": table["verdict"],
            "share_by_layer": table["share_by_layer"],
            "z": table["z"].astype(float),
            "mean_share": table["mean_share"].astype(float),
            "flip_rate": table["flip_rate"].astype(float),
            "risk_ratio": table["risk_ratio"].where(table["errors_n"] > 0).astype(float),
            "judgement": table["judgement"],
            "association": [_rate(row["k"], row["n"]) for row in rows],
            "reliance": [
                _with_support(row["share_low"], row["share_high"], row["predictions"])
                for row in rows
            ],
            "effect": [
                _with_support(row["flip_low"], row["flip_high"], row["effect_n"]) for row in rows
            ],
            "errors": [
                _with_support(row["risk_low"], row["risk_high"], row["errors_n"], "{:.2g}")
                for row in rows
            ],
        }
    )


def _rate(k: float, n: float) -> str:
    if not n:
        return "no label"
    low, high = wilson(int(k), int(n))
    return f"{k / n:.0%} of {n:,.0f} ({low:.0%} to {high:.0%})"


def _with_support(low: float, high: float, n: float, form: str = "{:.0%}") -> str:
    if not n or n != n:
        return "not measured"
    interval = "" if low != low else f"{form.format(low)} to {form.format(high)}, "
    return f"{interval}{n:,.0f} examples"


def evidence(row: dict[str, Any]) -> dict[str, str]:
    """Return a sentence for each kind of evidence of one suspect: plain text, to be escaped."""
    return {
        "Association": _association(row),
        "Reliance": _reliance(row),
        "Effect": _effect(row),
        "Errors": _errors(row),
    }


def _association(row: dict[str, Any]) -> str:
    if not row["n"]:
        return "No text that has it carries a label."
    rate = row["k"] / row["n"]
    low, high = wilson(int(row["k"]), int(row["n"]))
    sentence = (
        f"{row['k']:,} of the {row['n']:,} labelled texts that have it are {row['class']}: "
        f"{rate:.0%} (95 % interval {low:.0%} to {high:.0%}), against {row['base_rate']:.0%} of "
        f"all texts. z is {row['z']:.1f}{_p(row, 'association')}."
    )
    shift = row.get("shift")
    if shift is not None and shift == shift:
        sentence += f" Counted in the training data; in the audited texts it is {rate - shift:.0%}."
    return sentence


def _reliance(row: dict[str, Any]) -> str:
    if row["mean_share"] != row["mean_share"]:
        return "No single word carries it, so it has no saliency."
    interval = ""
    if row["share_low"] == row["share_low"]:
        interval = f" (95 % interval {row['share_low']:.0%} to {row['share_high']:.0%})"
    return (
        f"In the {row['predictions']:,} texts that have it and were answered {row['class']}, it "
        f"takes {row['mean_share']:.0%} of the saliency{interval}; frequency-matched words take "
        f"{row['control_share']:.0%}{_p(row, 'reliance')}. It is among the top three words in "
        f"{row['top3_rate']:.0%}."
    )


def _effect(row: dict[str, Any]) -> str:
    if row["effect_n"] != row["effect_n"]:
        return "Not measured: the model was run for the strongest suspects and the words named."
    if not row["effect_n"]:
        return "Not measured: to delete it changes no text."
    return (
        f"Deleted from {row['effect_n']:,.0f} texts, {row['flip_rate']:.0%} of the answers change "
        f"(95 % interval {row['flip_low']:.0%} to {row['flip_high']:.0%}), against "
        f"{row['control_flip_rate']:.0%} for a frequency-matched control word"
        f"{_p(row, 'effect')}. The probability of {row['class']} falls by "
        f"{row['mean_drop']:.2f} on average."
    )


def _errors(row: dict[str, Any]) -> str:
    if not row["errors_n"]:
        return f"No labelled text that has it was answered {row['class']}."
    return (
        f"{row['errors_k']:,} of its {row['errors_n']:,} answers {row['class']} are wrong "
        f"({row['errors_k'] / row['errors_n']:.0%}): {row['risk_ratio']:.2g} times the rate of the "
        f"other answers {row['class']} (95 % interval {row['risk_low']:.2g} to "
        f"{row['risk_high']:.2g}{_p(row, 'errors', '; ')})."
    )


def _p(row: dict[str, Any], kind: str, before: str = " (") -> str:
    p, q = row.get(f"p_{kind}"), row.get(f"q_{kind}")
    if p is None or q is None or p != p or q != q:
        return ""
    return f"{before}p = {p:.2g}, q = {q:.2g}" + (")" if before == " (" else "")


def control_sentence(control: dict[str, Any]) -> str:
    """Return what the shuffled control says."""
    if not control.get("repeats"):
        return "The shuffled control was not run."
    return (
        f"Control: with labels and answers shuffled among length-matched texts, "
        f"{control['mean_flagged']:,.0f} of {control['tests']:,} tests pass alpha, at most "
        f"{control['expected']:,.0f} should; {control['mean_discovered']:.2g} pass "
        "Benjamini-Hochberg, as a verdict asks."
    )


def places_of(row: dict[str, Any]) -> list[tuple[str, int, str]]:
    """Return name, count and slice of the examples behind a suspect; none where no slice says it.

    The counts are those of the evidence: predictions of the class whose label is known.
    """
    if not row["where"]:
        return []
    own = joined(f"predicted:{quote(row['class'])}", row["where"])
    return [
        ("Wrong answers", row["errors_k"], joined("wrong", own)),
        ("Right answers", row["errors_n"] - row["errors_k"], joined("right", own)),
        ("All texts that have it", row["examples"], row["where"]),
    ]


def is_word(row: dict[str, Any]) -> bool:
    """Tell whether a suspect is a word, which can be hidden."""
    return row["kind"] == WORD
