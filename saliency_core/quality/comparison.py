"""The audited set beside its training data: what they share, how they differ."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import numpy as np

from saliency_core.data.dataset import Dataset
from saliency_core.data.labels.mapping import map_labels
from saliency_core.progress import Progress, silent
from saliency_core.quality.drift import SAMPLED, Sample, drift, whole
from saliency_core.quality.duplicates import THRESHOLD, accuracy_of
from saliency_core.quality.text_sets import fold_sides
from saliency_core.quality.train_overlap import EXACT, NEAR, TrainOverlap
from saliency_core.store import Run

BLOCK = 5_000
"""Training rows read at once."""
WORDS = 50
"""Differing words kept."""


def compare_with_training(
    run: Run,
    train: Dataset,
    label_map: dict[str, str] | None = None,
    *,
    threshold: float = THRESHOLD,
    seed: int = 0,
    progress: Progress = silent,
) -> tuple[np.ndarray, dict[str, Any]]:
    """Return (example,) `in_train` of a run, and the facts about it as JSON.

    The training data are streamed once.

    Raises:
        UserError: the training data can't be read, or have labels the model does not know.
    """
    overlap = TrainOverlap(run, threshold=threshold, progress=progress)
    labels, sample, read, rows = Counter[str](), Sample(), 0, iter(train)
    while block := list(itertools.islice(rows, BLOCK)):
        overlap.add([fold_sides(row.text, row.pair) for row in block])
        labels.update(row.label for row in block if row.label is not None)
        for row in block:
            sample.add(whole(row.text, row.pair))
        read += len(block)
        progress("reading training data", read, None)
    in_train = overlap.in_train()
    found = drift(_audited_sample(run, seed), sample.texts, seed=seed)
    return in_train, {
        "source": train.info.source,
        "rows": read,
        "leaked": int(np.count_nonzero(in_train)),
        "exact": int(np.count_nonzero(in_train == EXACT)),
        "near": int(np.count_nonzero(in_train == NEAR)),
        "accuracy": accuracy_of(run, True),
        "accuracy_without": accuracy_of(run, in_train == 0),
        "accuracy_leaked": accuracy_of(run, in_train > 0),
        "domain_auc": found.auc,
        "domain_auc_low": found.auc_low,
        "domain_auc_high": found.auc_high,
        "telling": found.telling,
        "words": found.words.head(WORDS).to_dict("records"),
        "differing_words": len(found.words),
        "labels": _labels(run, train, labels, label_map),
        "lengths": found.lengths,
        "scripts": found.scripts.to_dict("records"),
    }


def _audited_sample(run: Run, seed: int) -> list[str]:
    """Return texts of a seeded sample of the audited set."""
    positions = run.column("position")
    draw = np.random.default_rng(seed)
    chosen = np.sort(draw.choice(positions, min(SAMPLED, len(positions)), replace=False))
    frame = run.examples_at(chosen)
    return list(map(whole, frame["text"], frame["pair"]))


def _labels(
    run: Run, train: Dataset, labels: Counter[str], label_map: dict[str, str] | None
) -> list[dict[str, Any]]:
    """Return label and its share in both sets; nothing where either has no labels."""
    gold = run.column("gold").astype(np.int64)
    if not labels or not (gold >= 0).any():
        return []
    names = run.label_names
    index = map_labels(
        list(labels), names, label_map, train.info.label_names, what="training labels"
    )
    theirs = np.zeros(len(names))
    for label, count in labels.items():
        if label in index:
            theirs[index[label]] += count
    ours = np.bincount(gold[gold >= 0], minlength=len(names))
    return [
        {"label": name, "audited": float(a), "train": float(b)}
        for name, a, b in zip(
            names, ours / max(ours.sum(), 1), theirs / max(theirs.sum(), 1), strict=True
        )
    ]
