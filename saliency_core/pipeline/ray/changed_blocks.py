"""Blocks of a dataset that changed: each row of a result moves to where its text now stands."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from saliency_core.records import Example
from saliency_core.store.format.block_folder import BlockFolder
from saliency_core.store.format.wire import RESULTS

FILES_A_PASS = 200
"""Blocks rewritten in one pass through the dataset: their rows' ids and metadata are in memory."""


def follow(folder: BlockFolder, contents: np.ndarray, dataset: Iterable[Example]) -> None:
    """Rewrite the blocks of a changed dataset; a row whose text and label it lacks is dropped.

    Stopped anywhere, it goes on: a row that stands where it belongs is left there. `contents` are
    the (example,) `content_of` every row of the dataset.
    """
    rows = {file: rows_of(folder, file) for file in folder.files()}
    fits = {file: _fits(contents, *found) for file, found in rows.items()}
    taken = np.zeros(len(contents), bool)
    for file, (positions, _) in rows.items():
        taken[positions[fits[file]]] = True
    moved = [found[~fits[file]] for file, (_, found) in rows.items()]
    free = _free(contents, taken, np.concatenate([np.zeros(0, np.int64), *moved]))
    for file, (positions, found) in rows.items():
        for row in np.flatnonzero(~fits[file]):
            positions[row] = (free.get(int(found[row])) or [-1]).pop()
    targets = [(file, positions) for file, (positions, _) in rows.items()]
    for start in range(0, len(targets), FILES_A_PASS):
        _rewrite(folder, dict(targets[start : start + FILES_A_PASS]), dataset)


def content_of(text: str, pair: str | None, gold: int | None) -> int:
    """Return what decides the result of a row, for this process only."""
    return hash((text, pair, gold))


def rows_of(folder: BlockFolder, file: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions and contents of the rows of a block."""
    found = folder.read(file, ["position", "text", "pair", "gold"]).to_pydict()
    positions = np.array(found.pop("position"), np.int64)
    contents = [content_of(*row) for row in zip(*found.values(), strict=True)]
    return positions, np.array(contents, np.int64)


def _fits(contents: np.ndarray, positions: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Return which rows stand where the dataset has their content."""
    fits = positions < len(contents)
    fits[fits] = contents[positions[fits]] == found[fits]
    return fits


def _free(contents: np.ndarray, taken: np.ndarray, moved: np.ndarray) -> dict[int, list[int]]:
    """Return content -> positions without a result, the first one last."""
    free: dict[int, list[int]] = {}
    for position in np.flatnonzero(~taken & np.isin(contents, moved))[::-1].tolist():
        free.setdefault(int(contents[position]), []).append(position)
    return free


def _rewrite(
    folder: BlockFolder, targets: dict[Path, np.ndarray], dataset: Iterable[Example]
) -> None:
    """Write blocks with the positions, ids, labels and metadata of the dataset; -1 is dropped."""
    wanted = {int(position) for found in targets.values() for position in found}
    examples = {row.position: row for row in dataset if row.position in wanted}
    for file, found in targets.items():
        seconds = folder.seconds(file)
        rows = np.flatnonzero(found >= 0)
        before = folder.read(file)
        table = _renamed(before.take(rows), [examples[position] for position in found[rows]])
        if table.equals(before):
            continue
        written = folder.write(table.sort_by("position"), seconds) if len(rows) else None
        if written != file:
            file.unlink()


def _renamed(table: pa.Table, examples: Sequence[Example]) -> pa.Table:
    """Return the results as those of these examples."""
    columns = {
        "position": [example.position for example in examples],
        "id": [example.id for example in examples],
        "label": [example.label for example in examples],
        "metadata": [json.dumps(example.metadata) for example in examples],
    }
    for name, values in columns.items():
        field = RESULTS.field(name)
        table = table.set_column(RESULTS.get_field_index(name), field, pa.array(values, field.type))
    return table
