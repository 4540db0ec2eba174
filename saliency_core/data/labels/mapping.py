"""Dataset labels -> the model's classes, and the guard against labels in another order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from saliency_core.data.labels.advice import (
    SHUFFLES,
    Advice,
    Sample,
    best_order,
    natural,
    repair_option,
)
from saliency_core.data.labels.matching import Names, label_set, listed, matched, shortened
from saliency_core.errors import UserError
from saliency_core.stats import cross_table

GUARD_GAIN = 0.10
"""Another order must be right on at least this much more of the sample."""


def map_labels(
    labels: Sequence[str],
    model_labels: Sequence[str],
    label_map: Mapping[str, str | None] | None = None,
    dataset_names: Sequence[str] | None = None,
    *,
    sample: Sample | None = None,
    keep: Mapping[str, int] | None = None,
    what: str = "labels of the dataset",
) -> dict[str, int]:
    """Return dataset label -> class index, by the user's map, by name, or by id.

    A name that is exactly a label of the model is that label; else names match whatever their
    case, if they match one label only. Else all labels must be ids ("2", "2.0", "true", the
    one-hot "[0, 0, 1]"), which are taken as the model's own. A label that the map gives no class
    ("n/a=") means "no label" and is left out. Ids of a dataset that names its labels go by those
    names.

    Args:
        labels: the distinct labels of the dataset as text.
        model_labels: the model's labels in the order of its logits.
        label_map: dataset label -> model label (or id, or nothing), which wins over everything.
        dataset_names: names a `ClassLabel` column declares.
        sample: asked what the model predicts where a label is unknown: a map that fits its
            answers is offered rather than one by order.
        keep: other labels under the same map, which an offered map must leave as they are.
        what: what the labels are, for the sentence.

    Raises:
        UserError: a label the model does not know; shows both lists and a map that would fix it.
    """
    names = Names(model_labels)
    known, unknown = matched(labels, names, label_map or {})
    if unknown:
        advice = Advice(names, label_map or {}, known, unknown, dataset_names, keep or {})
        raise UserError(advice.sentence(what, sample))
    return {label: index for label in labels if (index := known[label]) is not None}


def known_labels(
    labels: Sequence[str],
    model_labels: Sequence[str],
    label_map: Mapping[str, str | None] | None = None,
) -> dict[str, int]:
    """Return those of `map_labels` that the model knows, without those it does not."""
    known, _ = matched(labels, Names(model_labels), label_map or {})
    return {label: index for label, index in known.items() if index is not None}


def check_label_sets(
    labels: Sequence[str],
    model_labels: Sequence[str],
    label_map: Mapping[str, str | None] | None = None,
) -> None:
    """Stop where a multi-label dataset holds a label the model does not know.

    A row is a set of names (or ids), or one 0 or 1 for every label of the model.

    Raises:
        UserError: as `map_labels`.
    """
    sets = [label_set(label, [*model_labels, *(label_map or {})]) for label in labels]
    bits = {"0", "1", "0.0", "1.0", "true", "false"}
    if sets and all(len(row) == len(model_labels) and set(row) <= bits for row in sets):
        return
    map_labels(sorted({label for row in sets for label in row}), model_labels, label_map)


def check_label_order(
    gold: np.ndarray,
    predicted: np.ndarray,
    model_labels: Sequence[str],
    label_index: Mapping[str, int] | None = None,
    label_map: Mapping[str, str | None] | None = None,
) -> None:
    """Stop where another order of the labels fits a sample clearly better than their own.

    The best permutation of the gold labels is that of highest agreement beyond chance (assignment
    problem on the confusion matrix less what its margins alone would give, so that a model that
    favours one class accuses nobody). It counts if it is right on `GUARD_GAIN` more of the sample
    than the labels as they are, and if none of `SHUFFLES` shuffles of the gold labels, each
    with its own best permutation, beats them by as much beyond chance.

    Args:
        gold: (example,) class indices.
        predicted: (example,) class indices.
        model_labels: names in the order of the logits.
        label_index: of `map_labels`; the model's own names where None.
        label_map: what it was mapped with.

    Raises:
        UserError: names the permutation and the two ways on.
    """
    classes = len(model_labels)
    counts = cross_table(gold, predicted, (classes, classes))
    order, margin = best_order(counts)  # gold label -> the class it seems to mean
    best = int(counts[np.arange(classes), order].sum())
    identity = int(np.trace(counts))
    if best - identity < GUARD_GAIN * len(gold):
        return
    draw = np.random.default_rng(0)
    for _ in range(SHUFFLES):
        shuffled = cross_table(draw.permutation(gold), predicted, (classes, classes))
        if best_order(shuffled)[1] >= margin:
            return
    index = label_index or {label: place for place, label in enumerate(model_labels)}
    in_order = sorted(index, key=lambda label: (index[label], natural(label)))
    meant = {label: int(order[index[label]]) for label in in_order}
    option = repair_option(meant, Names(model_labels), label_map or {}, {})
    moved = [
        f"{shortened(label)}={model_labels[place]}"
        for label, place in meant.items()
        if place != index[label]
    ]
    repair = f"Repair it with {option}" if option else "Rename them in the dataset"
    raise UserError(
        f"The labels of the dataset seem to be in another order than the model's: on "
        f"{len(gold)} examples the model is right on {identity / len(gold):.0%}, and on "
        f"{best / len(gold):.0%} if {listed(moved)}. {repair}, or say --trust-labels if they are "
        "right."
    )
