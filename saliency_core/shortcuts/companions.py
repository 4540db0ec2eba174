"""Features that occur, or err, only beside another one: evidence for the other, not for them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from saliency_core.analysis.features import TEXT, Features

ALWAYS, ERRORS = "texts", "wrong answers"
"""What a leader is there in: all texts that have the feature, or most of its wrong answers."""
LEADERS = 50
"""Features that may lead others: those with most suspicion."""
FOLLOWERS = 500
"""Rows that are asked for a leader, strongest first."""
BROADEST = 0.5
"""Part of all examples that a leader may be in: what is nearly everywhere explains nothing."""
CHANCE = 0.001
"""Probability, were both independent, above which being together is no news."""
MOST = 0.8
"""Part of the wrong answers that a leader must be in to explain them."""
ALPHA = 0.05
END = "“(.+)”$"
"""The word that a text with the feature begins or ends with."""


def with_leaders(
    table: pd.DataFrame,
    features: Features,
    gold: np.ndarray,
    predicted: np.ndarray,
    names: list[str],
    salient: tuple[str, ...],
) -> pd.DataFrame:
    """Return the suspects with the feature that each only occurs with, or mostly errs with.

    `leader` and `leader_kind` name it ("" where there is none); it is there in `leader_n` of
    `leader_k` `leader_of` (`texts`, or `wrong answers` of the class). Of several the rarest leads.

    Args:
        table: rows of `suspects.suspects`, ranked.
        features: what the examples have.
        gold: (example,) labels, -1 where unknown.
        predicted: (example,) predictions, -1 where there is none.
        names: of the classes.
        salient: assessments of words that may lead what begins or ends with them, though no more
            answers that bear them are wrong.
    """
    size, examples, classes = len(features.names), len(features.positions), len(names)
    code = {key: n for n, key in enumerate(zip(features.kinds, features.names, strict=True))}
    own = np.array([code[key] for key in zip(table["kind"], table["feature"], strict=True)], int)
    label = table["class"].map({name: n for n, name in enumerate(names)}).to_numpy(int)
    ratio = table["risk_ratio"].where(table["q_errors"] <= ALPHA, 0).fillna(0).to_numpy()
    excess = np.zeros((size, classes))
    excess[own, label] = ratio
    present = np.bincount(features.feature, minlength=size)
    end_word = table["feature"].where(table["kind"] == TEXT, "").str.extract(END)[0].to_numpy()
    is_asked = np.arange(len(table)) < FOLLOWERS

    pairs = np.isin(features.feature, own[is_asked])
    example, feature = features.example[pairs], features.feature[pairs]
    wrong_as = np.where((gold >= 0) & (gold != predicted), predicted, -1)[example]

    leader, of = np.full(len(table), -1), np.full(len(table), "", object)
    count, total = np.zeros(len(table), int), np.zeros(len(table), int)

    def lead(one: int, rows: np.ndarray, kind: str, k: np.ndarray, n: np.ndarray) -> None:
        led = rows & is_asked & (own != one)
        leader[led], of[led], count[led], total[led] = one, kind, k[led], n[led]

    leaders = _leaders(table, own, ratio, salient)
    leaders = [one for one in leaders if present[one] <= BROADEST * examples]
    # From the most frequent to the rarest, so that the rarest has the last word.
    leaders.sort(key=lambda one: -present[one])
    own_errors = table["errors_k"].to_numpy()
    for one in leaders:
        inside = (wrong_as >= 0) & _mask(features, one)[example]
        cell = feature[inside] * classes + wrong_as[inside]
        errors = np.bincount(cell, minlength=size * classes)[own * classes + label]
        explains = (ratio > 1) & (excess[one, label] > ratio)
        lead(
            one, explains & (errors >= np.maximum(MOST * own_errors, 1)), ERRORS, errors, own_errors
        )
    explained = set(own[leader >= 0].tolist())
    for one in leaders:
        if one in explained:
            continue
        texts = np.bincount(feature[_mask(features, one)[example]], minlength=size)[own]
        by_chance = (present[one] / examples) ** present[own]
        always = (texts == present[own]) & (present[own] < present[one]) & (by_chance <= CHANCE)
        # The words of a text often come together: only what errs, or is a word's end, is asked.
        asks = np.where(excess[one].max() > 1, ratio > 1, False) | (end_word == features.names[one])
        lead(one, always & asks, ALWAYS, texts, present[own])
    leads = {"leader": features.names, "leader_kind": features.kinds}
    found = {
        name: [values[one] if one >= 0 else "" for one in leader] for name, values in leads.items()
    }
    return table.assign(**found, leader_of=of, leader_n=count, leader_k=total)


def _mask(features: Features, feature: int) -> np.ndarray:
    """Return (example,) bool: those that have a feature."""
    mask = np.zeros(len(features.positions), bool)
    mask[features.holding(feature)] = True
    return mask


def _leaders(
    table: pd.DataFrame, own: np.ndarray, ratio: np.ndarray, salient: tuple[str, ...]
) -> list[int]:
    """Return the features that may lead: those that err more first, then the salient ones."""
    errs = np.flatnonzero(ratio > 1)
    errs = errs[np.argsort(-table["errors_k"].to_numpy()[errs], kind="stable")]
    others = np.flatnonzero(table["assessment"].isin(salient))
    return list(dict.fromkeys(own[np.r_[errs, others]].tolist()))[:LEADERS]
