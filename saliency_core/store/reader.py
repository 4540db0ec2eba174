"""The reading side: what the dashboard, the command line and notebooks ask of a file.

No torch, no sqlite-utils. What a `Store` reads is in the modules of its parts.
"""

from __future__ import annotations

from pathlib import Path

from saliency_core.errors import UserError
from saliency_core.store import schema
from saliency_core.store.connection import prepare
from saliency_core.store.read.metrics import Quality
from saliency_core.store.read.results import Results
from saliency_core.store.read.words import Words


class Store(Words, Quality, Results):
    """One file, read-only. Every method takes `run`; None is the newest.

    Each method sees one state of the file; `with store.steady():` lets several see the same.
    """


def open_store(path: str | Path) -> Store:
    """Open a file for reading; an older format is migrated first.

    Raises:
        UserError: There is no file, it is damaged, or a newer program wrote it.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"There is no database at {path}.")
    found = schema.check(path)
    if found == 0:
        raise UserError(f"{path} is empty; no audit wrote it.")
    if found < schema.FORMAT:
        prepare(path)
    return Store(path)
