"""Filter columns of a run: numpy arrays that slices are compared with instead of SQL rows."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from saliency_core.store.format import codec, word_math
from saliency_core.store.format.filter_columns import read_meta_column

if TYPE_CHECKING:
    from saliency_core.store.connection import State
    from saliency_core.store.read.store import Store


MASKS = 32
"""Answers remembered, of one byte per example: those of the slices looked at last."""


class Filters:
    """Filter columns of one run at one state of the file, read when first asked for.

    1 000 000 examples take about 30 MB.
    """

    def __init__(self, store: Store, run: int, state: State) -> None:
        """Read which examples the run has."""
        self.store, self.run, self.state = store, run, state
        self._columns: dict[str, np.ndarray] = {}
        self._masks: dict[Hashable, np.ndarray] = {}
        rows = store.rows(
            "SELECT c.chunk, c.examples, p.data FROM chunks c JOIN columns p"
            " ON p.run = c.run AND p.chunk = c.chunk AND p.name = 'position'"
            " WHERE c.run = ? ORDER BY c.chunk",
            (run,),
        )
        self.chunks = np.array([row[0] for row in rows], np.int64)
        self.counts = np.array([row[1] for row in rows], np.int64)
        self.first = word_math.starts_of(self.counts)
        self.first_of = dict(zip(self.chunks.tolist(), self.first[:-1].tolist(), strict=True))
        stored = _join([row[2] for row in rows], np.int64)
        self.storage_position = stored
        rising = np.all(stored[1:] > stored[:-1]) and (not len(stored) or stored[0] >= 0)
        # In an unfinished run a place may be given up (-1), or copied to a later chunk already.
        self.order = None if rising else _last_places(stored)
        self.position = stored if rising else stored[self.order]

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.position)

    def column(self, name: str) -> np.ndarray:
        """Return a column in the order of positions."""
        if name not in self._columns:
            rows = self.store.rows(
                "SELECT data FROM columns WHERE run = ? AND name = ? ORDER BY chunk",
                (self.run, name),
            )
            if len(rows) != len(self.chunks):
                values = np.full(len(self.storage_position), np.nan, np.float16)
            else:
                values = _join([row[0] for row in rows], None)
            self._columns[name] = values if self.order is None else values[self.order]
        return self._columns[name]

    def quality(self, name: str) -> np.ndarray | None:
        """Return a column of the checks of the dataset by position; None where none is kept."""
        key = f"quality:{name}"
        if key not in self._columns:
            rows = self.store.rows(
                "SELECT data FROM quality WHERE run = ? AND name = ?", (self.run, name)
            )
            values = codec.unpack(rows[0][0]) if rows else None
            if values is None or len(values) != len(self):
                return None
            self._columns[key] = values
        return self._columns[key]

    def mask(self, key: Hashable, compute: Callable[[], np.ndarray]) -> np.ndarray:
        """Return (example,) bool, read-only and computed once: a page asks for a slice again."""
        found = self._masks.pop(key, None)
        if found is None:
            found = compute()
            found.flags.writeable = False
        self._masks[key] = found
        for oldest in list(self._masks)[:-MASKS]:
            self._masks.pop(oldest, None)
        return found

    def stored_mask(self, mask: np.ndarray) -> np.ndarray:
        """Return a mask over positions as one over places in the chunks."""
        if self.order is None:
            return mask
        stored = np.zeros(len(self.storage_position), bool)
        stored[self.order[mask]] = True
        return stored

    def from_stored(self, stored: np.ndarray) -> np.ndarray:
        """Return a mask over places as one over positions."""
        return stored if self.order is None else stored[self.order]

    def metadata(self, name: str, read: Callable[[Any], Any], dtype: type) -> np.ndarray:
        """Return (example,) by rising position: what `read` makes of each metadata value."""
        found: np.ndarray = np.zeros(len(self.storage_position), dtype)
        for number, data in self.store.rows(
            "SELECT chunk, data FROM columns WHERE run = ? AND name = ?", (self.run, f"meta:{name}")
        ):
            values, codes = read_meta_column(data)
            first = self.first_of[number]
            found[first : first + len(codes)] = np.array(list(map(read, values)), dtype)[codes]
        return self.from_stored(found)

    def mask_of(self, positions: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return (example,) bool: those at the positions, as far as the run has them."""
        rows = self.rows_of(np.asarray(positions, np.int64))
        mask = np.zeros(len(self), bool)
        mask[rows[rows >= 0]] = True
        return mask

    def rows_of(self, positions: np.ndarray) -> np.ndarray:
        """Return the index of each position; -1 where the run lacks it."""
        rows = np.searchsorted(self.position, positions)
        rows = np.minimum(rows, len(self) - 1)
        return np.where(self.position[rows] == positions, rows, -1) if len(self) else rows * 0 - 1

    def batches(self, sql: str, *values: Any) -> Iterator[tuple[np.ndarray, list[list[Any]]]]:
        """Yield rows and the other columns of a query of this run that begins with the position.

        What the query takes first is the number of the run; positions not in it are left out.
        """
        for block in self.store.batches(sql, (self.run, *values)):
            positions, *columns = zip(*block, strict=True)
            rows = self.rows_of(np.array(positions, np.int64))
            known = (rows >= 0).tolist()
            yield rows[known], [list(itertools.compress(column, known)) for column in columns]

    def place(self, row: int) -> tuple[int, int]:
        """Return chunk number and slot of a row."""
        stored = row if self.order is None else int(self.order[row])
        index = int(np.searchsorted(self.first, stored, side="right")) - 1
        return int(self.chunks[index]), stored - int(self.first[index])


def _join(blobs: list[bytes], dtype: Any) -> np.ndarray:
    parts = [codec.unpack(blob) for blob in blobs]
    joined = np.concatenate(parts) if parts else np.zeros(0)
    return joined if dtype is None else joined.astype(dtype)


def _last_places(positions: np.ndarray) -> np.ndarray:
    """Return the last index of each distinct position but -1, by rising position."""
    order = np.argsort(positions, kind="stable")
    order = order[np.searchsorted(positions[order], 0) :]
    sorted_positions = positions[order]
    last = np.ones(len(order), bool)
    last[:-1] = sorted_positions[1:] != sorted_positions[:-1]
    return order[last]
