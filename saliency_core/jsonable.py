"""Values as JSON, and SQLite, hold them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def plain(value: Any) -> Any:
    """Return numpy's numbers as Python's, arrays and tuples as lists, what is no number as None.

    NaN, infinities and what pandas has for a missing value are no numbers. Anything else that JSON
    does not know stays as it is.
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        # A float of numpy is one of Python too, and becomes one here.
        return float(value) if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    return None if _is_missing(value) else value


def as_number(value: Any) -> float | None:
    """Return a value, or the text of one, as a number; None where it is none."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _is_missing(value: Any) -> bool:
    """Tell NaT and NA, without loading pandas: neither is equal to itself."""
    try:
        return bool(value != value)
    except TypeError:  # What NA raises where it is asked for yes or no.
        return True
