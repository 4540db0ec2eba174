"""Dataset labels -> the model's classes, and the guard against labels in another order."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from saliency_core.errors import UserError

GUARD_GAIN = 0.10
"""Another order must be right on at least this much more of the sample."""
GUARD_SHUFFLES = 1000
"""And lead by more than any of so many shuffles: p < 0.001."""


def map_labels(
    labels: Sequence[str],
    model_labels: Sequence[str],
    label_map: dict[str, str] | None = None,
    dataset_names: Sequence[str] | None = None,
) -> dict[str, int]:
    """Return dataset label -> class index, by the user's map, by name, or by id.

    Names match whatever their case; else all labels must be ids ("2", "2.0", "true"), which are
    taken as the model's own. Ids of a dataset that names its labels go by those names.

    Args:
        labels: the distinct labels of the dataset as text.
        model_labels: the model's labels in the order of its logits.
        label_map: dataset label -> model label (or id), which wins over everything.
        dataset_names: names a `ClassLabel` column declares.

    Raises:
        UserError: a label the model does not know; shows both lists and a map that would fix it.
    """
    names = {name.lower(): index for index, name in enumerate(model_labels)}
    given = {old: _model_index(new, names, model_labels) for old, new in (label_map or {}).items()}
    rest = [label for label in labels if label not in given]
    by_name = {label: names[label.lower()] for label in rest if label.lower() in names}
    if len(by_name) < len(rest):
        by_name = _by_id(rest, model_labels)
    if by_name is None:
        raise UserError(_unknown(labels, model_labels, dataset_names))
    return {**by_name, **{label: given[label] for label in labels if label in given}}


def label_set(text: str) -> list[str]:
    """Return the labels of a multi-label example: a JSON list, or names between commas or bars."""
    text = text.strip()
    if text.startswith("["):
        try:
            return [str(label).strip() for label in json.loads(text)]
        except json.JSONDecodeError:
            text = text.strip("[]")
    return [label.strip(" '\"") for label in re.split(r"[,;|]", text) if label.strip(" '\"")]


def check_label_sets(
    labels: Sequence[str], model_labels: Sequence[str], label_map: dict[str, str] | None = None
) -> None:
    """Stop where a multi-label dataset holds a label the model does not know.

    A row is a set of names (or ids), or one 0 or 1 for every label of the model.

    Raises:
        UserError: as `map_labels`.
    """
    sets = [label_set(label) for label in labels]
    if sets and all(len(row) == len(model_labels) and set(row) <= {"0", "1"} for row in sets):
        return
    map_labels(sorted({label for row in sets for label in row}), model_labels, label_map)


def _model_index(label: str, names: dict[str, int], model_labels: Sequence[str]) -> int:
    if label.lower() in names:
        return names[label.lower()]
    if label.isdigit() and int(label) < len(model_labels):
        return int(label)
    raise UserError(
        f"--label-map: the model has no label {label!r}; its labels are {_list(model_labels)}."
    )


def _by_id(labels: Sequence[str], model_labels: Sequence[str]) -> dict[str, int] | None:
    """Return label -> id where every label is an id of the model, else None."""
    ids = {label: label_id(label) for label in labels}
    if any(value is None or value >= len(model_labels) for value in ids.values()):
        return None
    return {label: int(value) for label, value in ids.items()}


def label_id(label: str) -> int | None:
    """Return the id a label text stands for: "2", "2.0", "LABEL_2", "true"."""
    text = label.strip().lower()
    if text in ("true", "false"):
        return int(text == "true")
    found = re.fullmatch(r"(?:label_)?(\d+)(?:\.0*)?", text)
    return int(found.group(1)) if found else None


def _unknown(
    labels: Sequence[str], model_labels: Sequence[str], dataset_names: Sequence[str] | None
) -> str:
    """Say what does not fit and how to repair it."""
    ids = sorted({value for label in labels if (value := label_id(label)) is not None})
    ordered = sorted(labels, key=lambda label: (label_id(label) is None, label_id(label), label))
    hint = ""
    if ids and ids == list(range(1, len(model_labels) + 1)):
        hint = " The ids count from 1."
    elif dataset_names:
        hint = f" The dataset names its labels {_list(dataset_names)}."
    pairs = ",".join(
        f"{label}={model_labels[place] if place < len(model_labels) else '...'}"
        for place, label in enumerate(ordered[:12])
    )
    return (
        f"The labels of the dataset ({_list(ordered)}) are not those of the model "
        f"({_list(model_labels)}).{hint} If they mean the same in this order, give "
        f'--label-map "{pairs}".'
    )


def _list(labels: Sequence[str]) -> str:
    shown = ", ".join(labels[:12])
    return shown + (f", ... {len(labels)} in all" if len(labels) > 12 else "")


def check_label_order(gold: np.ndarray, predicted: np.ndarray, model_labels: Sequence[str]) -> None:
    """Stop where another order of the labels fits a sample clearly better than their own.

    The best permutation of the gold labels is that of highest agreement beyond chance (assignment
    problem on the confusion matrix less what its margins alone would give, so that a model that
    favours one class accuses nobody). It counts if it is right on `GUARD_GAIN` more of the sample
    than the labels as they are, and if none of `GUARD_SHUFFLES` shuffles of the gold labels, each
    with its own best permutation, beats them by as much beyond chance.

    Args:
        gold: (example,) class indices.
        predicted: (example,) class indices.
        model_labels: names in the order of the logits.

    Raises:
        UserError: names the permutation and the two ways on.
    """
    classes = len(model_labels)
    counts = _confusion(gold, predicted, classes)
    order, margin = _best_order(counts)  # gold label -> the class it seems to mean
    best = int(counts[np.arange(classes), order].sum())
    identity = int(np.trace(counts))
    if best - identity < GUARD_GAIN * len(gold):
        return
    draw = np.random.default_rng(0)
    for _ in range(GUARD_SHUFFLES):
        shuffled = _confusion(draw.permutation(gold), predicted, classes)
        if _best_order(shuffled)[1] >= margin:
            return
    meant = [
        f"{model_labels[old]}={model_labels[new]}" for old, new in enumerate(order) if old != new
    ]
    raise UserError(
        f"The labels of the dataset seem to be in another order than the model's: on "
        f"{len(gold)} examples the model is right on {identity / len(gold):.0%}, and on "
        f"{best / len(gold):.0%} if {', '.join(meant)}. Repair it with --label-map "
        f'"{",".join(meant)}", or say --trust-labels if they are right.'
    )


def _confusion(gold: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Return (gold class, predicted class) counts."""
    counts = np.zeros((classes, classes), np.int64)
    np.add.at(counts, (gold, predicted), 1)
    return counts


def _best_order(counts: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the permutation that agrees most beyond chance, and its lead over identity.

    Args:
        counts: (gold class, predicted class).
    """
    excess = counts - np.outer(counts.sum(1), counts.sum(0)) / counts.sum()
    order = linear_sum_assignment(-excess)[1]
    return order, float(excess[np.arange(len(order)), order].sum() - np.trace(excess))
