"""Which examples are computed together.

The batches of a block depend on its texts alone, never on what is already stored, so that every
engine and every restart computes the same ones and stores the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, TypeVar

import numpy as np

from saliency_core.records import Example
from saliency_core.saliency.references import layout_batches

BLOCK = 2048
"""Examples planned together: enough for batches of similar length, small enough to hold."""


Item = TypeVar("Item")


def gold_of(example: Example, label_index: dict[str, int]) -> int | None:
    """Return the gold label as an index of the model's labels."""
    return label_index.get(example.label) if example.label is not None else None


def blocks_of(dataset: Iterable[Example]) -> Iterator[list[Example]]:
    """Yield the examples that are planned together."""
    rows = iter(dataset)
    while block := list(islice(rows, BLOCK)):
        yield block


def encode_examples(
    classifier: Any, examples: Sequence[Example], long_text: str = "truncate"
) -> list[Any]:
    """Tokenize examples; long texts are cut as `--long-text` says."""
    encode = classifier.encode_windows if long_text == "window" else classifier.encode
    return encode([example.text for example in examples], pairs_of(examples))


def answered(
    classifier: Any, examples: list[Example]
) -> tuple[list[Example], list[Any], np.ndarray]:
    """Return the examples that the model answers, as it reads them, with (example, class) logits.

    A text that the model refuses is a failed row, not part of what sums up the others.
    """
    encodings = encode_examples(classifier, examples)
    logits = classifier.logits(encodings)
    rows = np.flatnonzero(np.isfinite(logits).all(axis=1))
    return [examples[row] for row in rows], [encodings[row] for row in rows], logits[rows]


def first_of_equals(block: list[Example], gold: list[int | None]) -> list[int]:
    """Return the rows whose text and gold label no earlier row of the block has."""
    first: dict[tuple[str, str | None, int | None], int] = {}
    for row, example in enumerate(block):
        first.setdefault((example.text, example.pair, gold[row]), row)
    return list(first.values())


def plan_batches(
    block: list[Example],
    gold: list[int | None],
    encodings: list[Any],
    batch_tokens: int,
    pad_token_id: int,
) -> list[list[int]]:
    """Return batches of rows of one layout, or of few, under the token budget.

    Only the first of equal texts takes part, whatever is stored already.
    """
    return layout_batches(first_of_equals(block, gold), encodings, pad_token_id, batch_tokens)


def pairs_of(examples: Sequence[Example]) -> list[str] | None:
    """Return the second texts; None where the dataset has none."""
    if not examples or examples[0].pair is None:
        return None
    return [example.pair or "" for example in examples]


def read_ahead(items: Iterable[Item]) -> Iterator[Item]:
    """Yield items while a thread already makes the next one."""
    source: Iterator[Item] = iter(items)
    with ThreadPoolExecutor(1, "reader") as reader:
        upcoming = reader.submit(next, source, None)
        while (item := upcoming.result()) is not None:
            upcoming = reader.submit(next, source, None)
            yield item
