"""What belongs to an example besides its page row; warnings that come after a run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from saliency_core.store.connection import writing

if TYPE_CHECKING:
    from saliency_core.store.reader import Store

_PARAMETERS = 900


def details(store: Store, positions: Sequence[int], run: int) -> list[dict[str, Any]]:
    """Return what these examples have besides, in order: label, metadata, logits, `incomplete`."""
    positions = [int(position) for position in positions]
    found: dict[int, dict[str, Any]] = {}
    for start in range(0, len(positions), _PARAMETERS):
        part = positions[start : start + _PARAMETERS]
        marks = ",".join("?" * len(part))
        for position, label, metadata, logits, incomplete in store._rows(
            "SELECT position, label, metadata, logits, incomplete FROM examples"
            f" WHERE run = ? AND position IN ({marks})",
            (run, *part),
        ):
            found[position] = {
                "label": label,
                "metadata": json.loads(metadata) if metadata else {},
                "logits": np.frombuffer(logits or b"", "<f4"),
                "incomplete": bool(incomplete),
            }
    return [found[position] for position in positions]


def set_warning(path: str | Path, run: int, beginning: str, sentence: str | None) -> None:
    """Keep a warning of a run, in place of those that begin alike; None takes them away."""
    with writing(path) as connection:
        (kept,) = connection.execute("SELECT warnings FROM runs WHERE run = ?", (run,)).fetchone()
        warnings = [text for text in json.loads(kept) if not text.startswith(beginning)]
        if sentence is not None:
            warnings.append(sentence)
        connection.execute(
            "UPDATE runs SET warnings = ? WHERE run = ?", (json.dumps(warnings), run)
        )
