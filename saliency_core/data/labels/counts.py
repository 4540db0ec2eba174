"""The labels of a column before anything is computed."""

from __future__ import annotations

from collections import Counter

from saliency_core.data.dataset import load_examples

LOOKED_AT = 100_000
"""Rows read for it: more than anybody waits for on a page."""


def count_labels(
    source: str, text: str, label: str, *, split: str | None = None, header: bool = True
) -> Counter[str]:
    """Return how often each label of a column stands in the first rows of a source.

    Args:
        source: as for `load_examples`.
        text: column of the text.
        label: column of the label.
        split: split of a source that has several.
        header: whether a table starts with column names.

    Raises:
        UserError: what was wrong with the source.
    """
    examples = load_examples(
        source,
        text_column=text,
        label_column=label,
        pair_column="none",
        id_column="none",
        metadata_columns=[],
        split=split,
        header=header,
        limit=LOOKED_AT,
    )
    return Counter(example.label for example in examples if example.label is not None)
