"""Copies of training data in which words no longer give a class away."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from saliency_core.atomic import refuse_inputs, replacing
from saliency_core.data.dataset import Dataset
from saliency_core.data.files.row_writer import ENDINGS, RowWriter
from saliency_core.errors import UserError
from saliency_core.model.audited import replace_words
from saliency_core.records import Example
from saliency_core.shortcuts.training_counts import sides_of
from saliency_core.words import named_spans

WAYS = ("mask", "drop")


@dataclass(frozen=True)
class Debiased:
    """What `debias` wrote."""

    output: str
    read: int
    written: int
    changed: int
    """Rows whose text was masked, or that were dropped."""


def debias(
    dataset: Dataset, words: Iterable[str], way: str, output: Path, mask: str = "[MASK]"
) -> Debiased:
    """Write a copy of training data in which words give no class away.

    mask: the words become the mask token. drop: rows that contain one of them go.

    Args:
        dataset: of `load_examples`.
        words: any case.
        way: one of `WAYS`.
        output: JSON Lines or CSV by its ending; replaced when all is written.
        mask: what hides a word.

    Raises:
        UserError: the way, the ending or the words can't be used, or `output` is what is read.
    """
    words = {word.strip().lower() for word in words if word.strip()}
    if not words:
        raise UserError("Name the words with --word, or give words the verdict “spurious” first.")
    if way not in WAYS:
        raise UserError(
            f"{way!r} is not a way to debias training data; choose from {', '.join(WAYS)}."
        )
    if output.suffix not in ENDINGS:
        raise UserError(
            f"{output} must end in {' or '.join(ENDINGS)}: what it ends in decides its format."
        )
    refuse_inputs(output, [dataset.info.source])
    read = written = changed = 0
    output.parent.mkdir(parents=True, exist_ok=True)
    with replacing(output) as partial, RowWriter(partial, output.suffix, dataset.names) as writer:
        for row, example in zip(dataset.rows(), dataset, strict=False):
            read += 1
            found = {name for text in sides_of(example) for name, _, _ in named_spans(text)}
            found &= words
            changed += bool(found)
            if found and way == "drop":
                continue
            writer.write(_masked_row(row, example, found, dataset, mask) if found else row)
            written += 1
    return Debiased(str(output), read, written, changed)


def _masked_row(
    row: dict[str, Any], example: Example, words: set[str], dataset: Dataset, mask: str
) -> dict[str, Any]:
    """Return a row whose texts have the mask in place of the words."""
    texts = {"text": example.text, "pair": example.pair or ""}
    columns = {role: name for role, name in dataset.info.columns.items() if role in texts}
    return row | {name: replace_words(texts[role], words, mask) for role, name in columns.items()}
