"""The writing side: one transaction a batch, so that a kill at any instant loses one at most."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import numpy as np

from saliency_core.errors import UserError
from saliency_core.jsonable import plain
from saliency_core.records import (
    AuditedExample,
    DatasetInfo,
    Example,
    LayerSummary,
    ModelInfo,
    RunSettings,
)
from saliency_core.store.connection import connect, put_away, transaction
from saliency_core.store.format import chunk as columnar
from saliency_core.store.format import chunk_io
from saliency_core.store.format.chunk import Chunk
from saliency_core.store.format.example_rows import PREDICTION, metadata_json, prediction_row
from saliency_core.store.read.results import write_layers, write_tokens
from saliency_core.store.sqlite_files import SqlRow, describe, first_value, matching, release
from saliency_core.store.write import chunk_rows, compaction, former, runs
from saliency_core.store.write.reuse import copy_known, text_ids

VOCABULARY_CACHE = 200_000
"""Words whose ids are remembered; beyond it the memory is emptied, so that it stays flat."""

JOIN_TOKENS = 2 * compaction.CHUNK_TOKENS
"""Tokens of new batches after which complete chunks are joined."""


def open_writer(path: str | Path) -> closing[StoreWriter]:
    """Open a file for writing, creating or migrating it first."""
    return closing(StoreWriter(path))


class StoreWriter:
    """One process writing runs into a file; others may read and write at the same time."""

    def __init__(self, path: str | Path) -> None:
        """Open, creating the file and its folder where needed."""
        self.path = Path(path)
        self.connection = connect(self.path)
        self._word_ids: dict[str, int] = {}
        self.joined: dict[int, compaction.Progress] = {}
        """How far the chunks of a run are joined."""
        self._unjoined: dict[int, int] = {}

    def close(self) -> None:
        """Close the connection; nothing is pending outside a transaction."""
        put_away(self.connection)

    def transaction(self) -> AbstractContextManager[None]:
        """Return a context that commits once, or undoes everything."""
        return transaction(self.connection, self.path)

    # Runs

    def begin_run(self, dataset: DatasetInfo, model: ModelInfo, settings: RunSettings) -> int:
        """Return the number of the run of these three, resumed where it exists.

        Where the dataset may hold other rows than then, those of the run are set aside.
        """
        with self.transaction():
            return runs.begin(self, dataset, model, settings)

    def layers(self, run: int) -> int:
        """Return the number of layers of a run, the embeddings included."""
        return chunk_io.run_fact(self.connection, run, "model_info")["layers"] + 1

    # Examples

    def add_examples(
        self, run: int, examples: Sequence[Example], gold: Sequence[int | None]
    ) -> None:
        """Store what a dataset holds at these positions; what changed there is audited again."""
        if not examples:
            return
        with self.transaction():
            self._add(run, examples, gold)

    def _add(self, run: int, examples: Sequence[Example], gold: Sequence[int | None]) -> None:
        texts = text_ids(self, examples)
        rows = [
            (example.position, text_id, label, example.id, example.label, metadata_json(example))
            for example, text_id, label in zip(examples, texts, gold, strict=True)
        ]
        known = self._rows_at(run, rows)
        if any(known.get(row[0], row) != row for row in rows):
            former.set_aside(self, run, min(row[0] for row in rows))
            known = self._rows_at(run, rows)
        new = former.take_up(self, run, [row for row in rows if row[0] not in known])
        self.connection.executemany(
            f"INSERT INTO examples (run, {former.ROW}) VALUES (?, ?, ?, ?, ?, ?, ?)",
            [(run, *row) for row in new],
        )

    def _rows_at(self, run: int, rows: Sequence[former.Row]) -> dict[int, former.Row]:
        """Return position -> row of what is stored at the positions of rows."""
        stored = self.examples(run, former.ROW, [row[0] for row in rows])
        return {row[0]: row for row in stored}

    settle = former.settle

    def is_changed(self, run: int) -> bool:
        """Return whether the dataset of a run changed since it was last finished."""
        return former.changes(self.connection, run) is not None

    def forget_tables(self, run: int) -> None:
        """Forget what was computed from other results than the run now has."""
        for table in ("kept_tables", "quality"):
            self.connection.execute(f"DELETE FROM {table} WHERE run = ?", (run,))

    def matching(self, sql: str, values: Sequence[Any], *before: Any) -> list[SqlRow]:
        """Run a query with an IN list of any length."""
        return matching(self.connection, sql, values, *before)

    def examples(
        self, run: int, columns: str, values: Sequence[Any], also: str = "", by: str = "position"
    ) -> list[SqlRow]:
        """Return columns of the examples with these positions, or these values of another column.

        `also` is a further condition in SQL, beginning with AND.
        """
        sql = f"SELECT {columns} FROM examples WHERE run = ? {also} AND {by} IN ({{}})"
        return self.matching(sql, values, run)

    def missing(self, run: int, examples: Sequence[Example]) -> list[Example]:
        """Return the examples still to compute, one of each content key.

        Examples not yet stored are stored, without a gold label. What another run with the
        same content key, or the same text earlier in this run, already has is copied.
        """
        if not examples:
            return []
        if not {example.position for example in examples} <= self._known(run, examples):
            self.add_examples(run, examples, [None] * len(examples))
        self._join_closed(run)
        pending = self._pending(run, [example.position for example in examples])
        if not pending:
            return []
        copied = copy_known(self, run, pending)
        todo: dict[tuple[int, int | None], Example] = {}
        for example in examples:
            if example.position in pending and example.position not in copied:
                todo.setdefault(pending[example.position], example)
        return [*todo.values()]

    def _join_closed(self, run: int) -> None:
        """Join chunks that are complete, once enough batches have come in."""
        if self._unjoined.get(run, JOIN_TOKENS) >= JOIN_TOKENS:
            progress = self.joined.setdefault(run, compaction.Progress())
            compaction.join_closed(self, run, progress)
            self._unjoined[run] = 0

    def _known(self, run: int, examples: Sequence[Example]) -> set[int]:
        """Return at which positions of examples something is stored."""
        rows = self.examples(run, "position", [example.position for example in examples])
        return {position for (position,) in rows}

    def _pending(
        self, run: int, values: Sequence[int], by: str = "position"
    ) -> dict[int, tuple[int, int | None]]:
        """Return position -> (text, gold) of the examples without a result."""
        rows = self.examples(run, "position, text_id, gold", values, "AND chunk IS NULL", by)
        return {position: (text_id, gold) for position, text_id, gold in rows}

    # Results

    def write_batch(self, run: int, batch: Sequence[AuditedExample]) -> None:
        """Store a batch, and with it every waiting example of equal content, in one transaction."""
        if not batch:
            return
        with self.transaction():
            known = self._known(run, [audited.example for audited in batch])
            unknown = [a for a in batch if a.example.position not in known]
            self._add(run, [a.example for a in unknown], [a.gold for a in unknown])
            batch = self._waiting(run, batch)
            if not batch:
                return
            used = (found.target for audited in batch for found in audited.saliency)
            names = list(dict.fromkeys([*self.targets(run), *used]))
            chunk_io.set_facts(self.connection, run, targets=names)
            words = self.vocabulary({word.lower() for a in batch if a.saliency for word in a.words})
            chunk = columnar.from_audited(
                batch,
                self.layers(run),
                words,
                {name: index for index, name in enumerate(names, start=1)},
            )
            self.insert_chunk(run, chunk, [prediction_row(audited) for audited in batch])
        # Only now: ids taken in an undone transaction must not be remembered.
        if len(self._word_ids) > VOCABULARY_CACHE:
            self._word_ids.clear()
        self._word_ids |= words

    def _waiting(self, run: int, batch: Sequence[AuditedExample]) -> list[AuditedExample]:
        """Return the batch without what is stored already, with waiting twins of its texts."""
        pending = self._pending(run, [audited.example.position for audited in batch])
        own = {a.example.position: a for a in batch if a.example.position in pending}
        by_key = {pending[position]: a for position, a in own.items()}
        result = list(own.values())
        twins = self._pending(run, sorted({text_id for text_id, _ in by_key}), by="text_id")
        for position, key in sorted(twins.items()):
            first = by_key.get(key)
            if first is not None and position not in own:
                result.append(replace(first, example=replace(first.example, position=position)))
        return result

    def vocabulary(self, words: set[str]) -> dict[str, int]:
        """Return the ids of lower-cased words, new ones inserted."""
        known = {word: self._word_ids[word] for word in words if word in self._word_ids}
        asked = sorted(words - known.keys())
        known |= dict(
            self.matching("SELECT word, word_id FROM vocabulary WHERE word IN ({})", asked)
        )
        new = [word for word in asked if word not in known]
        if new:
            first = first_value(
                self.connection, "SELECT coalesce(max(word_id), -1) + 1 FROM vocabulary"
            )
            known |= {word: first + index for index, word in enumerate(new)}
            self.connection.executemany(
                "INSERT INTO vocabulary VALUES (?, ?)", [(known[word], word) for word in new]
            )
        return known

    def targets(self, run: int) -> list[str]:
        """Return the names of the targets of a run; number 1 is the first."""
        return chunk_io.run_fact(self.connection, run, "targets")

    def insert_chunk(self, run: int, chunk: Chunk, predictions: list[SqlRow]) -> None:
        """Write a chunk and point its examples to it."""
        chunk_io.set_facts(self.connection, run, status="running")
        self.forget_tables(run)
        self._unjoined[run] = self._unjoined.get(run, 0) + len(chunk.token_ids)
        number = compaction.next_batch_number(self.connection, run)
        self.write_chunk(run, number, chunk)
        self.connection.executemany(
            f"UPDATE examples SET ({PREDICTION}, chunk, slot) = ({','.join('?' * 11)})"
            " WHERE run = ? AND position = ?",
            [
                (*row, number, slot, run, int(position))
                for slot, (row, position) in enumerate(
                    zip(predictions, chunk.positions, strict=True)
                )
            ],
        )
        chunk_rows.write_columns(self, run, number, chunk.positions)

    write_chunk = chunk_rows.write_chunk
    set_coherence = chunk_rows.set_coherence

    # Finishing

    def failed_among(self, run: int, positions: list[int]) -> set[int]:
        """Return those of some examples that failed."""
        rows = self.examples(run, "position", positions, "AND failure IS NOT NULL")
        return {position for (position,) in rows}

    def count_incomplete(self, run: int) -> int:
        """Return the number of examples that the secant rule did not reach."""
        sql = "SELECT count(*) FROM examples WHERE run = ? AND incomplete"
        return first_value(self.connection, sql, run)

    def count_longer(self, run: int, tokens: int) -> int:
        """Return the number of examples of more tokens than these: those read in windows."""
        sql = "SELECT count(*) FROM examples WHERE run = ? AND length > ?"
        return first_value(self.connection, sql, run, tokens)

    def is_complete(self, run: int) -> bool:
        """Return whether a run is finished and none of its examples waits for a result."""
        return chunk_io.is_complete(self.connection, run)

    def consolidate(self, run: int) -> None:
        """Join the chunks of batches into large ones, by rising position.

        The outcome depends on the results alone, not on how batches, kills and copies cut them.
        One transaction a large chunk; stopped anywhere, the next call goes on.
        """
        try:
            compaction.consolidate(self, run)
        except sqlite3.Error as error:
            raise UserError(describe(self.path, error)) from error

    def explanations(self, run: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Yield (positions, predicted (example,), explanation (layer, example, 3)) a chunk.

        Chunks are joined first, so that sums over them come out the same after any interruption.
        """
        self.consolidate(run)
        for number in chunk_io.chunk_numbers(self.connection, run):
            chunk = chunk_io.load_chunk(self.connection, run, number, scores=False)
            yield chunk.positions, chunk.predicted, chunk.explanation

    def completeness(self, run: int, examples: int) -> np.ndarray:
        """Return (layer, example) completeness of the first examples, failed ones NaN."""
        found = [np.empty((self.layers(run), 0), np.float32)]
        for number in chunk_io.chunk_numbers(self.connection, run):
            found.append(
                chunk_io.load_chunk(self.connection, run, number, scores=False).completeness
            )
            if sum(part.shape[1] for part in found) >= examples:
                break
        return np.concatenate(found, axis=1)[:, :examples]

    def finish_run(
        self,
        run: int,
        layers: Sequence[LayerSummary],
        recommended: int | None,
        tied: Sequence[int],
        seconds: float,
        warnings: Sequence[str],
        extra: dict[str, Any] | None = None,
        most_readable: int | None = None,
    ) -> None:
        """Store the summaries and mark the run as finished; `seconds` add up over its calls."""
        self.consolidate(run)
        sql = "SELECT coalesce(seconds, 0) + ? FROM runs WHERE run = ?"
        with self.transaction():
            write_tokens(self.connection, run, None if recommended is None else int(recommended))
            write_layers(self.connection, run, [plain(astuple(row)) for row in layers])
            chunk_io.set_facts(
                self.connection,
                run,
                status="finished",
                recommended=recommended,
                most_readable=most_readable,
                tied=plain([*tied]),
                seconds=first_value(self.connection, sql, float(seconds), run),
                warnings=[*warnings],
                extra=extra or {},
            )
        release(self.connection)
