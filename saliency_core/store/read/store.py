"""A file open for reading: a connection for each thread, one state for each question.

No torch, no sqlite-utils. What is asked of a run is asked of `Store.run` and of slices of it.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from saliency_core.errors import NothingYetError, UserError
from saliency_core.jsonable import plain
from saliency_core.store import schema
from saliency_core.store.connection import Answer, File, State, consistent, file_at, readable
from saliency_core.store.format import chunk as columnar
from saliency_core.store.format import chunk_io, codec
from saliency_core.store.query.annotations import Annotations
from saliency_core.store.query.columns import Filters
from saliency_core.store.read.run import Facts, Run, read_facts
from saliency_core.store.sqlite_files import (
    READING,
    SqlRow,
    describe,
    is_sound,
    read_connection,
    words_of,
)

if TYPE_CHECKING:
    from saliency_core.store.read.token_directions import TokenDirections


FACTS = (
    "run model dataset examples failed accuracy layers target rule seconds bytes incomplete"
    " windowed status"
).split()
"""What `info` reports of a run."""

_BATCH = 20_000
"""Rows of a long query that are in memory at once."""
_CHUNKS = 64
"""Chunks of which is remembered where their words are."""
_FEW_WORDS = 5_000
"""Words up to which a file is asked for them rather than for its whole vocabulary."""


class Store:
    """What stands at a path, read-only.

    Each method, and each of a `Run` or `Slice`, sees one state of the file; `with store.steady():`
    lets several see the same. A file that another one took the place of is noticed at the next
    question, and read anew.
    """

    def __init__(self, path: str | Path) -> None:
        """Use `open_store`, which checks the file first."""
        self.path = Path(path)
        self._local = threading.local()
        self._readable: File | None = None
        self._facts: dict[int, tuple[State, Facts]] = {}
        self._columns: dict[int, tuple[State, Filters]] = {}
        self._annotations: dict[int, tuple[State, Annotations]] = {}
        self._spans: dict[tuple[int, int, State], dict[str, np.ndarray]] = {}
        self._words: tuple[tuple[File, int, int], np.ndarray] | None = None
        self.directions: tuple[tuple[int, State], TokenDirections | None] | None = None
        """The token directions asked for last, with run and state."""

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
        if self._readable != file_at(self.path):
            # Once more, and for any thread: what came may be no database, or an older one.
            self._readable = readable(self.path)
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

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[SqlRow]:
        """Run a query to its end: an open cursor would block checkpoints."""
        try:
            return self.connection.execute(sql, values).fetchall()
        except READING as error:
            raise UserError(describe(self.path, error)) from error

    def frame(self, columns: Sequence[str], rest: str, *values: Any) -> pd.DataFrame:
        """Return columns of the rows that the rest of a query names, which begins with a table."""
        rows = self.rows(f"SELECT {', '.join(columns)} FROM {rest}", values)
        return pd.DataFrame(rows, columns=list(columns))

    def batches(self, sql: str, values: Sequence[Any] = ()) -> Iterator[list[tuple[Any, ...]]]:
        """Yield the rows of a query that holds too many for one list; inside of `steady`."""
        try:
            cursor = self.connection.execute(sql, values)
            while rows := cursor.fetchmany(_BATCH):
                yield rows
        except READING as error:
            raise UserError(describe(self.path, error)) from error

    def state(self) -> State:
        """Return what everything that is remembered of the file is kept by: file and version."""
        version = self.version()
        return self._local.file, version

    def version(self) -> int:
        """Return a number that every writing transaction raises."""
        return self.rows("SELECT value FROM meta WHERE key = 'version'")[0][0]

    def run(self, number: int | None = None) -> Run:
        """Return a run of the file, None: the newest one.

        Raises:
            UserError: the file has no such run.
        """
        with self.steady():
            if number is None:
                number = self.rows("SELECT max(run) FROM runs")[0][0]
                if number is None:
                    raise NothingYetError(f"{self.path} holds no run yet.")
            run = Run(self, int(number))
            self.facts(run.number)
        return run

    def all_runs(self) -> list[Run]:
        """Return the runs of the file by rising number."""
        return [Run(self, number) for (number,) in self.rows("SELECT run FROM runs ORDER BY run")]

    @consistent
    def runs(self) -> pd.DataFrame:
        """Return one row per run: number, model, dataset, examples, failed, accuracy and so on."""
        rows = [
            {
                "run": run.number,
                "model": run.model.name,
                "dataset": run.dataset.name,
                "examples": len(run.columns),
                "failed": run.filter("failed").count(),
                "accuracy": run.accuracy,
                "layers": run.model.layers,
                "target": run.settings.target,
                "rule": run.settings.rule,
                "seconds": run.seconds,
                "bytes": self._bytes(run.number),
                "incomplete": run.incomplete,
                "windowed": run.windowed,
                "status": run.status,
                "created": run.created,
                "recommended": run.recommended,
            }
            for run in self.all_runs()
        ]
        return pd.DataFrame(rows, columns=[*FACTS, "created", "recommended"])

    @consistent
    def info(self) -> dict[str, Any]:
        """Return what the file holds, as `info --json` prints it."""
        rows = [
            {
                **plain(row),
                "warnings": self.facts(row["run"]).warnings,
                "orphans": self.rows(
                    "SELECT count(*) FROM orphaned_notes WHERE run = ?", (row["run"],)
                )[0][0],
            }
            for row in self.runs()[FACTS].astype(object).to_dict("records")
        ]
        return {"database": str(self.path), "version": schema.FORMAT, "runs": rows}

    def _bytes(self, run: int) -> int:
        """Return the bytes of a run's blobs and of its examples' texts."""
        columns = {
            "scores": "data top3",
            "chunks": "token_ids token_starts token_lengths first completeness explanation",
            "postings": "occurrences",
        }
        total = 0
        for table, names in columns.items():
            lengths = " + ".join(f"coalesce(length({name}), 0)" for name in names.split())
            sql = f"SELECT coalesce(sum({lengths}), 0) FROM {table} WHERE run = ?"
            total += self.rows(sql, (run,))[0][0]
        return total

    def slices(self) -> pd.DataFrame:
        """Return the saved slices."""
        columns = ["name", "where", "note", "created"]
        rows = self.rows("SELECT name, condition, note, created FROM slices ORDER BY name")
        return pd.DataFrame(rows, columns=columns)

    @consistent
    def vocabulary(self) -> np.ndarray:
        """Return (word id,) str: the lower-cased words of the file."""
        file = self.file()
        top = self.rows("SELECT coalesce(max(word_id), -1) FROM vocabulary")[0][0]
        # Ids only rise, but those of a pruned run may be given to other words.
        pruned = self.rows("SELECT value FROM meta WHERE key = 'pruned'")
        state = (file, top, pruned[0][0] if pruned else 0)
        known = self._words
        if known is None or known[0] != state:
            words = np.full(top + 1, "", object)
            for word_id, word in self.rows("SELECT word_id, word FROM vocabulary"):
                words[word_id] = word
            known = self._words = (state, words)
        return known[1]

    @consistent
    def words_of(self, ids: np.ndarray) -> np.ndarray:
        """Return (word,) str from (word,) ids."""
        if self._words is not None or len(ids) > _FEW_WORDS:
            return self.vocabulary()[ids]
        asked = np.asarray(ids).tolist()
        found = words_of(self.connection, asked)
        return np.array([found[word_id] for word_id in asked], object)

    def word_id(self, word: str) -> int | None:
        """Return the id of a word, None where the file does not hold it."""
        rows = self.rows("SELECT word_id FROM vocabulary WHERE word = ?", (word.lower(),))
        return rows[0][0] if rows else None

    def facts(self, number: int) -> Facts:
        """Return what the file says of a run now; remembered for its state.

        Raises:
            UserError: the file has no such run.
        """
        return self._remembered(self._facts, number, lambda _: read_facts(self, number))

    def columns(self, run: int) -> Filters:
        """Return the filter columns of a run; remembered for the file's state."""
        return self._remembered(self._columns, run, lambda state: Filters(self, run, state))

    def annotations(self, run: int) -> Annotations:
        """Return what analysts decided on the examples of a run, remembered for a state."""
        return self._remembered(self._annotations, run, lambda _: Annotations(self.rows, run))

    def _remembered(
        self, known: dict[int, tuple[State, Answer]], run: int, read: Callable[[State], Answer]
    ) -> Answer:
        """Return what is read of a run; what is known of it where that is of the file's state."""
        state = self.state()
        found = known.get(run)
        if found is None or found[0] != state:
            with self.steady():
                state = self.state()
                found = known[run] = (state, read(state))
        return found[1]

    def spans(self, run: int, chunk: int, state: State) -> dict[str, np.ndarray]:
        """Return where the words of a chunk are, remembered for a few dozen chunks."""
        key = (run, chunk, state)
        found = self._spans.get(key)
        if found is None:
            row = chunk_io.row_of(self.connection, "chunks", run, chunk, columnar.SPAN_COLUMNS)
            found = self._spans[key] = columnar.span_columns(row)
            for oldest in list(self._spans)[:-_CHUNKS]:
                self._spans.pop(oldest, None)
        return found


def open_store(path: str | Path) -> Store:
    """Open a file for reading; an older format is migrated first.

    Raises:
        UserError: There is no file, it is damaged, or a newer program wrote it.
    """
    path = Path(path)
    readable(path)
    return Store(path)
