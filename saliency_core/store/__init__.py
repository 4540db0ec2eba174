"""The SQLite file an audit writes and everything else reads.

Reading needs neither torch nor sqlite-utils; names are imported on first use for that reason.
"""

from __future__ import annotations

import importlib

_HOMES = {
    "Occurrences": "salience",
    "Store": "reader",
    "export_annotations": "annotations",
    "import_annotations": "annotations",
    "merge": "merging",
    "open_store": "reader",
    "prune": "pruning",
    "StoreWriter": "writer",
    "open_writer": "writer",
    "content_key": "keys",
    "delete_slice": "curate",
    "delete_table": "results",
    "save_evaluation": "results",
    "save_table": "results",
    "set_layer_faithfulness": "results",
    "save_slice": "curate",
    "set_note": "curate",
    "set_verdict": "curate",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str):
    """Import a public name from the module it lives in."""
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
