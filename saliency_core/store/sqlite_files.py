"""How SQLite opens a file, and what its errors mean: told by their codes, never by their words."""

from __future__ import annotations

import json
import os
import sqlite3
import time
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

BUSY_SECONDS = 120.0
"""How long a writer waits for another one's transaction; batches take milliseconds."""
_PARAMETERS = 900
"""Values of one SQL `IN`; old builds of SQLite allow 999."""

_FULL = (
    "The disk of {path} is full, or a limit is reached. What was stored is kept; free some space "
    "and run the same command again."
)
_DAMAGED = "{path} is damaged or cut short; restore a copy or audit again."
_LOG = (
    "{path} has a log ({path}-wal) that can only be read where its folder can be written; copy "
    "both to a folder of yours, or let the program that writes the file come to its end."
)
_BUSY = "{path} is in use by another program for more than {seconds:.0f} s."
_MEANINGS = {
    sqlite3.SQLITE_NOTADB: "{path} is not an SQLite file.",
    sqlite3.SQLITE_BUSY: _BUSY,
    sqlite3.SQLITE_LOCKED: _BUSY,
    sqlite3.SQLITE_FULL: _FULL,
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_IOERR: _DAMAGED,
    sqlite3.SQLITE_READONLY: "{path} cannot be written; check the permissions of the file and of "
    "its folder, or copy it to a folder of yours.",
    sqlite3.SQLITE_PERM: "{path} cannot be opened; check its permissions.",
    sqlite3.SQLITE_CANTOPEN: "{path} cannot be opened; check the path and the permissions of the "
    "file and of its folder, or copy it to a folder of yours.",
    # Extended codes: where a quota or a limit of the size of files is reached.
    sqlite3.SQLITE_IOERR_WRITE: _FULL,
    sqlite3.SQLITE_IOERR_FSYNC: _FULL,
    sqlite3.SQLITE_IOERR_TRUNCATE: _FULL,
    sqlite3.SQLITE_IOERR_SHMSIZE: _FULL,
    # The log beside a file waits to be read into it, which takes the right to write.
    sqlite3.SQLITE_READONLY_RECOVERY: _LOG,
    sqlite3.SQLITE_READONLY_CANTINIT: _LOG,
    sqlite3.SQLITE_CANTOPEN_DIRTYWAL: _LOG,
}
"""What the codes of SQLite mean for a file, extended ones first."""


SqlRow = tuple[Any, ...]
"""A row as SQLite gives it."""

READING = (sqlite3.DatabaseError, json.JSONDecodeError, UnicodeDecodeError, zlib.error)
"""What reading a file raises where it is damaged; the last where SQLite quotes what it found."""


def has_log(path: Path) -> bool:
    """Return whether a log beside a file holds what a writer has not put into it yet."""
    try:
        return path.with_name(f"{path.name}-wal").stat().st_size > 0
    except OSError:
        return False


def describe(path: Path, error: Exception) -> str:
    """Say in one sentence what an error of SQLite, or of reading what it holds, means for a file.

    It is told by the code: the text of an error may quote what the file holds.
    """
    if not isinstance(error, sqlite3.Error) or not hasattr(error, "sqlite_errorcode"):
        # Python's own; of a file it can only be that a text is no UTF-8, or a block won't unpack.
        is_misuse = isinstance(error, sqlite3.ProgrammingError | sqlite3.InterfaceError)
        return f"{path}: {error}." if is_misuse else _DAMAGED.format(path=path)
    code = error.sqlite_errorcode
    if code & 0xFF == sqlite3.SQLITE_CANTOPEN and has_log(path):
        return _LOG.format(path=path)
    meaning = _MEANINGS.get(code) or _MEANINGS.get(code & 0xFF) or "{path}: {name}."
    return meaning.format(path=path, seconds=BUSY_SECONDS, name=error.sqlite_errorname)


def is_sound(connection: sqlite3.Connection) -> bool:
    """Return whether SQLite finds no fault with the pages and indexes of a file; reads it whole."""
    try:
        return connection.execute("PRAGMA integrity_check(1)").fetchone() == ("ok",)
    except READING:
        return False


def read_connection(path: Path) -> sqlite3.Connection:
    """Open a file read-only; one connection a thread."""
    connection = sqlite3.connect(read_only(path), uri=True, timeout=30)
    connection.execute("PRAGMA query_only = 1")
    connection.execute("PRAGMA mmap_size = 8589934592")
    return connection


def read_only(path: Path) -> str:
    """Return the address of a file for reading.

    Readers and writers meet in two files beside it. Where a reader may make none and no writer
    left a log, the file itself holds everything and is read alone.
    """
    address = f"{path.resolve().as_uri()}?mode=ro"
    if not has_log(path) and not os.access(path.resolve().parent, os.W_OK):
        address += "&immutable=1"
    return address


def use_wal(connection: sqlite3.Connection) -> None:
    """Let readers read while one writes; SQLite itself does not wait for the lock this takes."""
    patience = time.monotonic() + BUSY_SECONDS
    while connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            locked = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
            if error.sqlite_errorcode & 0xFF not in locked or time.monotonic() > patience:
                raise
            time.sleep(0.02)


def release(connection: sqlite3.Connection) -> None:
    """Give free pages back to the file system."""
    # A script is stepped to its end; `execute` would stop after the first page.
    connection.executescript("PRAGMA incremental_vacuum;")


def tables_in(connection: sqlite3.Connection) -> set[str]:
    """Return the names of the tables in the file."""
    return {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}


def matching(
    connection: sqlite3.Connection, sql: str, values: Sequence[Any], *before: Any
) -> list[SqlRow]:
    """Run a query with an `IN ({})` list of any length, after the parameters `before`."""
    rows: list[SqlRow] = []
    for start in range(0, len(values), _PARAMETERS):
        part = values[start : start + _PARAMETERS]
        rows += connection.execute(sql.format(",".join("?" * len(part))), (*before, *part))
    return rows


def words_of(connection: sqlite3.Connection, ids: Sequence[int]) -> dict[int, str]:
    """Return the words of ids, lower-cased."""
    sql = "SELECT word_id, word FROM vocabulary WHERE word_id IN ({})"
    return dict(matching(connection, sql, ids))


def first_value(connection: sqlite3.Connection, sql: str, *values: Any) -> Any:
    """Return the first value of the first row of a query."""
    return connection.execute(sql, values).fetchone()[0]


def by_name(cursor: sqlite3.Cursor) -> list[dict[str, Any]]:
    """Return the rows of a query by the names of its columns."""
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor]


def insert(connection: sqlite3.Connection, table: str, row: Mapping[str, Any]) -> int:
    """Insert a row by the names of its columns; return its row id."""
    number = connection.execute(
        f"INSERT INTO {table} ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})",
        tuple(row.values()),
    ).lastrowid
    assert number is not None
    return number
