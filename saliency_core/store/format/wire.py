"""Examples and results as Arrow tables: what moves between the processes of an audit."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa

from saliency_core.records import AuditedExample, Example, Saliency

RESULTS = pa.schema(
    [
        ("position", pa.int64()),
        ("id", pa.string()),
        ("text", pa.string()),
        ("pair", pa.string()),
        ("label", pa.string()),
        ("metadata", pa.string()),
        ("gold", pa.int32()),
        ("predicted", pa.int32()),
        ("chars_seen", pa.int32()),
        ("chars_total", pa.int32()),
        ("failure", pa.string()),
        ("incomplete", pa.bool_()),
        ("words", pa.list_(pa.string())),
        ("targets", pa.list_(pa.string())),
        ("logits", pa.list_(pa.float32())),
        ("probabilities", pa.list_(pa.float32())),
        ("token_ids", pa.list_(pa.int32())),
        ("spans", pa.list_(pa.int32())),
        ("sides", pa.list_(pa.int8())),
        ("word_of_token", pa.list_(pa.int32())),
        ("word_spans", pa.list_(pa.int32())),
        ("scores", pa.list_(pa.float16())),
        ("completeness", pa.list_(pa.float32())),
        ("decodability", pa.list_(pa.float32())),
        ("explanation", pa.list_(pa.int32())),
    ]
)
"""One row is one example. Arrays are flat: (target, layer, token) scores, (target, layer)
completeness, (layer, 3) explanation, (n, 2) spans."""

_EXAMPLE = ("position", "id", "text", "pair", "label")
"""What a row tells of an example as it is, in the order of its fields; metadata are JSON."""

WORK = pa.schema(
    [(name, pa.list_(RESULTS.field(name).type)) for name in (*_EXAMPLE, "metadata", "gold")]
)
"""One row is one batch, the unit a worker computes however Ray groups rows."""

_ARRAYS = RESULTS.names[RESULTS.names.index("logits") :]


def pack_work(examples: list[Example], gold: list[int | None]) -> pa.Table:
    """Return a batch as a table of one row."""
    columns = {name: [getattr(example, name) for example in examples] for name in _EXAMPLE}
    columns["metadata"] = [json.dumps(example.metadata) for example in examples]
    columns["gold"] = gold
    return pa.Table.from_pylist([columns], schema=WORK)


def unpack_work(row: dict[str, Any]) -> tuple[list[Example], list[int | None]]:
    """Return the examples and gold labels of one row of `WORK`."""
    columns = [*(row[name] for name in _EXAMPLE), map(json.loads, row["metadata"])]
    examples = [Example(*values) for values in zip(*columns, strict=True)]
    return examples, row["gold"]


def pack_results(records: list[AuditedExample]) -> pa.Table:
    """Return records as a table of `RESULTS`."""
    rows = [_flat(record) for record in records]
    columns = {
        name: _ragged([row[name] for row in rows], RESULTS.field(name).type)
        if name in _ARRAYS
        else pa.array([row[name] for row in rows], RESULTS.field(name).type)
        for name in RESULTS.names
    }
    return pa.table(columns, schema=RESULTS)


def unpack_results(table: pa.Table) -> list[AuditedExample]:
    """Return the records of a table of `RESULTS`."""
    columns = {
        name: _arrays(table[name]) if name in _ARRAYS else table[name].to_pylist()
        for name in RESULTS.names
    }
    return [
        _record(dict(zip(columns, row, strict=True))) for row in zip(*columns.values(), strict=True)
    ]


def _flat(record: AuditedExample) -> dict[str, Any]:
    """Return one row of `RESULTS`."""
    row = {name: getattr(record.example, name) for name in _EXAMPLE}
    row["metadata"] = json.dumps(record.example.metadata)
    row["words"] = list(record.words)
    row["targets"] = [found.target for found in record.saliency]
    row["scores"] = _joined([found.scores for found in record.saliency])
    row["completeness"] = _joined([found.completeness for found in record.saliency])
    for name in RESULTS.names:
        if name not in row:
            row[name] = getattr(record, name)
    return row


def _joined(arrays: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([array.ravel() for array in arrays]) if arrays else np.zeros(0)


def _record(row: dict[str, Any]) -> AuditedExample:
    """Return the record of one row of `RESULTS`."""
    told = [*map(row.pop, _EXAMPLE), json.loads(row.pop("metadata"))]
    example = Example(*told)
    targets, scores, completeness = map(row.pop, ("targets", "scores", "completeness"))
    saliency: tuple[Saliency, ...] = ()
    if targets:
        completeness = completeness.reshape(len(targets), -1)
        scores = scores.reshape(*completeness.shape, len(row["token_ids"]))
        saliency = tuple(
            Saliency(*found) for found in zip(scores, completeness, targets, strict=True)
        )
    for name in ("spans", "word_spans"):
        row[name] = row[name].reshape(-1, 2)
    if row["explanation"] is not None:
        row["explanation"] = row["explanation"].reshape(-1, 3)
    row["words"] = tuple(row["words"])
    return AuditedExample(example=example, saliency=saliency, **row)


def _ragged(arrays: list[np.ndarray | None], type: pa.ListType) -> pa.ListArray:
    """Return arrays as one list column, without a Python object a number."""
    sizes = [0 if array is None else array.size for array in arrays]
    values = [np.asarray(array).ravel() for array in arrays if array is not None]
    dtype = type.value_type.to_pandas_dtype()
    flat = np.concatenate(values).astype(dtype) if values else np.zeros(0, dtype)
    return pa.ListArray.from_arrays(
        pa.array(np.cumsum([0, *sizes]), pa.int32()),
        pa.array(flat),
        type=type,
        mask=pa.array([array is None for array in arrays]),
    )


def _arrays(column: pa.ChunkedArray) -> list[np.ndarray | None]:
    """Return the arrays of a list column as views of its memory."""
    found: list[np.ndarray | None] = []
    for chunk in column.chunks:
        values = chunk.values.to_numpy(zero_copy_only=False)
        starts = chunk.offsets.to_numpy()
        known = chunk.is_valid().to_numpy(zero_copy_only=False)
        found += [
            values[start:end] if valid else None
            for start, end, valid in zip(starts[:-1], starts[1:], known, strict=True)
        ]
    return found


def in_one_row(table: pa.Table) -> pa.Table:
    """Return a table of one row that holds a whole table, so that Ray never cuts it."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return pa.table({"table": pa.array([sink.getvalue().to_pybytes()], pa.large_binary())})


def from_rows(rows: pa.Table) -> pa.Table:
    """Return the rows of every table that `in_one_row` packed."""
    return pa.concat_tables(
        pa.ipc.open_stream(value.as_buffer()).read_all() for value in rows["table"]
    )
