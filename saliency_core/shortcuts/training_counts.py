"""What training data say of features, and copies of them that no longer give a class away."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from saliency_core.data.dataset import Dataset
from saliency_core.data.labels.mapping import map_labels
from saliency_core.errors import UserError
from saliency_core.model.audited import without_spans
from saliency_core.records import Example
from saliency_core.shortcuts.features import features_in
from saliency_core.shortcuts.suspects import TrainingCounts
from saliency_core.words import named_spans

WAYS = ("mask", "drop", "weight")
ENDINGS = (".jsonl", ".csv")


def count_features(
    dataset: Dataset, label_names: Sequence[str], label_map: dict[str, str] | None = None
) -> TrainingCounts:
    """Return in how many examples of each class every feature of a text is.

    Args:
        dataset: of `data.load_examples`.
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
        for feature in features_in(_sides(example)):
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


def words_in(example: Example) -> set[str]:
    """Return the distinct lower-cased words of a text and its pair."""
    return {name for text in _sides(example) for name, _, _ in named_spans(text)}


def _sides(example: Example) -> tuple[str, ...]:
    return (example.text,) if example.pair is None else (example.text, example.pair)


@dataclass(frozen=True)
class Mended:
    """What `mend` wrote."""

    output: str
    read: int
    written: int
    changed: int
    """Rows whose text was masked, that were dropped, or whose weight is not 1."""
    one_label: tuple[str, ...] = ()
    """Words that stand beside one label only: no weight can even that out."""


def mend(
    dataset: Dataset, words: Sequence[str], way: str, output: Path, mask: str = "[MASK]"
) -> Mended:
    """Write a copy of training data in which words give no class away.

    mask: the words become the mask token. drop: rows with a word go. weight: every row stays and
    gets a column `weight`, p(label) / p(label | word): under it a single word goes with no label
    more than another. A row with several of the words gets the product, which is approximate.

    Args:
        dataset: of `data.load_examples`.
        words: any case.
        way: one of `WAYS`.
        output: JSON Lines or CSV by its ending; replaced when all is written.
        mask: what hides a word.

    Raises:
        UserError: the way, the ending or the words can't be used.
    """
    words = sorted({word.strip().lower() for word in words if word.strip()})
    if not words:
        raise UserError("Name the words with --word, or give words the verdict “spurious” first.")
    if way not in WAYS:
        raise UserError(f"{way!r} is no way to mend training data; choose from {', '.join(WAYS)}.")
    if output.suffix not in ENDINGS:
        raise UserError(
            f"{output} must end in {' or '.join(ENDINGS)}: what it ends in decides its format."
        )
    weights = _weights(dataset, words) if way == "weight" else {}
    read = written = changed = 0
    partial = output.with_name(f".{output.name}.partial")
    output.parent.mkdir(parents=True, exist_ok=True)
    try:
        with _Writer(partial, output.suffix, dataset.names) as writer:
            for row, example in zip(dataset.rows(), dataset, strict=False):
                read += 1
                held = words_in(example).intersection(words)
                kept = _mended(row, example, held, way, weights, dataset, mask)
                changed += bool(held) and (way != "weight" or kept["weight"] != 1)
                if kept is not None:
                    writer.write(kept)
                    written += 1
        partial.replace(output)
    finally:
        partial.unlink(missing_ok=True)
    labels = Counter(word for word, _ in weights)
    one_label = tuple(word for word in words if labels[word] == 1)
    return Mended(str(output), read, written, changed, one_label)


def _mended(
    row: dict[str, Any],
    example: Example,
    held: set[str],
    way: str,
    weights: dict[tuple[str, str | None], float],
    dataset: Dataset,
    mask: str,
) -> dict[str, Any] | None:
    """Return the row to write, None where it is dropped."""
    if way == "weight":
        weight = float(np.prod([weights.get((word, example.label), 1.0) for word in held]))
        return {**row, "weight": weight}
    if not held:
        return row
    if way == "drop":
        return None
    columns = dataset.info.columns
    sides = {columns["text"]: example.text}
    if "pair" in columns:
        sides[columns["pair"]] = example.pair or ""
    return {**row, **{column: _masked(text, held, mask) for column, text in sides.items()}}


def _masked(text: str, words: set[str], mask: str) -> str:
    spans = [(start, end) for name, start, end in named_spans(text) if name in words]
    return without_spans(text, spans, mask)


def _weights(dataset: Dataset, words: Sequence[str]) -> dict[tuple[str, str | None], float]:
    """Return (word, label) -> p(label) / p(label | word)."""
    base: Counter[str | None] = Counter()
    joint: Counter[tuple[str, str | None]] = Counter()
    for example in dataset:
        base[example.label] += 1
        joint.update((word, example.label) for word in words_in(example).intersection(words))
    total = base.total()
    holding: Counter[str] = Counter()
    for (word, _), count in joint.items():
        holding[word] += count
    return {
        (word, label): (base[label] / total) / (count / holding[word])
        for (word, label), count in joint.items()
    }


class _Writer:
    """Writes rows as JSON Lines or CSV; a CSV has the columns of all rows."""

    def __init__(self, path: Path, ending: str, names: Sequence[str]) -> None:
        self.names = names
        self.file = path.open("w", encoding="utf-8", newline="")
        self.is_csv = ending == ".csv"
        self.table: csv.DictWriter | None = None

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def write(self, row: dict[str, Any]) -> None:
        """Write one row."""
        if not self.is_csv:
            self.file.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")
            return
        if self.table is None:
            columns = dict.fromkeys((*self.names, *row))
            self.table = csv.DictWriter(self.file, list(columns))
            self.table.writeheader()
        self.table.writerow(row)


def rows_of(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects of a JSON Lines file.

    Raises:
        UserError: a line is no JSON object.
    """
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise UserError(f"{path}, line {number} is no JSON: {error.msg}.") from None
            if not isinstance(row, dict):
                raise UserError(f"{path}, line {number} is no JSON object.")
            yield row
