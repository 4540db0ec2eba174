"""What one pass over a dataset tells before anything is computed, and whether its labels fit."""

from __future__ import annotations

import random
import shlex
from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from saliency_core.data.columns import guess_columns
from saliency_core.data.dataset import Dataset
from saliency_core.data.labels.mapping import check_label_order, check_label_sets, map_labels
from saliency_core.errors import UserError
from saliency_core.pipeline.batching import answered
from saliency_core.pipeline.options import AuditOptions
from saliency_core.records import Example

GUARD_SAMPLE = 256
"""Examples the label-order guard predicts before any score is computed."""


@dataclass(frozen=True)
class Survey:
    """Counts of a dataset and a seeded sample of it."""

    examples: int
    labels: Counter[str]
    sample: list[Example]
    characters: int

    @property
    def texts(self) -> list[Example]:
        """The examples of the sample that have a text."""
        return [example for example in self.sample if example.text.strip()]


def survey_of(dataset: Dataset, seed: int) -> Survey:
    """Count examples and labels and draw a seeded sample, in constant memory."""
    labels: Counter[str] = Counter()
    sample: list[Example] = []
    draw = random.Random(seed)
    examples = characters = readable = 0
    for example in dataset:
        examples += 1
        readable += bool(example.text.strip())
        characters += len(example.text)
        if example.label is not None:
            labels[example.label] += 1
        if len(sample) < GUARD_SAMPLE:
            sample.append(example)
        elif (row := draw.randrange(examples)) < GUARD_SAMPLE:
            sample[row] = example
    if not examples:
        raise UserError(f"{dataset.info.source} holds no examples.")
    if not readable:
        raise UserError(
            f"{dataset.info.source}: no row has a text in column {dataset.info.columns['text']!r}; "
            "choose another with --text-column."
        )
    return Survey(examples, labels, sample, characters)


def label_index_of(
    dataset: Dataset, survey: Survey, classifier: Any, options: AuditOptions
) -> dict[str, int]:
    """Return dataset label -> index among the model's labels, checked for order on the sample."""
    info = classifier.info
    if info.task == "multi-label":
        check_label_sets(list(survey.labels), info.label_names, options.label_map)
    if not survey.labels or info.task != "single-label":
        return {}
    index = map_labels(
        list(survey.labels),
        info.label_names,
        options.label_map,
        dataset.info.label_names,
        sample=partial(_predicted, survey, classifier),
    )
    if not options.trust_labels:
        labels, predicted = _predicted(survey, classifier)
        rows = [row for row, label in enumerate(labels) if label in index]
        gold = np.array([index[labels[row]] for row in rows])
        if rows:
            check_label_order(gold, predicted[rows], info.label_names, index, options.label_map)
    return index


def _predicted(survey: Survey, classifier: Any) -> tuple[list[str], np.ndarray]:
    """Return the labels of the sample where it has them, and what is predicted there."""
    labelled = [example for example in survey.sample if example.label is not None]
    sample, _, logits = answered(classifier, labelled)
    return [str(example.label) for example in sample], logits.argmax(axis=1)


def label_hint(dataset: Dataset, survey: Survey, label_names: tuple[str, ...]) -> str:
    """Name the column that holds the model's labels, where no column was taken for them."""
    rows = [example.metadata for example in survey.sample]
    guess = guess_columns(dataset.info.metadata_columns, rows, label_names).get("label")
    if guess is None or not guess.sure:
        return ""
    return (
        f" Column {guess.column!r} holds labels of the model; if they are the gold labels, say "
        f"--label-column {shlex.quote(guess.column)}."
    )
