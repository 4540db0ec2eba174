"""Deleting runs and giving their space back."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from saliency_core.errors import UserError
from saliency_core.store.connection import connect, transaction
from saliency_core.store.format import codec
from saliency_core.store.read.store import open_store
from saliency_core.store.sqlite_files import describe, release


def prune(path: str | Path, runs: Sequence[int]) -> dict[str, Any]:
    """Delete runs with everything that only they use: texts, words, notes and verdicts.

    Saved slices stay, they belong to no run.

    Args:
        path: The file.
        runs: Run numbers.

    Returns:
        `{"database", "runs", "bytes_before", "bytes_after"}`
    """
    path, runs = Path(path), list(dict.fromkeys(runs))
    store = open_store(path)
    known = store.runs()["run"].tolist()
    for run in runs:
        if run not in known:
            shown = ", ".join(map(str, known)) or "none"
            raise UserError(f"{path} has no run {run}; it has: {shown}.")
    connection = connect(path)
    try:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        before = path.stat().st_size
        # Cascades would look for the children of every single text; what refers to a run is known.
        connection.execute("PRAGMA foreign_keys = 0")
        with transaction(connection, path):
            _delete(connection, runs)
        # The full-text index without what was deleted; then free pages are cut off the file.
        connection.execute("INSERT INTO texts_fts (texts_fts) VALUES ('optimize')")
        release(connection)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.Error as error:
        raise UserError(describe(path, error)) from error
    finally:
        connection.close()
    return {
        "database": str(path),
        "runs": runs,
        "bytes_before": before,
        "bytes_after": path.stat().st_size,
    }


def _delete(connection: sqlite3.Connection, runs: list[int]) -> None:
    tables = connection.execute(
        "SELECT m.name FROM sqlite_master m JOIN pragma_table_info(m.name) c"
        " WHERE m.type = 'table' AND c.name = 'run'"
    )
    for (table,) in tables.fetchall():
        connection.executemany(f'DELETE FROM "{table}" WHERE run = ?', [(run,) for run in runs])
    for table in ("digests", "texts"):
        connection.execute(
            f"DELETE FROM {table} WHERE text_id NOT IN (SELECT text_id FROM examples"
            " UNION SELECT text_id FROM former_examples"
            " UNION SELECT text_id FROM orphaned_notes WHERE text_id IS NOT NULL)"
        )
    unused = {word for (word,) in connection.execute("SELECT word_id FROM vocabulary")}
    for (words,) in connection.execute("SELECT words FROM postings"):
        unused.difference_update(codec.unpack(words).tolist())
    connection.executemany("DELETE FROM vocabulary WHERE word_id = ?", [(word,) for word in unused])
    connection.execute(
        "INSERT INTO meta VALUES ('pruned', 1) ON CONFLICT (key) DO UPDATE SET value = value + 1"
    )
