"""Several files into one: runs of the same key become one run, whatever part each file holds.

A folder of blocks (`audit --output`) is read as a file of one run.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from saliency_core.errors import UserError
from saliency_core.records import Example
from saliency_core.store.format import chunk as columnar
from saliency_core.store.format.block_folder import BlockFolder
from saliency_core.store.format.chunk import Chunk
from saliency_core.store.format.chunk_io import chunk_numbers, column, load_chunk, set_facts
from saliency_core.store.format.example_rows import PREDICTION
from saliency_core.store.format.wire import unpack_results
from saliency_core.store.read.results import (
    INSERT_EVALUATION,
    LAYER_COLUMNS,
    STORED_EVALUATION,
    write_layers,
    write_tokens,
)
from saliency_core.store.read.store import Store, open_store
from saliency_core.store.sqlite_files import by_name, describe, first_value, release, words_of
from saliency_core.store.write.annotation_files import merge_notes, merge_slices
from saliency_core.store.write.former import forget_summaries
from saliency_core.store.write.reuse import rename_targets, text_ids
from saliency_core.store.write.runs import insert_run
from saliency_core.store.write.writer import StoreWriter, open_writer

BLOCK = 2048
"""Examples of one transaction."""

_RUN_COLUMNS = (
    "key content model dataset model_info dataset_info settings label_names versions created"
)


def merge(output: str | Path, sources: Sequence[str | Path]) -> dict[str, Any]:
    """Copy every run of the sources into `output`; safe to repeat, and to go on after a kill.

    A run that comes out with exactly the examples one finished source has keeps that source's
    layer summaries. Any other run needs them computed anew from all its examples: it stays
    unfinished until the same `audit` is run on the merged file, which computes no example again.

    Args:
        output: The file to write; may exist and then takes the sources in.
        sources: Files, or folders of blocks, to read; they stay as they are.

    Returns:
        `{"database", "runs": [{"run", "examples", "added", "finished", "sources"}], "slices_kept"}`
    """
    output = Path(output)
    # All are opened first, so that what cannot be read is known before anything is written.
    opened = [
        BlockFolder.open(place) if place.is_dir() else open_store(place)
        for place in map(Path, sources)
    ]
    if any(output.exists() and Path(source).samefile(output) for source in sources):
        raise UserError(f"{output} cannot be both a source and the file to merge into.")
    report: dict[int, dict[str, Any]] = {}
    differing: list[str] = []
    with open_writer(output) as writer:
        for source in opened:
            if isinstance(source, Store):
                added, kept = _copy_file(writer, source)
                differing += kept
            else:
                added = _copy_blocks(writer, source)
            for run, count in added.items():
                row = report.setdefault(run, {"added": 0, "sources": 0})
                row["added"] += count
                row["sources"] += 1
        for run, row in report.items():
            writer.consolidate(run)
            row["examples"] = _results(writer.connection, run)
            row["finished"] = writer.is_complete(run)
        release(writer.connection)
    rows = [{"run": run, **row} for run, row in sorted(report.items())]
    return {"database": str(output), "runs": rows, "slices_kept": sorted(set(differing))}


def _copy_file(writer: StoreWriter, store: Store) -> tuple[dict[int, int], list[str]]:
    """Copy the runs of a file; return run -> results added, and the slices that differ."""
    added: dict[int, int] = {}
    with _snapshot(store) as connection:
        for (key,) in connection.execute("SELECT key FROM runs ORDER BY run").fetchall():
            part = _Part(writer, connection, store.path, key)
            added[part.run] = part.copy()
        with writer.transaction():
            return added, merge_slices(writer.connection, connection)


def _copy_blocks(writer: StoreWriter, folder: BlockFolder) -> dict[int, int]:
    """Copy the blocks of a folder; return run -> results added."""
    _check_same_dataset(writer, folder.key, asdict(folder.dataset), folder.path)
    run = writer.begin_run(folder.dataset, folder.model, folder.settings)
    before, seconds = _results(writer.connection, run), 0.0
    for file in folder.files():
        records = unpack_results(folder.read(file))
        _add_examples(writer, run, file, [(record.example, record.gold) for record in records])
        known = _results(writer.connection, run)
        writer.write_batch(run, records)
        if _results(writer.connection, run) > known:
            seconds += folder.seconds(file)
    added = _results(writer.connection, run) - before
    if added:
        _leave_open(writer, run, seconds)
    return {run: added}


def _check_same_dataset(
    writer: StoreWriter, key: str, dataset: dict[str, Any], path: Path
) -> int | None:
    """Return the output's run of this key, if any; refuse one of another state of the dataset."""
    row = writer.connection.execute(
        "SELECT run, dataset_info FROM runs WHERE key = ?", (key,)
    ).fetchone()
    if row is None:
        return None
    digests = {json.loads(row[1]).get("digest"), dataset.get("digest")} - {None}
    if len(digests) > 1:
        raise UserError(
            f"{path} holds an audit of {dataset['name']!r} when it held other rows than for the "
            "files before it: they are not parts of one run. Audit the same version of the dataset."
        )
    return row[0]


def _add_examples(
    writer: StoreWriter, run: int, path: Path, rows: list[tuple[Example, int | None]]
) -> None:
    """Store examples that the output lacks; refuse another one at the same position."""
    known = {
        position: row
        for position, *row in writer.matching(
            "SELECT e.position, e.id, t.text, t.pair, e.gold FROM examples e"
            " JOIN texts t USING (text_id) WHERE e.run = ? AND e.position IN ({})",
            [example.position for example, _ in rows],
            run,
        )
    }
    new = []
    for example, gold in rows:
        found = known.get(example.position)
        if found is None:
            new.append((example, gold))
        elif found != [example.id, example.text, example.pair, gold]:
            raise UserError(
                f"{path} holds another example at position {example.position} "
                f"(id {example.id!r}) than the files before it (id {found[0]!r}): they are "
                "not parts of one run. Audit the same version of the dataset."
            )
    writer.add_examples(run, [row for row, _ in new], [gold for _, gold in new])


def _leave_open(writer: StoreWriter, run: int, seconds: float) -> None:
    """Take away what was summarised from a part of the examples; add up the seconds."""
    advice = (
        "Merged from parts: run the same audit on this file to summarise its layers; no example is "
        "computed again."
    )
    with writer.transaction():
        forget_summaries(writer.connection, run)
        sql = "SELECT coalesce(seconds, 0) + ? FROM runs WHERE run = ?"
        total = first_value(writer.connection, sql, seconds, run)
        set_facts(writer.connection, run, seconds=total, warnings=[advice])


@contextmanager
def _snapshot(store: Store) -> Iterator[sqlite3.Connection]:
    """Show a file as it is now, however long reading takes and whoever writes meanwhile."""
    store.connection.execute("BEGIN")
    try:
        yield store.connection
    except sqlite3.DatabaseError as error:
        raise UserError(describe(store.path, error)) from error
    finally:
        store.connection.rollback()


def _results(connection: sqlite3.Connection, run: int) -> int:
    return first_value(connection, "SELECT count(chunk) FROM examples WHERE run = ?", run)


class _Part:
    """One run of one source on its way into the output."""

    def __init__(
        self, writer: StoreWriter, source: sqlite3.Connection, path: Path, key: str
    ) -> None:
        self.writer, self.source, self.path = writer, source, path
        (self.facts,) = by_name(source.execute("SELECT * FROM runs WHERE key = ?", (key,)))
        self.theirs = self.facts["run"]
        self.run = self._begin()

    def _begin(self) -> int:
        """Return the run of the output with this key, made where it is new."""
        dataset = json.loads(self.facts["dataset_info"])
        known = _check_same_dataset(self.writer, self.facts["key"], dataset, self.path)
        if known is not None:
            return known
        with self.writer.transaction():
            facts = {name: self.facts[name] for name in _RUN_COLUMNS.split()}
            return insert_run(self.writer.connection, facts)

    def copy(self) -> int:
        """Copy examples, results and what belongs to the run; return the results added."""
        for examples in self._examples():
            _add_examples(self.writer, self.run, self.path, examples)
        before = _results(self.writer.connection, self.run)
        for number in chunk_numbers(self.source, self.theirs):
            self._copy_chunk(number)
        after = _results(self.writer.connection, self.run)
        if after == _results(self.source, self.theirs) and self.facts["status"] == "finished":
            self._copy_summaries()
        elif after != before:
            _leave_open(self.writer, self.run, self.facts["seconds"] or 0.0)
        with self.writer.transaction():
            merge_notes(self.writer.connection, self.run, self.source, self.theirs)
            self._copy_orphans()
            self._copy_evaluations()
        return after - before

    def _examples(self) -> Iterator[list[tuple[Example, int | None]]]:
        """Yield examples with their gold labels, as many at once as a transaction takes."""
        last = -1
        while rows := self.source.execute(
            "SELECT e.position, e.id, t.text, t.pair, e.label, e.metadata, e.gold"
            " FROM examples e JOIN texts t USING (text_id)"
            " WHERE e.run = ? AND e.position > ? ORDER BY e.position LIMIT ?",
            (self.theirs, last, BLOCK),
        ).fetchall():
            last = rows[-1][0]
            yield [
                (Example(position, id, text, pair, label, json.loads(metadata or "{}")), gold)
                for position, id, text, pair, label, metadata, gold in rows
            ]

    def _copy_chunk(self, number: int) -> None:
        """Copy the results of a chunk that the output lacks, in one transaction."""
        positions = column(self.source, self.theirs, "position", number).astype(np.int64)
        span = (int(positions.min(initial=0)), int(positions.max(initial=0)))
        waiting = {
            position
            for (position,) in self.writer.connection.execute(
                "SELECT position FROM examples WHERE run = ? AND chunk IS NULL"
                " AND position BETWEEN ? AND ?",
                (self.run, *span),
            )
        }
        # A place given up, or copied to a later chunk, is not where its example says it is.
        rows = {
            slot: row
            for slot, *row in self.source.execute(
                f"SELECT slot, {PREDICTION} FROM examples WHERE run = ? AND chunk = ?"
                " AND position BETWEEN ? AND ?",
                (self.theirs, number, *span),
            )
        }
        places = enumerate(positions.tolist())
        slots = [slot for slot, place in places if slot in rows and place in waiting]
        if not slots:
            return
        chunk = columnar.take(load_chunk(self.source, self.theirs, number), slots)
        chunk = replace(chunk, positions=positions[slots])
        with self.writer.transaction():
            names = self.writer.targets(self.run)
            chunk, names = rename_targets(chunk, json.loads(self.facts["targets"]), names)
            set_facts(self.writer.connection, self.run, targets=names)
            chunk = self._with_words(chunk)
            self.writer.insert_chunk(self.run, chunk, [tuple(rows[slot]) for slot in slots])

    def _with_words(self, chunk: Chunk) -> Chunk:
        """Return the chunk with the output's word ids."""
        theirs = np.unique(chunk.word_ids)
        words = words_of(self.source, theirs.tolist())
        ours = self.writer.vocabulary(set(words.values()))
        number = np.array([ours[words[int(word)]] for word in theirs], np.int32)
        return replace(chunk, word_ids=number[np.searchsorted(theirs, chunk.word_ids)])

    def _copy_summaries(self) -> None:
        """Take over summaries, coherence and status of a source that has all there is."""
        target = self.writer.connection
        if self.writer.is_complete(self.run):
            return
        self.writer.set_coherence(self.run, self._coherence())
        layers = self.source.execute(
            f"SELECT {', '.join(LAYER_COLUMNS)} FROM layers WHERE run = ?", (self.theirs,)
        ).fetchall()
        with self.writer.transaction():
            write_tokens(target, self.run, self.facts["recommended"])
            write_layers(target, self.run, layers)
            directions = self.source.execute(
                "SELECT ?, tokens, texts, vectors FROM token_directions WHERE run = ?",
                (self.run, self.theirs),
            )
            target.executemany(
                "INSERT OR REPLACE INTO token_directions VALUES (?, ?, ?, ?)", directions
            )
            names = ("recommended", "most_readable", "tied", "seconds", "warnings", "extra")
            kept = {name: self.facts[name] for name in names}
            set_facts(target, self.run, status="finished", **kept)

    def _coherence(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        layers = self.writer.layers(self.run)
        for number in chunk_numbers(self.source, self.theirs):
            positions = column(self.source, self.theirs, "position", number).astype(np.int64)
            table = [
                column(self.source, self.theirs, f"coherence:{layer}", number)
                for layer in range(layers)
            ]
            yield positions, np.stack(table)

    def _copy_orphans(self) -> None:
        """Copy the notes whose rows are gone, each with its text."""
        columns = "id, id_column, occurrence, note, proposed_label, updated, decision, tags"
        rows = self.source.execute(
            f"SELECT text, pair, {columns} FROM orphaned_notes LEFT JOIN texts USING (text_id)"
            " WHERE run = ? ORDER BY orphan",
            (self.theirs,),
        ).fetchall()
        for text, pair, *row in rows:
            example = Example(0, "", text, pair)
            text_id = None if text is None else text_ids(self.writer, [example])[0]
            self.writer.connection.execute(
                f"INSERT INTO orphaned_notes (run, text_id, {columns})"
                f" SELECT {', '.join('?' * 10)} WHERE NOT EXISTS (SELECT 1 FROM orphaned_notes"
                " WHERE run = ?1 AND id = ?3 AND note = ?6 AND updated = ?8)",
                (self.run, text_id, *row),
            )

    def _copy_evaluations(self) -> None:
        """Copy the evaluations of methods that the output has none of."""
        target = self.writer.connection
        methods = target.execute("SELECT method FROM evaluations WHERE run = ?", (self.run,))
        known = {method for (method,) in methods}
        rows = self.source.execute(
            f"SELECT {', '.join(STORED_EVALUATION)} FROM evaluations WHERE run = ?"
            " ORDER BY evaluation",
            (self.theirs,),
        ).fetchall()
        target.executemany(
            INSERT_EVALUATION, [(self.run, *row) for row in rows if row[0] not in known]
        )
