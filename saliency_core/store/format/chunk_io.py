"""Rows of the file back into chunks; shared by reader and writer."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Any

import numpy as np

from saliency_core.jsonable import plain
from saliency_core.store.format import chunk as columnar
from saliency_core.store.format import codec
from saliency_core.store.format.chunk import Chunk, Extra
from saliency_core.store.sqlite_files import by_name, first_value


def run_fact(connection: sqlite3.Connection, run: int, name: str) -> Any:
    """Return what the file keeps of a run as JSON."""
    return json.loads(first_value(connection, f"SELECT {name} FROM runs WHERE run = ?", run))


def set_facts(connection: sqlite3.Connection, run: int, **facts: Any) -> None:
    """Set columns of what the file keeps of a run; lists and dictionaries as JSON."""
    values = [
        json.dumps(value) if isinstance(value, list | dict) else plain(value)
        for value in facts.values()
    ]
    connection.execute(
        f"UPDATE runs SET {', '.join(f'{name} = ?' for name in facts)} WHERE run = ?",
        (*values, run),
    )


def chunk_numbers(connection: sqlite3.Connection, run: int) -> list[int]:
    """Return the numbers of the chunks of a run."""
    rows = connection.execute("SELECT chunk FROM chunks WHERE run = ? ORDER BY chunk", (run,))
    return [number for (number,) in rows.fetchall()]


def row_of(
    connection: sqlite3.Connection, table: str, run: int, chunk: int, names: Sequence[str] = ("*",)
) -> dict[str, Any]:
    """Return one row of a chunk table by column name."""
    sql = f"SELECT {', '.join(names)} FROM {table} WHERE run = ? AND chunk = ?"
    (row,) = by_name(connection.execute(sql, (run, chunk)))
    return row


def column(connection: sqlite3.Connection, run: int, name: str, chunk: int) -> np.ndarray:
    """Return a filter column of one chunk."""
    sql = "SELECT data FROM columns WHERE run = ? AND name = ? AND chunk = ?"
    return codec.unpack(first_value(connection, sql, run, name, chunk))


def is_complete(connection: sqlite3.Connection, run: int) -> bool:
    """Return whether a run is finished and none of its examples waits for a result."""
    sql = (
        "SELECT status = 'finished' AND NOT EXISTS"
        " (SELECT 1 FROM examples e WHERE e.run = r.run AND chunk IS NULL)"
        " FROM runs r WHERE run = ?"
    )
    return bool(first_value(connection, sql, run))


def load_chunk(
    connection: sqlite3.Connection, run: int, number: int, *, scores: bool = True
) -> Chunk:
    """Read one chunk whole; without scores where only the layout is asked for."""
    layers = run_fact(connection, run, "model_info")["layers"] + 1
    layout = columnar.layout_columns(row_of(connection, "chunks", run, number), layers)
    tokens, words = len(layout["token_ids"]), len(layout["pieces"])
    data = np.zeros((layers, 0), np.float16)
    extra: dict[int, Extra] = {}
    if scores:
        data = score_rows(connection, run, number, 0, layers).reshape(layers, tokens)
        extra = load_extra(connection, run, number, layers)
    return Chunk(
        positions=column(connection, run, "position", number).astype(np.int64),
        predicted=column(connection, run, "predicted", number).astype(np.int32),
        word_ids=columnar.posting_words(row_of(connection, "postings", run, number), words),
        scores=data,
        extra=extra,
        **layout,
    )


def load_words(connection: sqlite3.Connection, run: int, number: int) -> dict[str, np.ndarray]:
    """Read which words a chunk holds: n_words (example,), first (token,), word_ids (word,)."""
    names = ("n_words", "n_tokens", "first", "words", "counts", "occurrences")
    row = row_of(connection, "chunks JOIN postings USING (run, chunk)", run, number, names)
    n_words = codec.unpack(row["n_words"]).astype(np.int64)
    tokens = int(codec.unpack(row["n_tokens"]).sum(dtype=np.int64))
    return {
        "n_words": n_words,
        "first": codec.unpack_bits(row["first"], tokens),
        "word_ids": columnar.posting_words(row, int(n_words.sum())),
    }


def score_rows(
    connection: sqlite3.Connection, run: int, number: int, target: int, layers: int
) -> np.ndarray:
    """Return the (layer, token) scores of a chunk."""
    sql = "SELECT data FROM scores WHERE run = ? AND target = ? AND layer = ? AND chunk = ?"
    blobs = [first_value(connection, sql, run, target, layer, number) for layer in range(layers)]
    return np.frombuffer(b"".join(blobs), np.float16).reshape(layers, -1)


def load_extra(
    connection: sqlite3.Connection, run: int, number: int, layers: int
) -> dict[int, Extra]:
    """Return the second targets of a chunk."""
    rows = connection.execute(
        "SELECT target, members, completeness FROM extra_targets WHERE run = ? AND chunk = ?",
        (run, number),
    ).fetchall()
    return {
        target: Extra(
            codec.unpack(members).astype(np.int32),
            score_rows(connection, run, number, target, layers),
            codec.unpack(completeness).reshape(layers, -1),
        )
        for target, members, completeness in rows
    }
