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
from saliency_core.store import schema
from saliency_core.store.format import chunk_io
from saliency_core.store.query.columns import Filters

if TYPE_CHECKING:
    from saliency_core.store.read.token_directions import TokenDirections


def consistent(method: Callable) -> Callable:
    """Let a method of a `Handle` see one state of the file, whoever writes meanwhile."""

    @functools.wraps(method)
    def read(self: Handle, *arguments: Any, **choices: Any) -> Any:
        with self.steady():
            return method(self, *arguments, **choices)

    return read


class Handle:
    """One file, read-only. Every method takes `run`; None is the newest."""

    def __init__(self, path: str | Path) -> None:
        """Use `open_store`, which checks the file first."""
        self.path = Path(path)
        self._local = threading.local()
        self._lock = threading.Lock()
        self._indexes: dict[int, Filters] = {}
        self._known_spans: dict[tuple[int, int, int], dict[str, np.ndarray]] = {}
        self._words: tuple[tuple[int, int], list[str]] | None = None
        self._directions: tuple[tuple[int, int], TokenDirections | None] | None = None

    @property
    def connection(self) -> sqlite3.Connection:
        """Return this thread's connection."""
        if not hasattr(self._local, "connection"):
            self._local.connection = schema.read_connection(self.path)
        return self._local.connection

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
        except sqlite3.DatabaseError as error:
            raise UserError(schema.describe(self.path, error)) from error
        finally:
            connection.rollback()

    def _rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple]:
        """Run a query to its end: an open cursor would block checkpoints."""
        try:
            return self.connection.execute(sql, values).fetchall()
        except sqlite3.DatabaseError as error:
            raise UserError(schema.describe(self.path, error)) from error

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
        version = self.version()
        with self._lock:
            found = self._indexes.get(run)
        if found is None or found.version != version:
            found = Filters(self, run, version)
            with self._lock:
                self._indexes[run] = found
        return found

    def _spans(self, run: int, chunk: int, version: int) -> dict[str, np.ndarray]:
        """Return where the words of a chunk are, remembered for a few dozen chunks."""
        key = (run, chunk, version)
        with self._lock:
            found = self._known_spans.get(key)
        if found is None:
            found = chunk_io.load_spans(self.connection, run, chunk)
            with self._lock:
                if len(self._known_spans) >= 64:
                    self._known_spans.pop(next(iter(self._known_spans)))
                self._known_spans[key] = found
        return found
