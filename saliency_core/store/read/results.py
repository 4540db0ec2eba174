"""What is computed from a finished run and kept with it: evaluations and tables of any kind."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from saliency_core.errors import UserError
from saliency_core.jsonable import plain
from saliency_core.records import LayerSummary
from saliency_core.store.connection import consistent, now, writing
from saliency_core.store.format import chunk_io
from saliency_core.store.read.word_sums import Sums, WordSums, load_word_chunk
from saliency_core.store.sqlite_files import SqlRow, first_value

if TYPE_CHECKING:
    from saliency_core.store.read.run import Run

LAYER_COLUMNS = [field.name for field in fields(LayerSummary)]
"""Columns of the table `layers` besides its run."""

METRICS = ("comprehensiveness", "sufficiency", "mosaic", "mosaic_auc", "mosaic_top", "plausibility")

EVALUATION_COLUMNS = (
    "method",
    "layer",
    *(f"{metric}{end}" for metric in METRICS for end in ("", "_low", "_high")),
    "examples",
    "seed",
    "forwards",
    "backwards",
    "seconds",
)
"""Columns of `evaluations`; `layer` is missing for methods that have none."""

DELETED = ", tokens deleted"
"""What the name of a method ends with where tokens were taken out instead of masked."""

STORED_EVALUATION = (*EVALUATION_COLUMNS, "extra")
INSERT_EVALUATION = (
    f"INSERT INTO evaluations (run, {', '.join(STORED_EVALUATION)})"
    f" VALUES ({', '.join('?' * (len(STORED_EVALUATION) + 1))})"
)


TOKEN_EXAMPLES = 5
"""Examples a word must be in to stand in `token_summary`."""

_ROWS = 10_000
"""Rows of a table made into Python objects at once."""


def save_evaluation(path: str | Path, run: int, rows: Iterable[Mapping[str, Any]]) -> None:
    """Keep faithfulness results of a run, replacing those of the same method and layer.

    Args:
        path: The file.
        run: Run number.
        rows: Keys from `EVALUATION_COLUMNS`; `method` is required, further keys are kept as they
            are and come back as columns.
    """
    values = [_evaluation(row) for row in rows]
    with writing(path, run) as connection:
        connection.executemany(
            "DELETE FROM evaluations WHERE run = ? AND method = ? AND layer IS ?",
            [(run, *row[:2]) for row in values],
        )
        connection.executemany(INSERT_EVALUATION, [(run, *row) for row in values])


def _evaluation(row: Mapping[str, Any]) -> SqlRow:
    if not row.get("method"):
        raise UserError("An evaluation needs the name of its method.")
    found = plain(row)
    extra = {name: value for name, value in found.items() if name not in EVALUATION_COLUMNS}
    return (*(found.get(name) for name in EVALUATION_COLUMNS), json.dumps(extra))


def set_layer_choice(
    path: str | Path,
    run: int,
    layers: Sequence[LayerSummary],
    recommended: int,
    most_readable: int | None,
    tied: Sequence[int],
    facts: Mapping[str, Any] | None = None,
) -> None:
    """Replace what a finished run says of its layers, and which ones to read.

    Args:
        path: The file.
        run: Run number.
        layers: One summary for each layer of the run.
        recommended: Layer to read.
        most_readable: The most readable one, None where that is undefined.
        tied: Layers that are not shown to be worse.
        facts: Keys of `extra` to set.
    """
    with writing(path, run) as connection:
        known = first_value(connection, "SELECT count(*) FROM layers WHERE run = ?", run)
        if len(layers) != known:
            raise UserError(f"Run {run} has {known} layers, but {len(layers)} came.")
        write_layers(connection, run, [plain(astuple(row)) for row in layers])
        chunk_io.set_facts(
            connection,
            run,
            recommended=recommended,
            most_readable=most_readable,
            tied=plain([*tied]),
            extra=chunk_io.run_fact(connection, run, "extra") | plain(dict(facts or {})),
        )
        write_tokens(connection, run, int(recommended))


def set_warning(path: str | Path, run: int, beginning: str, sentence: str | None) -> None:
    """Keep a warning of a run, in place of those that begin alike; None takes them away."""
    with writing(path) as connection:
        kept = chunk_io.run_fact(connection, run, "warnings")
        warnings = [text for text in kept if not text.startswith(beginning)]
        if sentence is not None:
            warnings.append(sentence)
        chunk_io.set_facts(connection, run, warnings=warnings)


def save_table(
    path: str | Path,
    run: int,
    name: str,
    table: pd.DataFrame | Iterable[Mapping[str, Any]],
    settings: Mapping[str, Any] | None = None,
) -> None:
    """Keep a computed table of a run, replacing the one of the same name and settings.

    It is forgotten as soon as the run gets or loses results, so what is read back never is older
    than what it was computed from.

    Args:
        path: The file.
        run: Run number.
        name: What it is, e.g. `suspects`.
        table: A frame or records; cells may be numbers, texts, None, lists and dictionaries.
        settings: Everything that changes the table; part of its key.
    """
    with writing(path, run) as connection:
        connection.execute(
            "INSERT OR REPLACE INTO kept_tables (run, name, settings, created, data)"
            " VALUES (?, ?, ?, ?, ?)",
            (run, name, settings_key(settings), now(), _dump(table)),
        )


def settings_key(settings: Mapping[str, Any] | None) -> str:
    """Return settings as the text they are compared by."""
    return json.dumps(
        plain(dict(settings or {})), ensure_ascii=False, sort_keys=True, separators=(",", ":")
    )


def write_layers(connection: sqlite3.Connection, run: int, rows: Iterable[Sequence[Any]]) -> None:
    """Replace what a run says of its layers by values of `LAYER_COLUMNS`, inside a transaction."""
    connection.execute("DELETE FROM layers WHERE run = ?", (run,))
    connection.executemany(
        f"INSERT INTO layers (run, {', '.join(LAYER_COLUMNS)})"
        f" VALUES ({', '.join('?' * (len(LAYER_COLUMNS) + 1))})",
        [(run, *row) for row in rows],
    )


def write_tokens(connection: sqlite3.Connection, run: int, layer: int | None) -> None:
    """Replace the rows of `tokens` of a run by those of a layer, inside a transaction.

    Chunk by chunk, so that the memory of an audit does not grow with its examples.
    """
    connection.execute("DELETE FROM tokens WHERE run = ?", (run,))
    if layer is None:
        return
    words = first_value(connection, "SELECT coalesce(max(word_id) + 1, 0) FROM vocabulary")
    classes = first_value(connection, "SELECT count(*) FROM labels WHERE run = ?", run)
    sums = Sums(classes, words)
    for number, examples in connection.execute(
        "SELECT chunk, examples FROM chunks WHERE run = ? ORDER BY chunk", (run,)
    ).fetchall():
        everything = np.ones(examples, bool)
        sums.add(load_word_chunk(connection, run, number, layer), everything)
    connection.executemany(
        "INSERT INTO tokens VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        _token_rows(run, layer, sums.rows()),
    )


def _token_rows(run: int, layer: int, sums: WordSums) -> Iterator[SqlRow]:
    """Yield the rows of `tokens`: words by predicted class, for people with SQL."""
    total = np.zeros(int(sums.label.max(initial=-1)) + 2)
    np.add.at(total, sums.label, sums.share)
    own = total[sums.label]
    part = np.divide(sums.share, own, out=np.zeros_like(own), where=own > 0)
    n = sums.examples
    table = (sums.label, sums.word, n, sums.share / n, part, sums.top3 / n, sums.score / n)
    kept = np.flatnonzero(n >= TOKEN_EXAMPLES)
    for start in range(0, len(kept), _ROWS):
        some = kept[start : start + _ROWS]
        for row in zip(*(column[some].tolist() for column in table), strict=True):
            yield run, layer, *row


def _dump(table: pd.DataFrame | Iterable[Mapping[str, Any]]) -> str:
    """Return a table as JSON, columns one after another with their kinds."""
    frame = table if isinstance(table, pd.DataFrame) else pd.DataFrame(list(table))
    columns = [
        {"name": str(name), "kind": frame[name].dtype.kind, "values": plain(frame[name].tolist())}
        for name in frame.columns
    ]
    return json.dumps({"rows": len(frame), "columns": columns}, ensure_ascii=False)


def _load(text: str) -> pd.DataFrame:
    """Return the table of `_dump`."""
    stored = json.loads(text)
    kinds = {"i": "int64", "u": "int64", "f": "float64", "b": "bool"}
    return pd.DataFrame(
        {
            column["name"]: pd.Series(column["values"], dtype=kinds.get(column["kind"], object))
            for column in stored["columns"]
        },
        index=pd.RangeIndex(stored["rows"]),
    )


@consistent
def evaluations(run: Run) -> pd.DataFrame:
    """Return one row per method and layer, in the order saved."""
    rows = "evaluations WHERE run = ? ORDER BY evaluation"
    frame = run.store.frame(STORED_EVALUATION, rows, run.number)
    extra = pd.DataFrame([json.loads(text) for text in frame.pop("extra")], index=frame.index)
    frame = frame.astype({name: float for name in EVALUATION_COLUMNS[2:]})
    frame["layer"] = pd.array(frame["layer"], dtype="Int64")
    return pd.concat([frame, extra], axis=1)


@consistent
def table(run: Run, name: str, settings: Mapping[str, Any] | None = None) -> pd.DataFrame | None:
    """Return a kept table, None where it was never computed or no longer holds."""
    rows = run.store.rows(
        "SELECT data FROM kept_tables WHERE run = ? AND name = ? AND settings = ?",
        (run.number, name, settings_key(settings)),
    )
    return _load(rows[0][0]) if rows else None


@consistent
def tables(run: Run) -> pd.DataFrame:
    """Return name, settings (a dictionary) and time of the kept tables, newest first."""
    rows = run.store.rows(
        "SELECT name, settings, created FROM kept_tables WHERE run = ?"
        " ORDER BY created DESC, name, settings",
        (run.number,),
    )
    return pd.DataFrame(
        [(name, json.loads(settings), created) for name, settings, created in rows],
        columns=["name", "settings", "created"],
    )


@consistent
def is_complete(run: Run) -> bool:
    """Return whether a run is finished and none of its examples waits for a result."""
    return chunk_io.is_complete(run.store.connection, run.number)
