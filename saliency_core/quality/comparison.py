"""The audited set beside its training data: what they share, how they differ."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from saliency_core.data.dataset import Dataset
from saliency_core.data.labels.mapping import map_labels
from saliency_core.progress import Progress, silent
from saliency_core.quality.drift import SAMPLED, TrainFacts, drift, whole
from saliency_core.quality.duplicates import THRESHOLD, accuracy_of
from saliency_core.quality.text_sets import fold_sides
from saliency_core.quality.train_overlap import EXACT, NEAR, TrainOverlap
from saliency_core.records import Example
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
    facts, read = TrainFacts(), 0
    for block in _blocks(train):
        overlap.add([fold_sides(row.text, row.pair) for row in block])
        facts.add(block)
        read += len(block)
        progress("reading training data", read, None)
    in_train = overlap.in_train()
    found = drift(_audited_sample(run, seed), facts.sample.texts, seed=seed)
    everything = np.ones(len(in_train), bool)
    return in_train, {
        "source": train.info.source,
        "rows": read,
        "leaked": int(np.count_nonzero(in_train)),
        "exact": int(np.count_nonzero(in_train == EXACT)),
        "near": int(np.count_nonzero(in_train == NEAR)),
        "accuracy": accuracy_of(run, everything),
        "accuracy_without": accuracy_of(run, in_train == 0),
        "accuracy_leaked": accuracy_of(run, in_train > 0),
        "domain_auc": found.auc,
        "domain_auc_low": found.auc_low,
        "domain_auc_high": found.auc_high,
        "telling": found.telling,
        "words": found.words.head(WORDS).to_dict("records"),
        "differing_words": len(found.words),
        "labels": _labels(run, train, facts, label_map),
        "lengths": found.lengths,
        "scripts": found.scripts.to_dict("records"),
    }


def _blocks(rows: Iterable[Example]) -> Iterator[list[Example]]:
    block: list[Example] = []
    for row in rows:
        block.append(row)
        if len(block) == BLOCK:
            yield block
            block = []
    if block:
        yield block


def _audited_sample(run: Run, seed: int) -> list[str]:
    """Return texts of a seeded sample of the audited set."""
    positions = run.column("position")
    draw = np.random.default_rng(seed)
    chosen = np.sort(draw.choice(positions, min(SAMPLED, len(positions)), replace=False))
    frame = run.examples_at(chosen)
    return [
        whole(text, pair if isinstance(pair, str) else None)
        for text, pair in zip(frame["text"], frame["pair"], strict=True)
    ]


def _labels(
    run: Run, train: Dataset, facts: TrainFacts, label_map: dict[str, str] | None
) -> list[dict[str, Any]]:
    """Return label and its share in both sets; nothing where either has no labels."""
    gold = run.column("gold").astype(np.int64)
    if not facts.labels or not (gold >= 0).any():
        return []
    names = run.label_names
    index = map_labels(
        list(facts.labels), names, label_map, train.info.label_names, what="training labels"
    )
    theirs = np.zeros(len(names))
    for label, count in facts.labels.items():
        if label in index:
            theirs[index[label]] += count
    ours = np.bincount(gold[gold >= 0], minlength=len(names))
    return [
        {"label": name, "audited": float(a), "train": float(b)}
        for name, a, b in zip(
            names, ours / max(ours.sum(), 1), theirs / max(theirs.sum(), 1), strict=True
        )
    ]
