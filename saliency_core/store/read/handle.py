"""A file open for reading: a connection a thread, one state a question, what is remembered."""

from __future__ import annotations

import functools
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from saliency_core.errors import UserError
from saliency_core.store.connection import File, file_at, readable
from saliency_core.store.format import chunk_io, codec
from saliency_core.store.query.columns import Filters
from saliency_core.store.sqlite_files import READING, describe, is_sound, read_connection

if TYPE_CHECKING:
    from saliency_core.store.read.token_directions import TokenDirections


State = tuple[File, int]


def consistent(method: Callable) -> Callable:
    """Let a method of a `Handle` see one state of the file, whoever writes meanwhile."""

    @functools.wraps(method)
    def read(self: Handle, *arguments: Any, **choices: Any) -> Any:
        with self.steady():
            return method(self, *arguments, **choices)

    return read


class Handle:
    """What stands at a path, read-only. Every method takes `run`; None is the newest.

    A file that another one took the place of is noticed at the next question, and read anew.
    """

    def __init__(self, path: str | Path) -> None:
        """Use `open_store`, which checks the file first."""
        self.path = Path(path)
        self._local = threading.local()
        self._lock = threading.Lock()
        self._indexes: dict[int, Filters] = {}
        self._known_spans: dict[tuple[int, int, State], dict[str, np.ndarray]] = {}
        self._words: tuple[tuple[File, int, int], np.ndarray] | None = None
        self._directions: tuple[tuple[int, State], TokenDirections | None] | None = None

    @property
    def connection(self) -> sqlite3.Connection:
        """Return this thread's connection to the file that stands at the path now.

        Inside of `steady` that is the file that stood there when it began.
        """
        local = self._local
        if hasattr(local, "connection"):
            if local.connection.in_transaction or local.file == file_at(self.path):
                return local.connection
            del local.connection
            # Once more, and for any thread: what came may be no database, or an older one.
            readable(self.path)
        local.file = file_at(self.path)
        try:
            local.connection = read_connection(self.path)
        except sqlite3.Error as error:
            raise UserError(describe(self.path, error)) from error
        return local.connection

    def file(self) -> File:
        """Return which file is read; another one that takes its place is told by it."""
        assert self.connection is not None
        return self._local.file

    @contextmanager
    def steady(self) -> Iterator[None]:
        """Answer from one state of the file, whatever an audit writes into it meanwhile.

        Each method does so by itself; with this, several agree with one another.
        """
        connection = self.connection
        if connection.in_transaction:
            yield
            return
        connection.execute("BEGIN")
        try:
            yield
        except (*READING, codec.Damaged) as error:
            raise UserError(describe(self.path, error)) from error
        except (LookupError, TypeError, ValueError) as error:
            # Rows or blocks that do not fit each other: a fault of ours unless it is the file's.
            if isinstance(error, UserError) or is_sound(connection):
                raise
            raise UserError(describe(self.path, error)) from error
        finally:
            connection.rollback()

    def _rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple]:
        """Run a query to its end: an open cursor would block checkpoints."""
        try:
            return self.connection.execute(sql, values).fetchall()
        except READING as error:
            raise UserError(describe(self.path, error)) from error

    def state(self) -> State:
        """Return what everything that is remembered of the file is kept by: file and version."""
        version = self.version()
        return self._local.file, version

    def version(self) -> int:
        """Return a number that every writing transaction raises."""
        return self._rows("SELECT value FROM meta WHERE key = 'version'")[0][0]

    def _run(self, run: int | None) -> int:
        if run is None:
            newest = self._rows("SELECT max(run) FROM runs")[0][0]
            if newest is None:
                raise UserError(f"{self.path} holds no run yet.")
            return newest
        if not self._rows("SELECT 1 FROM runs WHERE run = ?", (int(run),)):
            known = ", ".join(str(row[0]) for row in self._rows("SELECT run FROM runs"))
            raise UserError(f"{self.path} has no run {run}; it has: {known or 'none'}.")
        return int(run)

    def _index(self, run: int) -> Filters:
        state = self.state()
        with self._lock:
            found = self._indexes.get(run)
        if found is None or found.state != state:
            found = Filters(self, run, state)
            with self._lock:
                self._indexes[run] = found
        return found

    def _spans(self, run: int, chunk: int, state: State) -> dict[str, np.ndarray]:
        """Return where the words of a chunk are, remembered for a few dozen chunks."""
        key = (run, chunk, state)
        with self._lock:
            found = self._known_spans.get(key)
        if found is None:
            found = chunk_io.load_spans(self.connection, run, chunk)
            with self._lock:
                if len(self._known_spans) >= 64:
                    self._known_spans.pop(next(iter(self._known_spans)))
                self._known_spans[key] = found
        return found
