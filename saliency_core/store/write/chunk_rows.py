"""Rows of a chunk in the file: layout, scores and filter columns."""

from __future__ import annotations

import json
import sqlite3
from typing import TYPE_CHECKING

import numpy as np

from saliency_core.store.format import chunk as columnar
from saliency_core.store.format import codec, word_math
from saliency_core.store.format.chunk import Chunk
from saliency_core.store.format.filter_columns import FILTER_COLUMNS, meta_column
from saliency_core.store.sqlite_files import SqlRow

if TYPE_CHECKING:
    from saliency_core.store.write.writer import StoreWriter


def write_chunk(connection: sqlite3.Connection, run: int, number: int, chunk: Chunk) -> None:
    """Write everything of a chunk but its filter columns."""
    for table, row in (
        ("chunks", columnar.layout_row(chunk)),
        ("postings", columnar.posting_row(chunk)),
    ):
        connection.execute(
            f"INSERT INTO {table} (run, chunk, {', '.join(row)})"
            f" VALUES (?, ?, {','.join('?' * len(row))})",
            (run, number, *row.values()),
        )
    rows: list[SqlRow] = []
    for layer in range(chunk.layers):
        chosen = word_math.top3(chunk.word_scores(layer), chunk.n_words)
        rows.append(
            (
                run,
                0,
                layer,
                number,
                np.packbits(chosen).tobytes(),
                chunk.scores[layer].tobytes(),
            )
        )
    for target, extra in chunk.extra.items():
        connection.execute(
            "INSERT INTO extra_targets VALUES (?, ?, ?, ?, ?)",
            (
                run,
                number,
                target,
                codec.pack(extra.members),
                codec.pack(extra.completeness),
            ),
        )
        rows += [
            (run, target, layer, number, None, extra.scores[layer].tobytes())
            for layer in range(chunk.layers)
        ]
    connection.executemany("INSERT INTO scores VALUES (?, ?, ?, ?, ?, ?)", rows)


def write_columns(writer: StoreWriter, run: int, number: int, positions: np.ndarray) -> None:
    """Write the filter columns of a chunk from the rows of its examples."""
    known = {
        row[0]: row[1:]
        for row in writer.matching(
            "SELECT position, gold, predicted, confidence, margin, length,"
            " chars_seen < chars_total, failure IS NOT NULL, metadata"
            " FROM examples WHERE run = ? AND position IN ({})",
            [int(position) for position in positions if position >= 0],
            run,
        )
    }
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
    names = writer.connection.execute("SELECT name FROM meta_columns WHERE run = ?", (run,))
    writer.connection.executemany(
        "DELETE FROM columns WHERE run = ? AND name = ? AND chunk = ?",
        [(run, f"meta:{name}", number) for (name,) in names.fetchall()],
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
