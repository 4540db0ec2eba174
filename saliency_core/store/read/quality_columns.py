"""What the checks of a dataset say of each example: one column for all examples of a run.

Beside the columns of the chunks, because it compares examples with one another: no batch of an
audit can know it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from saliency_core.store.connection import consistent, writing
from saliency_core.store.format import codec

if TYPE_CHECKING:
    from saliency_core.store.read.run import Run

QUALITY_COLUMNS = {
    "label_quality": "float32: how plausible the label is, 0 to 1; not a number without one",
    "label_issue": "0 or 1: the label may be wrong",
    "likely": "index of the label that is likely right where `label_issue`; else -1",
    "duplicate": "number of the group of texts that are the same or nearly; -1 where unique",
    "duplicate_exact": "number of the group of texts that are the same; -1 where unique",
    "duplicate_conflict": "0 or 1: its group of duplicates has more than one label",
    "text_problems": "sum of 2**n over the problems of a text, by their place in TEXT_PROBLEMS",
    "in_train": "0, 1 where the training data have the text, 2 where they nearly have it",
}
"""Name -> what a column holds."""


def save_quality(path: str | Path, run: int, columns: Mapping[str, np.ndarray]) -> None:
    """Keep columns of a run's examples, replacing those of the same name.

    They are forgotten, as kept tables are, as soon as the run gets or loses results.

    Args:
        path: The file.
        run: Run number.
        columns: Name of `QUALITY_COLUMNS` -> (example,) by rising position.
    """
    unknown = sorted(set(columns) - set(QUALITY_COLUMNS))
    assert not unknown, f"no quality columns: {unknown}"
    with writing(path, run) as connection:
        connection.executemany(
            "INSERT OR REPLACE INTO quality (run, name, data) VALUES (?, ?, ?)",
            [(run, name, codec.pack(values)) for name, values in columns.items()],
        )


@consistent
def quality(run: Run, name: str) -> np.ndarray | None:
    """Return (example,) of a column of `QUALITY_COLUMNS` by rising position; None if not kept."""
    return run.columns.quality(name)
