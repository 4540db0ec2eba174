"""Joining the small chunks that batches leave into large ones by position.

Chunks of batches are numbered from `FIRST_BATCH`, joined ones from 0 by rising position, so a
finished run's chunks have the same numbers and the same content however it was interrupted.
"""

from __future__ import annotations

import sqlite3
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from saliency_core.store.format import chunk as columnar
from saliency_core.store.format.chunk import Chunk
from saliency_core.store.format.chunk_io import chunk_numbers, column, load_chunk
from saliency_core.store.format.filter_columns import COLUMN_NAMES, FORMER, GIVEN_UP
from saliency_core.store.sqlite_files import first_value
from saliency_core.store.write import chunk_rows, former

if TYPE_CHECKING:
    from saliency_core.store.write.writer import StoreWriter

FIRST_BATCH = 1 << 30

CHUNK_TOKENS = 65_536
"""Tokens a joined chunk may hold: the places of its words then need two bytes."""

CHUNK_EXAMPLES = 8_192
"""Examples a joined chunk may hold, for runs of very short texts."""

OPEN_TOKENS = 4 * CHUNK_TOKENS
"""Tokens kept decoded; the batches of one block of the audit follow one another."""

TABLES = ("chunks", "columns", "postings", "extra_targets", "scores")

Member = tuple[int, int, int]
"""Position, chunk, slot."""


def next_batch_number(connection: sqlite3.Connection, run: int) -> int:
    """Return the number of a new chunk of a batch."""
    sql = "SELECT coalesce(max(chunk) + 1, 0) FROM chunks WHERE run = ?"
    return max(FIRST_BATCH, first_value(connection, sql, run))


@dataclass
class Progress:
    """How far a run is joined; kept by a writer, so that each block costs its own examples."""

    number: int = 0
    """Chunks that are written."""
    last: int = -1
    """Position of their last example."""


def join_closed(writer: StoreWriter, run: int, progress: Progress) -> None:
    """Join what no later example can change: full chunks before the first waiting example.

    Freed pages then serve the next batches, so that a file grows to little more than it ends at.
    """
    waiting = first_value(
        writer.connection,
        "SELECT min(position) FROM examples WHERE run = ? AND position > ? AND chunk IS NULL",
        run,
        progress.last,
    )
    _join(writer, run, progress, waiting, closed=True)


def consolidate(writer: StoreWriter, run: int) -> None:
    """Bring a run's chunks into their final form; does nothing where they have it."""
    progress = Progress()
    _join(writer, run, progress, None, closed=False)
    stray = [
        chunk
        for chunk in chunk_numbers(writer.connection, run)
        if chunk >= progress.number
        and not (column(writer.connection, run, "position", chunk) == FORMER).any()
    ]
    if stray:
        with writer.transaction():
            for chunk in stray:
                delete(writer.connection, run, chunk, writer.layers(run))


def _join(
    writer: StoreWriter, run: int, progress: Progress, before: int | None, *, closed: bool
) -> None:
    """Write final chunks from where `progress` stands."""
    opened = _Opened(writer.connection, run)
    while members := _group(writer.connection, run, progress.last, before, closed):
        if not _is_final(writer.connection, run, progress.number, members):
            with writer.transaction():
                members = _make_room(writer.connection, run, progress.number, members, opened)
                _write(writer, run, progress.number, members, opened)
        progress.number += 1
        progress.last = members[-1][0]


def _group(
    connection: sqlite3.Connection, run: int, last: int, before: int | None, closed: bool
) -> list[Member]:
    """Return the members of the final chunk after position `last`; none if it may yet grow."""
    rows = connection.execute(
        "SELECT position, chunk, slot, length FROM examples"
        " WHERE run = ? AND position > ? AND chunk IS NOT NULL AND position < ?"
        " ORDER BY position LIMIT ?",
        (run, last, 1 << 62 if before is None else before, CHUNK_EXAMPLES + 1),
    ).fetchall()
    tokens = np.cumsum([row[3] for row in rows])
    n = max(1, int(np.searchsorted(tokens, CHUNK_TOKENS, side="right")))
    n = min(n, CHUNK_EXAMPLES)
    if closed and n >= len(rows):
        return []
    return [row[:3] for row in rows[:n]]


def _is_final(connection: sqlite3.Connection, run: int, number: int, members: list[Member]) -> bool:
    """Return whether a chunk holds exactly these members already."""
    row = connection.execute(
        "SELECT examples FROM chunks WHERE run = ? AND chunk = ?", (run, number)
    ).fetchone()
    return (
        row is not None
        and row[0] == len(members)
        and all(chunk == number and slot == at for at, (_, chunk, slot) in enumerate(members))
    )


def _make_room(
    connection: sqlite3.Connection, run: int, number: int, members: list[Member], opened: _Opened
) -> list[Member]:
    """Renumber a chunk that stands where another is to be written, as one of a batch."""
    taken = connection.execute(
        "SELECT 1 FROM chunks WHERE run = ? AND chunk = ?", (run, number)
    ).fetchone()
    if not taken:
        return members
    moved = next_batch_number(connection, run)
    for table in (*TABLES, "examples", "former_examples"):
        connection.execute(
            f"UPDATE {table} SET chunk = ? WHERE run = ? AND chunk = ?", (moved, run, number)
        )
    opened.forget(number)
    return [(p, moved if chunk == number else chunk, slot) for p, chunk, slot in members]


def _write(
    writer: StoreWriter, run: int, number: int, members: list[Member], opened: _Opened
) -> None:
    """Write one final chunk and delete the chunks it leaves empty."""
    positions, chunks, slots = np.array(members, np.int64).T
    places = {int(chunk): np.flatnonzero(chunks == chunk) for chunk in dict.fromkeys(chunks)}
    parts = [columnar.take(opened.get(chunk), slots[own]) for chunk, own in places.items()]
    order = np.argsort(np.concatenate(list(places.values())))
    joined = columnar.take(columnar.concat(parts), order)
    joined.positions = positions
    writer.write_chunk(run, number, joined)
    writer.connection.executemany(
        "UPDATE examples SET chunk = ?, slot = ? WHERE run = ? AND position = ?",
        [(number, slot, run, int(position)) for slot, position in enumerate(positions)],
    )
    chunk_rows.write_columns(writer, run, number, joined.positions)
    for chunk, own in places.items():
        left = former.mark(writer.connection, run, chunk, dict.fromkeys(slots[own], GIVEN_UP))
        if (left == GIVEN_UP).all():
            delete(writer.connection, run, chunk, writer.layers(run))
            opened.forget(chunk)


def delete(connection: sqlite3.Connection, run: int, chunk: int, layers: int) -> None:
    """Delete a chunk."""
    sql = "SELECT target FROM extra_targets WHERE run = ? AND chunk = ?"
    targets = [0, *(target for (target,) in connection.execute(sql, (run, chunk)))]
    # By full key, which the index begins with.
    connection.executemany(
        "DELETE FROM scores WHERE run = ? AND target = ? AND layer = ? AND chunk = ?",
        [(run, target, layer, chunk) for target in targets for layer in range(layers)],
    )
    named = connection.execute("SELECT name FROM meta_columns WHERE run = ?", (run,)).fetchall()
    names = [*COLUMN_NAMES, *(f"coherence:{layer}" for layer in range(layers))]
    names += [f"meta:{name}" for (name,) in named]
    connection.executemany(
        "DELETE FROM columns WHERE run = ? AND name = ? AND chunk = ?",
        [(run, name, chunk) for name in names],
    )
    for table in ("chunks", "postings", "extra_targets"):
        connection.execute(f"DELETE FROM {table} WHERE run = ? AND chunk = ?", (run, chunk))


class _Opened:
    """Decoded chunks, the longest unused given up first."""

    def __init__(self, connection: sqlite3.Connection, run: int) -> None:
        self.connection, self.run = connection, run
        self.chunks: OrderedDict[int, Chunk] = OrderedDict()
        self.tokens = 0

    def get(self, number: int) -> Chunk:
        """Return a chunk."""
        if number not in self.chunks:
            self.chunks[number] = load_chunk(self.connection, self.run, number)
            self.tokens += len(self.chunks[number].token_ids)
            while len(self.chunks) > 1 and self.tokens > OPEN_TOKENS:
                self.tokens -= len(self.chunks.popitem(last=False)[1].token_ids)
        self.chunks.move_to_end(number)
        return self.chunks[number]

    def forget(self, number: int) -> None:
        """Give up a chunk that was deleted or renumbered."""
        gone = self.chunks.pop(number, None)
        if gone is not None:
            self.tokens -= len(gone.token_ids)
