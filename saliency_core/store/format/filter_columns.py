"""Columns of a chunk that filters read: their types, and metadata as distinct values and codes."""

from __future__ import annotations

import json
import zlib
from typing import Any

import numpy as np

from saliency_core.store.format import codec

GIVEN_UP, FORMER = -1, -2
"""Positions of slots whose example is elsewhere or gone, and of those of former examples."""

FILTER_COLUMNS = (
    ("gold", np.int32, -1),
    ("predicted", np.int32, -1),
    ("confidence", np.float64, np.nan),
    ("margin", np.float64, np.nan),
    ("length", np.int32, 0),
    ("truncated", np.uint8, 0),
    ("failed", np.uint8, 0),
)
"""Name, type and value for none of the columns a filter reads."""

COLUMN_NAMES = ("position", *(name for name, _, _ in FILTER_COLUMNS))


def meta_column(values: list[Any]) -> bytes:
    """Return one metadata column of a chunk: its distinct values as JSON and a code an example."""
    texts = [json.dumps(value, ensure_ascii=False) for value in values]
    distinct = sorted(set(texts))
    code = {text: number for number, text in enumerate(distinct)}
    dictionary = zlib.compress(("[" + ",".join(distinct) + "]").encode(), 6)
    codes = codec.pack(np.array([code[text] for text in texts], np.int64))
    return len(dictionary).to_bytes(4, "little") + dictionary + codes


def read_meta_values(data: bytes) -> list[Any]:
    """Return the distinct values of a column of a chunk."""
    return json.loads(zlib.decompress(data[4 : 4 + int.from_bytes(data[:4], "little")]))


def read_meta_column(data: bytes) -> tuple[list[Any], np.ndarray]:
    """Return the distinct values and the (example,) codes."""
    end = 4 + int.from_bytes(data[:4], "little")
    return read_meta_values(data), codec.unpack(data[end:])
