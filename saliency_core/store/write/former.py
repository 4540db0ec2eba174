"""Rows of an earlier state of a dataset: set aside, taken up again by their texts, given up.

Until an audit has gone through a changed dataset, results of its earlier rows stay in their chunks,
and `former_examples` says where; no reader sees them. A row of equal text and gold label takes its
result up in place, so that nothing is computed or copied for what only moved.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from saliency_core.errors import UserError
from saliency_core.records import DatasetInfo
from saliency_core.store.format import codec
from saliency_core.store.format.chunk_io import column, run_fact, set_facts
from saliency_core.store.format.example_rows import PREDICTION
from saliency_core.store.format.filter_columns import FORMER, GIVEN_UP
from saliency_core.store.sqlite_files import first_value
from saliency_core.store.write import chunk_rows, orphans

if TYPE_CHECKING:
    from saliency_core.store.write.writer import StoreWriter

RESULTS = f"{PREDICTION}, chunk, slot"
"""Columns of an example that its text and gold label decide, and where its scores are."""

Row = tuple[int, int, int | None, str, str | None, str | None]
"""Position, text, gold label, id, label as written, metadata."""
ROW = "position, text_id, gold, id, label, metadata"
"""The columns of a `Row`."""


@dataclass(frozen=True)
class Changes:
    """What a changed dataset did to its run."""

    gone: int = 0
    """Earlier rows whose text the dataset no longer has."""
    evaluations: int = 0
    """Evaluations of the earlier rows, which were dropped."""
    edited: tuple[str, ...] = ()
    """Ids whose note was written about another text than stands there now."""


def changes(connection: sqlite3.Connection, run: int) -> Changes | None:
    """Return what a changed dataset did so far to a run that is not finished since."""
    kept = run_fact(connection, run, "extra").get("changes")
    return None if kept is None else Changes(**(kept | {"edited": tuple(kept["edited"])}))


def forget_summaries(connection: sqlite3.Connection, run: int) -> None:
    """Take away what is said of the layers of a run, and leave it unfinished."""
    for table in ("layers", "tokens", "token_directions"):
        connection.execute(f"DELETE FROM {table} WHERE run = ?", (run,))
    set_facts(connection, run, status="running", recommended=None, most_readable=None)
    set_facts(connection, run, tied=[], warnings=[])


def set_aside(writer: StoreWriter, run: int, start: int = 0) -> None:
    """Set aside the rows of a run from a position on, and what was computed from all its rows."""
    connection = writer.connection
    kept = changes(connection, run) or Changes()
    dropped = connection.execute("DELETE FROM evaluations WHERE run = ?", (run,)).rowcount
    kept = replace(kept, evaluations=kept.evaluations + dropped)
    forget_summaries(connection, run)
    writer.forget_tables(run)
    set_facts(connection, run, extra={"changes": asdict(kept)})
    # Of all rows: what a note is told by is counted among the earlier ones of its text.
    orphans.loosen(connection, run)
    connection.execute(
        f"INSERT INTO former_examples (run, position, text_id, gold, {RESULTS})"
        f" SELECT run, position, text_id, gold, {RESULTS} FROM examples"
        " WHERE run = ? AND position >= ? AND chunk IS NOT NULL",
        (run, start),
    )
    connection.execute("DELETE FROM examples WHERE run = ? AND position >= ?", (run, start))
    _remark(connection, run, range(start, 1 << 62), FORMER)
    writer.joined.pop(run, None)


def take_up(writer: StoreWriter, run: int, rows: Sequence[Row]) -> list[Row]:
    """Store the rows whose text and gold label a former row had; return the others."""
    kept: dict[tuple[int, int | None], dict[int, tuple[int, int, int]]] = {}
    for former, position, text_id, gold, number, slot in writer.matching(
        "SELECT former, position, text_id, gold, chunk, slot FROM former_examples"
        " WHERE run = ? AND text_id IN ({}) ORDER BY position, former",
        sorted({row[1] for row in rows}),
        run,
    ):
        kept.setdefault((text_id, gold), {})[position] = (former, number, slot)
    if not kept:
        return list(rows)
    # First what stayed where it was, so that its chunk stays as it is.
    pairs = [(row, kept[row[1:3]].pop(row[0])) for row in rows if row[0] in kept.get(row[1:3], ())]
    stayed = {row[0] for row, _ in pairs}
    rest = []
    for row in rows:
        if row[0] in stayed:
            continue
        same = kept.get(row[1:3])
        if same:
            pairs.append((row, same.pop(next(iter(same)))))
        else:
            rest.append(row)
    _move(writer, run, pairs)
    return rest


def _move(writer: StoreWriter, run: int, pairs: list[tuple[Row, tuple[int, int, int]]]) -> None:
    """Make rows of former ones, their results staying where they are."""
    connection = writer.connection
    set_facts(connection, run, status="running")
    writer.forget_tables(run)
    connection.executemany(
        f"INSERT INTO examples (run, {ROW}, {RESULTS})"
        f" SELECT ?, ?, ?, ?, ?, ?, ?, {RESULTS} FROM former_examples WHERE former = ?",
        [(run, *row, former) for row, (former, _, _) in pairs],
    )
    connection.executemany(
        "DELETE FROM former_examples WHERE former = ?", [(former,) for _, (former, _, _) in pairs]
    )
    by_chunk: dict[int, dict[int, int]] = {}
    for row, (_, number, slot) in pairs:
        by_chunk.setdefault(number, {})[slot] = row[0]
    for number, slots in by_chunk.items():
        positions = mark(connection, run, number, slots)
        chunk_rows.refresh_columns(writer, run, number, positions)


def mark(
    connection: sqlite3.Connection, run: int, number: int, slots: dict[int, int]
) -> np.ndarray:
    """Write which position each slot of a chunk has now; return those of all its slots."""
    positions = column(connection, run, "position", number).astype(np.int64)
    positions[list(slots)] = list(slots.values())
    _write_positions(connection, run, number, positions)
    return positions


def _write_positions(
    connection: sqlite3.Connection, run: int, number: int, positions: np.ndarray
) -> None:
    connection.execute(
        "UPDATE columns SET data = ? WHERE run = ? AND name = 'position' AND chunk = ?",
        (codec.pack(positions), run, number),
    )


def _remark(connection: sqlite3.Connection, run: int, old: range, new: int) -> None:
    """Give slots whose positions lie in a range another one."""
    rows = connection.execute(
        "SELECT chunk, data FROM columns WHERE run = ? AND name = 'position' ORDER BY chunk", (run,)
    ).fetchall()
    for number, data in rows:
        positions = codec.unpack(data).astype(np.int64)
        found = (positions >= old.start) & (positions < old.stop)
        if found.any():
            positions[found] = new
            _write_positions(connection, run, number, positions)


def settle(
    writer: StoreWriter, run: int, dataset: DatasetInfo, examples: int, *, whole: bool
) -> Changes | None:
    """Leave a run exactly the rows of its dataset, after an audit has stored all of them.

    Args:
        writer: What writes the file.
        run: Its number.
        dataset: As the audit found it.
        examples: Rows that the audit went through.
        whole: Whether those are all rows. If not, further ones of the same dataset stay where
            they have results, and results of former rows are kept for the audit of the whole.

    Returns:
        What changed since the run was last finished, None where nothing did.
    """
    connection = writer.connection
    if not _is_settled(connection, run, examples, whole):
        # Each deleted text would be looked for in every table that refers to texts.
        connection.execute("PRAGMA foreign_keys = 0")
        try:
            with writer.transaction():
                _check_digest(writer, run, dataset.digest)
                _settle(writer, run, examples, whole)
        finally:
            connection.execute("PRAGMA foreign_keys = 1")
    return changes(connection, run)


def _is_settled(connection: sqlite3.Connection, run: int, examples: int, whole: bool) -> bool:
    beyond, results = connection.execute(
        "SELECT count(*), count(chunk) FROM examples WHERE run = ? AND position >= ?",
        (run, examples),
    ).fetchone()
    sql = "SELECT EXISTS (SELECT 1 FROM former_examples WHERE run = ?)"
    left_over = whole and (beyond or first_value(connection, sql, run))
    return changes(connection, run) is None and beyond == results and not left_over


def _check_digest(writer: StoreWriter, run: int, digest: str | None) -> None:
    if run_fact(writer.connection, run, "dataset_info").get("digest") != digest:
        raise UserError(
            f"Another audit of run {run} in {writer.path} began meanwhile with another state of "
            "its dataset; run the same audit again."
        )


def _settle(writer: StoreWriter, run: int, examples: int, whole: bool) -> None:
    connection = writer.connection
    gone = 0
    if whole:
        sql = "SELECT EXISTS (SELECT 1 FROM examples WHERE run = ? AND position >= ?)"
        if first_value(connection, sql, run, examples):
            set_aside(writer, run, examples)
        gone = _give_up(writer, run)
    else:
        connection.execute(
            "DELETE FROM examples WHERE run = ? AND position >= ? AND chunk IS NULL",
            (run, examples),
        )
    _forget_meta_columns(connection, run)
    edited = orphans.attach(connection, run)
    kept = changes(connection, run)
    if kept is not None:
        edited = [*kept.edited, *edited]
        kept = replace(kept, gone=kept.gone + gone, edited=tuple(dict.fromkeys(edited)))
        set_facts(connection, run, extra={"changes": asdict(kept)})


def _give_up(writer: StoreWriter, run: int) -> int:
    """Delete what no row took up, and the texts only that had; return how many texts' rows."""
    connection = writer.connection
    gone = first_value(
        connection,
        "SELECT count(*) FROM former_examples f WHERE run = ? AND NOT EXISTS"
        " (SELECT 1 FROM examples e WHERE e.text_id = f.text_id AND e.run = f.run)",
        run,
    )
    former = connection.execute(
        "DELETE FROM former_examples WHERE run = ? RETURNING text_id", (run,)
    ).fetchall()
    unused = json.dumps(sorted({text_id for (text_id,) in former}))
    for table in ("examples", "former_examples", "orphaned_notes"):
        (unused,) = connection.execute(
            "SELECT json_group_array(value) FROM json_each(?)"
            f" WHERE NOT EXISTS (SELECT 1 FROM {table} WHERE text_id = value)",
            (unused,),
        ).fetchone()
    for table in ("digests", "texts"):
        connection.execute(
            f"DELETE FROM {table} WHERE text_id IN (SELECT value FROM json_each(?))", (unused,)
        )
    _remark(connection, run, range(FORMER, FORMER + 1), GIVEN_UP)
    return gone


def _forget_meta_columns(connection: sqlite3.Connection, run: int) -> None:
    """Forget the metadata columns that no row has any more."""
    lost = connection.execute(
        "DELETE FROM meta_columns WHERE run = ?1 AND name NOT IN"
        " (SELECT j.key FROM examples e, json_each(e.metadata) j"
        "  WHERE e.run = ?1 AND e.metadata IS NOT NULL) RETURNING name",
        (run,),
    ).fetchall()
    connection.executemany(
        "DELETE FROM columns WHERE run = ? AND name = ?",
        [(run, f"meta:{name}") for (name,) in lost],
    )
