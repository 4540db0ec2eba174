"""Audit text classifiers: which words drive them, in which layer, and where they go wrong.

Importing this package loads neither torch nor transformers; `audit` loads them when called.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from saliency_core.errors import UserError

if TYPE_CHECKING:
    from saliency_core.analysis.word_tables import word_table
    from saliency_core.output.notebook import show_example
    from saliency_core.pipeline.run_audit import audit
    from saliency_core.shortcuts.suspects import suspects
    from saliency_core.store import open_store

__version__ = "0.1.0"

__all__ = ["UserError", "audit", "open_store", "show_example", "suspects", "word_table"]

_HOMES = {
    "audit": "pipeline.run_audit",
    "open_store": "store",
    "show_example": "output.notebook",
    "suspects": "shortcuts.suspects",
    "word_table": "analysis.word_tables",
}


def __getattr__(name: str) -> Any:
    """Import an entry point on first use, so that reading a file never loads torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'saliency_core' has no attribute {name!r}")
    return getattr(importlib.import_module(f"saliency_core.{_HOMES[name]}"), name)
