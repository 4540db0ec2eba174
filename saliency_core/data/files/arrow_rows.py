"""Parquet and Arrow files -> rows, a batch at a time; what `datasets` wrote into them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from saliency_core.data.files.csv_rows import check_names
from saliency_core.data.files.file_bytes import BINARY, Row, seekable
from saliency_core.errors import UserError, first_line

BATCH = 1024
"""Rows held at once."""


@contextmanager
def _opened(path: Path, kind: str) -> Iterator[tuple[Any, Iterable[Any]]]:
    """Give schema and batches of a Parquet file or of either Arrow format."""
    import pyarrow
    import pyarrow.parquet

    with seekable(path) as source:
        if kind == "parquet":
            parquet = pyarrow.parquet.ParquetFile(source)
            yield parquet.schema_arrow, parquet.iter_batches(BATCH)
            return
        try:
            stream = pyarrow.ipc.open_stream(source)
        except pyarrow.ArrowInvalid:
            source.seek(0)
            file = pyarrow.ipc.open_file(source)
            yield file.schema, map(file.get_batch, range(file.num_record_batches))
        else:
            yield stream.schema, stream


def read_arrow(path: Path, kind: str) -> Iterator[Row]:
    """Stream a Parquet or an Arrow file; the latter in the stream or the file format."""
    import pyarrow

    try:
        with _opened(path, kind) as (schema, batches):
            yield from _rows(batches, schema.names, path)
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(
            f"{path} is not {BINARY[kind]}: {first_line(error).rstrip('.')}."
        ) from error


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
                said = first_line(error).rstrip(".")
                return f"{path}, row {done + row + 1}, column {name!r}: {said}."
    return f"{path}: the rows from {done + 1} on can't be read."


def declared_names(path: Path, kind: str) -> dict[str, tuple[str, ...]]:
    """Return column -> the label names that `datasets` wrote into a Parquet or Arrow file."""
    import pyarrow

    try:
        with _opened(path, kind) as (schema, _):
            written = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
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


def by_name(value: Any, names: tuple[str, ...]) -> Any:
    """Return the name of an id, or the names of several; None for an id that has none."""
    if isinstance(value, list):
        return [by_name(item, names) for item in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return names[value] if 0 <= value < len(names) else None
    return value
