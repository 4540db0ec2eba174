"""The kept suspects for people: filtered, joined with the analyst's verdicts, told in sentences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from saliency_core.analysis.features import LENGTH, METADATA, WORD
from saliency_core.analysis.kept_suspects import ASSESSMENTS, HARMFUL, RELIED, kept_suspects
from saliency_core.errors import lower_first
from saliency_core.shortcuts.companions import ALWAYS
from saliency_core.stats import wilson
from saliency_core.store import Run, Slice
from saliency_core.store.query.editing import joined
from saliency_core.store.query.terms import quote
from saliency_core.store.query.wording import in_words

HONEST = (
    "The model also relies on words that carry the class's meaning; whether a suspect is "
    "spurious is for you to judge."
)
_VALUE = {
    "association": "z",
    "reliance": "mean_share",
    "effect": "flip_rate",
    "errors": "risk_ratio",
    "examples": "examples",
}
SORTS = ("suspicion", *_VALUE)
OPTIONAL = dict.fromkeys(
    (
        "effect_n flip_rate flip_low flip_high mean_drop control_flip_rate"
        " share_low share_high risk_low risk_high"
    ).split(),
    np.nan,
) | dict.fromkeys(("leader", "leader_kind", "leader_of"), "")
"""Columns a kept table may lack, and what they then hold: effects that nobody measured, intervals
and companions it is too old for."""


def with_judgements(table: pd.DataFrame, verdicts: pd.DataFrame) -> pd.DataFrame:
    """Return kept suspects with the analyst's `judgement` and `note` ("" where there are none).

    Columns of `OPTIONAL` that they lack are added.
    """
    mine = verdicts.rename(columns={"word": "lower", "verdict": "judgement"})
    mine = mine[["lower", "class", "judgement", "note"]]
    missing = {name: value for name, value in OPTIONAL.items() if name not in table}
    table = table.assign(lower=table["feature"].str.lower(), **missing)
    joined = table.merge(mine, on=["lower", "class"], how="left").drop(columns="lower")
    return joined.fillna({"judgement": "", "note": ""})


def filtered(
    table: pd.DataFrame,
    *,
    assessment: str | None = None,
    class_name: str | None = None,
    kind: str | None = None,
    judgement: str | None = None,
    text: str = "",
    sort: str = SORTS[0],
) -> pd.DataFrame:
    """Return the rows that pass every filter given; `text` is a part of the feature, any case.

    Sorted by suspicion, followers behind their leader, or by one kind of evidence, largest first.
    """
    wanted = {"assessment": assessment, "class": class_name, "kind": kind, "judgement": judgement}
    kept = pd.Series(True, table.index)
    for column, value in wanted.items():
        if value is not None:
            kept &= table[column] == value
    if text.strip():
        kept &= table["feature"].str.contains(text.strip(), case=False, regex=False)
    found = table[kept]
    if sort not in _VALUE:
        return grouped(found)
    found = found.sort_values(_VALUE[sort], ascending=False, kind="stable")
    return found.reset_index(drop=True)


def grouped(table: pd.DataFrame) -> pd.DataFrame:
    """Return the suspects, each behind the one that it never occurs or errs without.

    `is_follower` tells those that stand behind another one.
    """
    first = table.reset_index(drop=True).drop_duplicates(["feature", "kind"])
    keys = zip(first["feature"], first["kind"], strict=True)
    place = dict(zip(keys, first.index, strict=True))
    leaders = zip(table["leader"], table["leader_kind"], strict=True)
    own = np.arange(len(table))
    behind = np.array([place.get(key, -1) for key in leaders], int)
    follows = (behind >= 0) & (behind < own)
    order = np.lexsort((own, follows, np.where(follows, behind, own)))
    return table.assign(is_follower=follows).iloc[order].reset_index(drop=True)


def counts(table: pd.DataFrame) -> dict[str, int]:
    """Return how many rows have each assessment, strongest first."""
    return table["assessment"].value_counts().reindex(ASSESSMENTS, fill_value=0).to_dict()


def shown(table: pd.DataFrame) -> pd.DataFrame:
    """Return the columns that tell suspects apart at a glance; a follower is set in."""
    judged = table["errors_n"].where(table["errors_n"] > 0)
    set_in = table["is_follower"] if "is_follower" in table else pd.Series(False, table.index)
    return pd.DataFrame(
        {
            "feature": np.where(set_in, "↳ ", "") + table["feature"],
            "class": table["class"],
            "assessment": table["assessment"],
            "flip_rate": table["flip_rate"].astype(float),
            "wrong_rate": (table["errors_k"] / judged).astype(float),
            "judgement": table["judgement"],
        }
    )


def numbers(table: pd.DataFrame) -> pd.DataFrame:
    """Return every number behind suspects: the four values, then their supports and intervals."""
    rows = table.to_dict("records")
    values = table[["feature", "class", "share_by_layer", "z", "mean_share", "flip_rate"]]
    return values.astype(dict.fromkeys(("z", "mean_share", "flip_rate"), float)).assign(
        risk_ratio=table["risk_ratio"].where(table["errors_n"] > 0).astype(float),
        association=[_rate(row["k"], row["n"]) for row in rows],
        reliance=[
            _with_support(row["share_low"], row["share_high"], row["predictions"]) for row in rows
        ],
        effect=[_with_support(row["flip_low"], row["flip_high"], row["effect_n"]) for row in rows],
        errors=[
            _with_support(row["risk_low"], row["risk_high"], row["errors_n"], "{:.2g}")
            for row in rows
        ],
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


def evidence(row: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Return a sentence for each kind of evidence of one suspect, and the statistics behind it.

    Plain text, to be escaped; no statistics where nothing was tested.
    """
    return {
        "Association": (_association(row), _tested(row, "association", f"z = {row['z']:.1f}")),
        "Reliance": (_reliance(row), _tested(row, "reliance")),
        "Effect": (_effect(row), _tested(row, "effect")),
        "Errors": (_errors(row), _tested(row, "errors")),
    }


def _association(row: dict[str, Any]) -> str:
    if not row["n"]:
        return "No text with it has a label."
    rate = row["k"] / row["n"]
    low, high = wilson(int(row["k"]), int(row["n"]))
    shift = row.get("shift")
    trained = shift is not None and shift == shift
    some = "All" if row["k"] == row["n"] > 1 else f"{row['k']:,} of the"
    sentence = (
        f"{some} {row['n']:,} labelled {'training ' * trained}texts with it have the label "
        f"{row['class']} ({rate:.0%}; 95% interval {low:.0%} to {high:.0%}), against "
        f"{row['base_rate']:.0%} of all {'training ' * trained}texts."
    )
    if not trained:
        return sentence
    return f"{sentence} Of the audited texts with it, {rate - shift:.0%} have that label."


def _reliance(row: dict[str, Any]) -> str:
    if row["mean_share"] != row["mean_share"]:
        return "This feature is not a single word, so it has no share of the saliency."
    interval = ""
    if row["share_low"] == row["share_low"]:
        interval = f" (95% interval {row['share_low']:.0%} to {row['share_high']:.0%})"
    return (
        f"In the {row['predictions']:,} texts with it that are predicted as {row['class']}, it "
        f"accounts for {row['mean_share']:.0%} of the saliency{interval}, against "
        f"{row['control_share']:.0%} for frequency-matched words. It is one of the top "
        f"three words in {row['top3_rate']:.0%} of these texts."
    )


def _effect(row: dict[str, Any]) -> str:
    if row["effect_n"] != row["effect_n"]:
        return (
            "Not measured: only the strongest suspects, and words you name, are tested by deletion."
        )
    if not row["effect_n"]:
        return "Not measured: deleting it changes no text."
    these = "these " if row["effect_n"] == row["predictions"] else ""
    moved = "rises" if row["mean_drop"] < 0 else "falls"
    return (
        f"When it is deleted from {these}{row['effect_n']:,.0f} texts, "
        f"{row['flip_rate']:.0%} of the predictions change (95% interval {row['flip_low']:.0%} to "
        f"{row['flip_high']:.0%}), against {row['control_flip_rate']:.0%} for a frequency-matched "
        f"control word. The probability of {row['class']} {moved} by "
        f"{100 * abs(row['mean_drop']):.0f} percentage points on average."
    )


def _errors(row: dict[str, Any]) -> str:
    if not row["errors_n"]:
        return f"No labelled text with it is predicted {row['class']}."
    are = "is" if row["errors_k"] == 1 else "are"
    return (
        f"Of the {row['errors_n']:,} {row['class']} predictions for texts with it, "
        f"{row['errors_k']:,} {are} wrong ({row['errors_k'] / row['errors_n']:.0%}). That is about "
        f"{row['risk_ratio']:.2g} times the error rate of other {row['class']} predictions (95% "
        f"interval {row['risk_low']:.2g} to {row['risk_high']:.2g} times)."
    )


def _tested(row: dict[str, Any], kind: str, *before: str) -> str:
    p, q = row.get(f"p_{kind}"), row.get(f"q_{kind}")
    if p is None or q is None or p != p or q != q:
        return ""
    known = [*before, f"p = {p:.2g}", f"q = {q:.2g} (p corrected for all pairs tested)"]
    return "; ".join(known) + "."


def sanity_check(control: dict[str, Any]) -> tuple[str, str]:
    """Return what the shuffled control says in one sentence, and the numbers behind it."""
    if not control.get("repeats"):
        return "Sanity check with shuffled labels: not run.", ""
    flagged = control["mean_discovered"]
    passed = flagged < 1
    said = "nothing is flagged" if not flagged else f"{flagged:.2g} pairs are flagged on average"
    numbers = (
        f"Labels and predictions were shuffled {control['repeats']:,.0f} times among "
        f"length-matched texts. On average {control['mean_flagged']:,.0f} of {control['tests']:,} "
        f"tests had p below the limit (at most {control['expected']:,.0f} should), and "
        f"{flagged:.2g} still did after the correction for many tests (Benjamini-Hochberg)."
    )
    verb = "passed" if passed else "failed"
    return f"Sanity check {verb}: with shuffled labels, {said}.", numbers


def name_of(feature: str, kind: str) -> str:
    """Return what a feature is called in a sentence: words stand in quotes."""
    return f"“{feature}”" if kind == WORD else feature


def companion(row: dict[str, Any]) -> str:
    """Return what a suspect never occurs without, or errs without; empty where nothing is."""
    leader, kind = row.get("leader"), row.get("leader_kind")
    if not leader:
        return ""
    count = f"{row['leader_n']:,} of {row['leader_k']:,}"
    if row["leader_n"] == row["leader_k"]:
        count = f"All {row['leader_k']:,}"
    where = "" if kind == WORD else _where(leader, kind)
    if row["leader_of"] != ALWAYS:
        which = f"where {where}" if where else f"that contain “{leader}”"
        return f"{count} wrong {row['class']} predictions with it are for texts {which}."
    errors = ", which may explain the errors" if row["errors_k"] else ""
    if where:
        return f"For {lower_first(count)} texts with it, {where}{errors}."
    return f"{count} texts with it also contain “{leader}”{errors}."


def _where(feature: str, kind: str | None) -> str:
    if kind == METADATA:
        return "“{}” is {}".format(*feature.split(" = ", 1))
    return in_words(feature) if kind == LENGTH else f"the text {feature}"


def places_of(row: dict[str, Any]) -> list[tuple[str, int, str]]:
    """Return name, count and slice of the examples behind a suspect; none where no slice says it.

    The counts are those of the evidence: predictions of the class whose label is known.
    """
    if not row["where"]:
        return []
    own = joined(f"predicted:{quote(row['class'])}", row["where"])
    return [
        (f"Wrong {row['class']} predictions", row["errors_k"], joined("wrong", own)),
        (
            f"Right {row['class']} predictions",
            row["errors_n"] - row["errors_k"],
            joined("right", own),
        ),
        ("All texts with it", row["examples"], row["where"]),
    ]


def leading_suspects(run: Run) -> list[dict[str, Any]]:
    """Return the suspects that the model relies on and that occur or err without another one.

    Those judged genuine are left out; each has the analyst's `judgement`.
    """
    kept = kept_suspects(run)
    if kept is None:
        return []
    table = with_judgements(kept[0], run.verdicts())
    table = table[table["assessment"].isin([HARMFUL, RELIED]) & (table["judgement"] != "genuine")]
    return table[table["leader"] == ""].to_dict("records")


def shortcut_doubt(part: Slice) -> str:
    """Say in which examples of a slice a shortcut may be at fault rather than the label.

    Empty where no leading suspect is harmful, or the slice has no example of the first one.
    """
    for row in leading_suspects(part.run)[:1]:
        if row["where"] and row["assessment"] == HARMFUL:
            own = joined(f"predicted:{quote(row['class'])}", row["where"])
            if among := part.filter(own).count():
                return (
                    f"In {among:,} of these {part.count():,}, {in_words(row['where'])} and "
                    f"{row['class']} is predicted, so a shortcut rather than a wrong "
                    "label may explain why label and prediction differ."
                )
    return ""
