"""Rows of a chunk in the file: layout, scores, filter columns and coherence."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from saliency_core.store.format import chunk as columnar
from saliency_core.store.format import codec, word_math
from saliency_core.store.format.chunk import Chunk
from saliency_core.store.format.filter_columns import FILTER_COLUMNS, meta_column
from saliency_core.store.sqlite_files import SqlRow, insert

if TYPE_CHECKING:
    from saliency_core.store.write.writer import StoreWriter


def write_chunk(writer: StoreWriter, run: int, number: int, chunk: Chunk) -> None:
    """Write everything of a chunk but its filter columns."""
    connection = writer.connection
    place = {"run": run, "chunk": number}
    insert(connection, "chunks", place | columnar.layout_row(chunk))
    insert(connection, "postings", place | columnar.posting_row(chunk))
    rows: list[SqlRow] = []
    for layer in range(chunk.layers):
        chosen = word_math.top3(chunk.word_scores(layer), chunk.n_words)
        top3 = np.packbits(chosen).tobytes()
        rows.append((run, 0, layer, number, top3, chunk.scores[layer].tobytes()))
    for target, extra in chunk.extra.items():
        connection.execute(
            "INSERT INTO extra_targets VALUES (?, ?, ?, ?, ?)",
            (run, number, target, codec.pack(extra.members), codec.pack(extra.completeness)),
        )
        rows += [
            (run, target, layer, number, None, extra.scores[layer].tobytes())
            for layer in range(chunk.layers)
        ]
    connection.executemany("INSERT INTO scores VALUES (?, ?, ?, ?, ?, ?)", rows)


def write_columns(writer: StoreWriter, run: int, number: int, positions: np.ndarray) -> None:
    """Write the filter columns of a chunk from the rows of its examples."""
    stored = writer.examples(
        run,
        "position, gold, predicted, confidence, margin, length, chars_seen < chars_total,"
        " failure IS NOT NULL, metadata",
        [int(position) for position in positions if position >= 0],
    )
    known = {row[0]: row[1:] for row in stored}
    nothing = (None,) * (len(FILTER_COLUMNS) + 1)
    rows = [known.get(int(position), nothing) for position in positions]
    columns = {"position": codec.pack(np.asarray(positions))}
    for index, (name, kind, none) in enumerate(FILTER_COLUMNS):
        values = [none if row[index] is None else row[index] for row in rows]
        columns[name] = codec.pack(np.array(values, kind))
    columns |= _meta_columns(writer, run, [row[-1] for row in rows])
    writer.connection.executemany(
        "INSERT OR REPLACE INTO columns VALUES (?, ?, ?, ?)",
        [(run, name, number, data) for name, data in columns.items()],
    )


def refresh_columns(writer: StoreWriter, run: int, number: int, positions: np.ndarray) -> None:
    """Write the filter columns of a chunk anew, without metadata that its rows lost."""
    writer.connection.execute(
        "DELETE FROM columns WHERE run = ?1 AND chunk = ?2"
        " AND name IN (SELECT 'meta:' || name FROM meta_columns WHERE run = ?1)",
        (run, number),
    )
    write_columns(writer, run, number, positions)


def _meta_columns(writer: StoreWriter, run: int, rows: list[str | None]) -> dict[str, bytes]:
    """Return the metadata columns of a chunk; every chunk has all that any had so far."""
    values = [json.loads(row) if row else {} for row in rows]
    names = {name for value in values for name in value}
    writer.connection.executemany(
        "INSERT OR IGNORE INTO meta_columns VALUES (?, ?)", [(run, name) for name in names]
    )
    return {
        f"meta:{name}": meta_column([value.get(name) for value in values]) for name in sorted(names)
    }


def set_coherence(
    writer: StoreWriter, run: int, values: Iterable[tuple[np.ndarray, np.ndarray]]
) -> None:
    """Store per-example coherence: pairs of positions (n,) and values (layer, n)."""
    writer.consolidate(run)
    connection, layers = writer.connection, writer.layers(run)
    with writer.transaction():
        chunks = connection.execute("SELECT chunk, examples FROM chunks WHERE run = ?", (run,))
        sizes: dict[int, int] = dict(chunks.fetchall())
        connection.execute("DELETE FROM columns WHERE run = ? AND name LIKE 'coherence:%'", (run,))
        # Only chunks begun and not complete are in memory.
        begun: dict[int, np.ndarray] = {}
        left = dict(sizes)
        for positions, block in values:
            block = np.asarray(block, np.float16)
            row_of = {int(position): row for row, position in enumerate(positions)}
            names = "chunk, slot, position"
            stored = writer.examples(run, names, [*row_of], "AND chunk IS NOT NULL")
            places = [(chunk, slot, row_of[position]) for chunk, slot, position in stored]
            numbers, all_slots, all_rows = np.array(places, np.int64).reshape(-1, 3).T
            for number in np.unique(numbers).tolist():
                slots, rows = all_slots[numbers == number], all_rows[numbers == number]
                if number not in begun:
                    begun[number] = np.full((layers, sizes[number]), np.nan, np.float16)
                begun[number][:, slots] = block[:, rows]
                left[number] -= len(rows)
                if not left[number]:
                    del left[number]
                    _insert_coherence(connection, run, number, begun.pop(number))
        for number in left:
            nothing = np.full((layers, sizes[number]), np.nan, np.float16)
            _insert_coherence(connection, run, number, begun.get(number, nothing))


def _insert_coherence(
    connection: sqlite3.Connection, run: int, number: int, table: np.ndarray
) -> None:
    connection.executemany(
        "INSERT INTO columns VALUES (?, ?, ?, ?)",
        [
            (run, f"coherence:{layer}", number, codec.pack(column, compress=False))
            for layer, column in enumerate(table)
        ],
    )
