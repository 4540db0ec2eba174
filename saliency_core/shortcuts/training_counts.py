"""What training data say of features."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from saliency_core.analysis.features import features_in
from saliency_core.data.dataset import Dataset, load_examples
from saliency_core.data.labels.mapping import map_labels
from saliency_core.errors import UserError
from saliency_core.records import Example
from saliency_core.shortcuts.suspects import TrainingCounts


def open_training_data(source: str, text_column: str | None, label_column: str | None) -> Dataset:
    """Open training data, whose rows need no ids."""
    return load_examples(
        source, text_column=text_column, label_column=label_column, id_column="none"
    )


def count_features(
    dataset: Dataset, label_names: Sequence[str], label_map: dict[str, str] | None = None
) -> TrainingCounts:
    """Return in how many examples of each class every feature of a text is.

    Args:
        dataset: of `load_examples`.
        label_names: the model's classes.
        label_map: dataset label -> model label, as for an audit.

    Raises:
        UserError: the data have no labels, or labels the model does not know.
    """
    if "label" not in dataset.info.columns:
        raise UserError(
            f"{dataset.info.source} has no column of labels; name one with --train-label-column."
        )
    base: Counter[str] = Counter()
    by_feature: dict[tuple[str, str], Counter[str]] = {}
    for example in dataset:
        if example.label is None:
            continue
        base[example.label] += 1
        for feature in features_in(sides_of(example)):
            by_feature.setdefault(feature, Counter())[example.label] += 1
    index = map_labels(list(base), list(label_names), label_map, dataset.info.label_names)

    def by_class(found: Counter[str]) -> np.ndarray:
        counts = np.zeros(len(label_names), np.int64)
        for label, count in found.items():
            if label in index:
                counts[index[label]] += count
        return counts

    counts = np.array([by_class(found) for found in by_feature.values()], np.int64)
    return TrainingCounts(
        {feature: row for row, feature in enumerate(by_feature)},
        counts.reshape(-1, len(label_names)),
        by_class(base),
    )


def sides_of(example: Example) -> tuple[str, ...]:
    """Return the text, and the second one of a pair."""
    return (example.text,) if example.pair is None else (example.text, example.pair)
