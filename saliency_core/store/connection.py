"""Which file stands at a path, opening it for writing, and transactions that readers notice."""

from __future__ import annotations

import functools
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, ParamSpec, TypeVar

from saliency_core.errors import NothingYetError, UserError
from saliency_core.store import migrations
from saliency_core.store.schema import FORMAT
from saliency_core.store.sqlite_files import (
    BUSY_SECONDS,
    READING,
    describe,
    first_value,
    read_only,
    tables_in,
    use_wal,
)

PATIENCE_MS = 1000
"""How long a writer that closes waits for readers, before it leaves its log to the next one."""


def now() -> str:
    """Return the time as written in the file."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def day(stamp: str) -> str:
    """Return a time of the file as people write it."""
    return datetime.fromisoformat(stamp).strftime("%-d %B %Y, %H:%M UTC")


class File(NamedTuple):
    """What tells a file from another one that takes its place."""

    device: int
    inode: int
    changed_ns: int
    modified_ns: int
    size: int


State = tuple[File, int]
"""A file and its version: what everything that is remembered of it is kept by."""

Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")


def consistent(function: Callable[Arguments, Answer]) -> Callable[Arguments, Answer]:
    """Let what reads a `Store`, `Run` or `Slice` see one state of the file, whoever writes."""

    @functools.wraps(function)
    def read(*arguments: Arguments.args, **choices: Arguments.kwargs) -> Answer:
        source: Any = arguments[0]
        with source.steady():
            return function(*arguments, **choices)

    return read


def file_at(path: Path) -> File:
    """Return which file stands at a path, as the file system tells it.

    Another one has another inode, or where one was freed and taken again, another time; one that
    was copied over keeps its inode, but not its times. What a writer of ours adds is not told
    here, as it may wait in the log beside the file, but by the version (`Store.state`).

    Raises:
        UserError: nothing is there.
    """
    try:
        found = path.stat()
    except OSError as error:
        raise UserError(f"There is no database at {path}.") from error
    if not stat.S_ISREG(found.st_mode):
        raise UserError(f"There is no database at {path}.")
    return File(found.st_dev, found.st_ino, found.st_ctime_ns, found.st_mtime_ns, found.st_size)


def check(path: Path) -> int:
    """Return the format of a file, 0 for a new or empty one.

    Raises:
        UserError: The file is not one of ours, is damaged, or comes from a newer program.
    """
    if not path.exists() or path.stat().st_size == 0:
        return 0
    try:
        with closing(sqlite3.connect(read_only(path), uri=True, timeout=30)) as connection:
            names = tables_in(connection)
            if not names:
                return 0
            if "meta" not in names or "runs" not in names:
                raise UserError(f"{path} is an SQLite file, but no audit wrote it.")
            found = connection.execute("SELECT value FROM meta WHERE key = 'format'").fetchone()
    except READING as error:
        raise UserError(describe(path, error)) from error
    if found is None:
        raise UserError(f"{path} holds no format number; it was not written to the end.")
    if found[0] > FORMAT:
        raise UserError(
            f"{path} has format {found[0]}, written by a newer version; this program reads up to "
            f"format {FORMAT}. Upgrade it to open the file."
        )
    return found[0]


def readable(path: Path) -> File:
    """Return which file stands at a path once it can be read; an older format is migrated.

    Raises:
        UserError: There is no file, it is damaged, or a newer program wrote it.
    """
    file_at(path)
    found = check(path)
    if found == 0:
        raise NothingYetError(f"{path} is empty; no audit wrote it.")
    if found < FORMAT:
        prepare(path)
    return file_at(path)


def prepare(path: Path) -> None:
    """Create or migrate a file so that it can be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if check(path) < FORMAT:
            migrations.migrate(path)
    except sqlite3.Error as error:
        raise UserError(describe(path, error)) from error
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}.") from error


def connect(path: Path) -> sqlite3.Connection:
    """Create or migrate a file and open it for writing; transactions are taken explicitly."""
    prepare(path)
    try:
        connection = sqlite3.connect(
            path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        connection.execute("PRAGMA foreign_keys = 1")
        use_wal(connection)
        connection.execute("PRAGMA synchronous = NORMAL")
    except sqlite3.Error as error:
        raise UserError(describe(path, error)) from error
    return connection


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
        raise UserError(describe(path, error)) from error


@contextmanager
def writing(path: str | Path, run: int | None = None) -> Iterator[sqlite3.Connection]:
    """Open an existing file for one short transaction, on a run of it where one is named.

    Raises:
        UserError: there is no file, or it has no such run.
    """
    path = Path(path)
    file_at(path)
    connection = connect(path)
    try:
        with transaction(connection, path):
            sql = "SELECT EXISTS (SELECT 1 FROM runs WHERE run = ?)"
            if run is not None and not first_value(connection, sql, run):
                raise UserError(f"The file has no run {run}.")
            yield connection
    finally:
        put_away(connection)


def put_away(connection: sqlite3.Connection) -> None:
    """Close a writer so that a copy of the file alone holds everything.

    SQLite empties the log beside a file (`-wal`) when the last connection closes, but not while a
    reader is still open, in this process or another; so it is done before. A log that stays would
    be read as part of any file that is put in this one's place. Readers ask for moments only, so
    it is worth waiting for them; what can't be done even then loses nothing.
    """
    with suppress(sqlite3.Error):
        connection.execute(f"PRAGMA busy_timeout = {PATIENCE_MS}")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
