"""Audit text classifiers: which words drive them, in which layer, and where they go wrong.

Importing this package loads neither torch nor transformers; `audit` loads them when called.
"""

from saliency_core.errors import UserError

__all__ = ["UserError", "audit", "open_store"]


def __getattr__(name: str):
    """Import the two entry points on first use, so that reading a file never loads torch."""
    if name == "audit":
        from saliency_core.audit import audit

        return audit
    if name == "open_store":
        from saliency_core.store import open_store

        return open_store
    raise AttributeError(f"module 'saliency_core' has no attribute {name!r}")
