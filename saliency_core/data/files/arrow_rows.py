"""Parquet and Arrow files -> rows, a batch at a time; what `datasets` wrote into them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from saliency_core.data.files.csv_rows import check_names
from saliency_core.data.files.file_bytes import Row, seekable
from saliency_core.errors import UserError

BATCH = 1024
"""Rows held at once."""


def read_parquet(path: Path) -> Iterator[Row]:
    """Stream a Parquet file."""
    import pyarrow
    import pyarrow.parquet

    try:
        with seekable(path) as source, pyarrow.parquet.ParquetFile(source) as file:
            yield from _rows(file.iter_batches(BATCH), file.schema_arrow.names, path)
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"{path} is not a Parquet file: {first_line(error)}.") from error


def read_arrow(path: Path) -> Iterator[Row]:
    """Stream an Arrow file, in the stream or the file format."""
    import pyarrow

    try:
        with seekable(path) as source:
            schema, batches = _arrow_batches(source)
            yield from _rows(batches, schema.names, path)
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"{path} is not an Arrow file: {first_line(error)}.") from error


def _rows(batches: Iterable[Any], names: list[str], path: Path) -> Iterator[Row]:
    check_names(names, str(path))
    done = 0
    for batch in batches:
        for start in range(0, len(batch), BATCH):
            part = batch.slice(start, BATCH)
            try:
                rows = part.to_pylist()
            except (ValueError, OverflowError) as error:  # not UTF-8 among them, or no such day
                raise UserError(_bad_cell(part, done, path)) from error
            yield from rows
            done += len(rows)


def _bad_cell(part: Any, done: int, path: Path) -> str:
    """Return the sentence for the first cell of a batch that Python can't hold."""
    for row in range(len(part)):
        for name, column in zip(part.schema.names, part.columns, strict=True):
            try:
                column[row].as_py()
            except UnicodeDecodeError as error:
                return (
                    f"{path}, row {done + row + 1}, column {name!r}: byte "
                    f"0x{error.object[error.start]:02x} at place {error.start + 1} is not UTF-8; "
                    "write the texts as UTF-8."
                )
            except (ValueError, OverflowError) as error:
                return f"{path}, row {done + row + 1}, column {name!r}: {first_line(error)}."
    return f"{path}: the rows from {done + 1} on can't be read."


def _parquet_schema(path: Path) -> Any:
    import pyarrow.parquet

    with seekable(path) as source:
        return pyarrow.parquet.read_schema(source)


def _arrow_batches(source: IO[bytes]) -> tuple[Any, Iterable[Any]]:
    """Return schema and batches of either Arrow format."""
    import pyarrow

    try:
        stream = pyarrow.ipc.open_stream(source)
        return stream.schema, stream
    except pyarrow.ArrowInvalid:
        source.seek(0)
        file = pyarrow.ipc.open_file(source)
        return file.schema, (file.get_batch(n) for n in range(file.num_record_batches))


def _arrow_schema(path: Path) -> Any:
    with seekable(path) as source:
        return _arrow_batches(source)[0]


def declared_names(path: Path, kind: str) -> dict[str, tuple[str, ...]]:
    """Return column -> the label names that `datasets` wrote into a Parquet or Arrow file."""
    import pyarrow

    read = _parquet_schema if kind == "parquet" else _arrow_schema
    try:
        written = json.loads((read(path).metadata or {}).get(b"huggingface", b"{}"))
        features = written["info"]["features"]
        found = {column: names_of(feature) for column, feature in features.items()}
    except (KeyError, TypeError, ValueError, AttributeError, OSError, pyarrow.ArrowException):
        return {}
    return {column: names for column, names in found.items() if names}


def names_of(feature: Any) -> tuple[str, ...] | None:
    """Return the names of a `ClassLabel`, or of a list of them, as an object or as JSON."""
    for _ in range(2):
        if feature is None or isinstance(feature, (str, bytes)):
            return None
        get = feature.get if isinstance(feature, dict) else lambda key: getattr(feature, key, None)  # noqa: B023
        if names := get("names"):
            return tuple(map(str, names))
        feature = get("feature")
    return None


def first_line(error: Exception) -> str:
    """Return what an error says, on one line."""
    said = str(error).strip().splitlines()
    return said[0].rstrip(".") if said else type(error).__name__
