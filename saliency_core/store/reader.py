"""The reading side: what the dashboard, the command line and notebooks ask of a file.

No torch. What a `Store` reads is in the modules of its parts.
"""

from __future__ import annotations

from pathlib import Path

from saliency_core.store.connection import readable
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
    readable(path)
    return Store(path)
