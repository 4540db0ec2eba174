"""Opening a file for writing, and transactions that readers notice."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from saliency_core.errors import UserError
from saliency_core.store import schema


def now() -> str:
    """Return the time as written in the file."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def day(stamp: str) -> str:
    """Return a time of the file as people write it."""
    return datetime.fromisoformat(stamp).strftime("%-d %B %Y, %H:%M UTC")


def prepare(path: Path) -> None:
    """Create or migrate a file so that it can be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if schema.check(path) < schema.FORMAT:
            schema.migrate(path)
    except (sqlite3.Error, OSError) as error:
        if isinstance(error, sqlite3.Error):
            raise UserError(schema.describe(path, error)) from error
        raise UserError(f"{path} cannot be written: {error.strerror}.") from error


def connect(path: Path) -> sqlite3.Connection:
    """Create or migrate a file and open it for writing."""
    prepare(path)
    try:
        return schema.write_connection(path)
    except sqlite3.Error as error:
        raise UserError(schema.describe(path, error)) from error


@contextmanager
def transaction(connection: sqlite3.Connection, path: Path) -> Iterator[None]:
    """Take the write lock, bump the version, commit; undo everything on any error."""
    try:
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            connection.execute("UPDATE meta SET value = value + 1 WHERE key = 'version'")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
    except sqlite3.Error as error:
        raise UserError(schema.describe(path, error)) from error


@contextmanager
def writing(path: str | Path) -> Iterator[sqlite3.Connection]:
    """Open an existing file for one short transaction."""
    path = Path(path)
    if not path.is_file():
        raise UserError(f"There is no database at {path}.")
    connection = connect(path)
    try:
        with transaction(connection, path):
            yield connection
    finally:
        put_away(connection)


def put_away(connection: sqlite3.Connection) -> None:
    """Close a writer so that a copy of the file alone holds everything.

    SQLite empties the log beside a file (`-wal`) when the last connection closes, but a reader
    that is still open, in this process or another, can't; so it is done before. PASSIVE waits for
    nobody, and what it can't do loses nothing.
    """
    with suppress(sqlite3.Error):
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
    connection.close()
