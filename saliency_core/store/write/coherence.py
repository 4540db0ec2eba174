"""Coherence of each example, a filter column a layer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from saliency_core.store.format import codec

if TYPE_CHECKING:
    from saliency_core.store.write.writer import StoreWriter


def write(writer: StoreWriter, run: int, values: Iterable[tuple[np.ndarray, np.ndarray]]) -> None:
    """Store per-example coherence: pairs of positions (n,) and values (layer, n)."""
    sizes = dict(
        writer.connection.execute(
            "SELECT chunk, examples FROM chunks WHERE run = ?", (run,)
        ).fetchall()
    )
    layers = writer.layers(run)
    # Only chunks begun and not complete are in memory.
    begun: dict[int, np.ndarray] = {}
    left = dict(sizes)
    writer.connection.execute(
        "DELETE FROM columns WHERE run = ? AND name LIKE 'coherence:%'", (run,)
    )
    for positions, block in values:
        block = np.asarray(block, np.float16)
        for number, slots, rows in _slots(writer, run, positions):
            if number not in begun:
                begun[number] = np.full((layers, sizes[number]), np.nan, np.float16)
            begun[number][:, slots] = block[:, rows]
            left[number] -= len(rows)
            if not left[number]:
                _write_coherence(writer, run, number, begun.pop(number))
    for number, table in begun.items():
        _write_coherence(writer, run, number, table)
    for number in [n for n, rest in left.items() if rest == sizes[n] and rest]:
        _write_coherence(writer, run, number, np.full((layers, sizes[number]), np.nan, np.float16))


def _slots(
    writer: StoreWriter, run: int, positions: np.ndarray
) -> list[tuple[int, np.ndarray, np.ndarray]]:
    """Return (chunk, slots, rows of `positions`) of the examples."""
    row_of = {int(position): row for row, position in enumerate(positions)}
    found: dict[int, tuple[list[int], list[int]]] = {}
    for position, chunk, slot in writer.matching(
        "SELECT position, chunk, slot FROM examples"
        " WHERE run = ? AND chunk IS NOT NULL AND position IN ({})",
        list(row_of),
        run,
    ):
        slots, rows = found.setdefault(chunk, ([], []))
        slots.append(slot)
        rows.append(row_of[position])
    return [
        (chunk, np.array(slots, np.int64), np.array(rows, np.int64))
        for chunk, (slots, rows) in found.items()
    ]


def _write_coherence(writer: StoreWriter, run: int, number: int, table: np.ndarray) -> None:
    writer.connection.executemany(
        "INSERT INTO columns VALUES (?, ?, ?, ?)",
        [
            (run, f"coherence:{layer}", number, codec.pack(column, compress=False))
            for layer, column in enumerate(table)
        ],
    )
