"""Which texts may share a reference, and batches in which many do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def layout_of(encoding: Any, pad_token_id: int) -> tuple:
    """Return all that the states of an encoding's reference depend on.

    Its length, its special tokens and its token types; and where the padding token stands in the
    text itself, because some models look for it among the ids.
    """
    ids = np.array(encoding.input_ids, np.int64)
    replaced = ~encoding.special & (ids != pad_token_id)
    return np.where(replaced, -1, ids).tobytes(), encoding.type_ids or ()


def layout_batches(
    rows: Sequence[int], encodings: Sequence[Any], pad_token_id: int, batch_tokens: int
) -> list[list[int]]:
    """Return rows in batches of at most `batch_tokens` tokens, padding and references included.

    Rows are sorted by length and layout. A batch that is half full ends with its layout: one
    layout's reference is broadcast, several have to be kept apart.
    """
    layouts = {row: layout_of(encodings[row], pad_token_id) for row in rows}
    lengths = {row: len(encodings[row].input_ids) for row in rows}
    batches: list[list[int]] = []
    references = 0
    previous = None
    for row in sorted(rows, key=lambda row: (lengths[row], layouts[row], row)):
        fresh = layouts[row] != previous
        previous = layouts[row]
        filled = (len(batches[-1]) + references) * lengths[row] if batches else batch_tokens
        if filled + (1 + fresh) * lengths[row] > batch_tokens or (
            fresh and 2 * filled > batch_tokens
        ):
            batches.append([])
            references, fresh = 0, True
        references += fresh
        batches[-1].append(row)
    return batches
