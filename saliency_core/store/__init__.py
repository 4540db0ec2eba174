"""The SQLite file an audit writes and everything else reads.

Reading needs no torch; names are imported on first use for that reason.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from saliency_core.store.format.keys import content_key
    from saliency_core.store.query.annotations import Edit
    from saliency_core.store.read.quality_columns import save_quality
    from saliency_core.store.read.results import save_evaluation, save_table, set_layer_choice
    from saliency_core.store.read.run import Run, Slice
    from saliency_core.store.read.store import Store, open_store
    from saliency_core.store.read.words import Occurrences
    from saliency_core.store.write.annotation_files import export_annotations, import_annotations
    from saliency_core.store.write.annotations import (
        annotate,
        delete_slice,
        redo,
        save_slice,
        set_verdict,
        undo,
    )
    from saliency_core.store.write.merge import merge
    from saliency_core.store.write.prune import prune
    from saliency_core.store.write.writer import StoreWriter, open_writer

_HOMES = {
    "Occurrences": "read.words",
    "Run": "read.run",
    "Slice": "read.run",
    "Store": "read.store",
    "annotate": "write.annotations",
    "export_annotations": "write.annotation_files",
    "import_annotations": "write.annotation_files",
    "merge": "write.merge",
    "open_store": "read.store",
    "prune": "write.prune",
    "StoreWriter": "write.writer",
    "open_writer": "write.writer",
    "content_key": "format.keys",
    "delete_slice": "write.annotations",
    "save_evaluation": "read.results",
    "save_quality": "read.quality_columns",
    "save_table": "read.results",
    "set_layer_choice": "read.results",
    "save_slice": "write.annotations",
    "set_verdict": "write.annotations",
    "redo": "write.annotations",
    "undo": "write.annotations",
    "Edit": "query.annotations",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    """Import a public name from the module it lives in."""
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
