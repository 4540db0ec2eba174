"""JSON and JSON Lines -> rows: records, columns, pandas' orients, and splits of any of these."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from saliency_core.data.columns import guess_columns, role_of_name
from saliency_core.data.files.csv_rows import check_names
from saliency_core.data.files.file_bytes import Row, json_of, lines
from saliency_core.errors import UserError, cut

SHOWN_NAMES, LONGEST_NAME = 12, 100
TIGHT = ("index_names", "column_names")
"""What pandas' orient tight has besides those of split."""
PEEKED_RECORDS = 1000
"""Records without names by whose values the text is told from the label."""


class _Twice(ValueError):
    """A key that stands twice in one object."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object; of a key that stands twice only one value could be kept."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise _Twice(next(key for key in keys if keys.count(key) > 1))
    return found


_DECODER = json.JSONDecoder(object_pairs_hook=_object)


def parse(text: str, path: Path, line: int = 1) -> Any:
    """Parse JSON that begins at a line of a file.

    Raises:
        UserError: the line that is no JSON.
    """
    try:
        return _DECODER.decode(text)
    except json.JSONDecodeError as error:
        number = line + error.lineno - 1
        raise UserError(f"{path}, line {number}: not JSON ({error.msg}).") from error
    except _Twice as error:
        where = f"line {line}: " if "\n" not in text else ""
        raise UserError(
            f"{path}, {where}one object has two values named {str(error)!r}; keep one."
        ) from error
    except RecursionError as error:
        raise UserError(f"{path}, line {line}: nested too deeply.") from error
    except ValueError as error:  # a number of thousands of digits
        raise UserError(f"{path}, line {line}: {error}.") from error


def read_jsonl(path: Path) -> Iterator[Row]:
    """Stream JSON Lines."""
    for number, line in enumerate(lines(path), 1):
        if not line.strip():
            continue
        if number == 1 and line.strip() == "[":
            raise UserError(f"{path} is one JSON document, not JSON Lines; rename it to .json.")
        row = parse(line.strip(), path, number)
        if not isinstance(row, dict):
            raise UserError(f"{path}, line {number}: {type(row).__name__} instead of an object.")
        yield row


def read_json(path: Path, split: str | None) -> Iterator[Row]:
    """Read a document in any of the forms above; also JSON Lines under the wrong name."""
    first = list(itertools.islice((line for line in lines(path) if line.strip()), 2))
    if len(first) == 2 and all(isinstance(json_of(line), dict) for line in first):
        return read_jsonl(path)
    return _rows(parse("".join(lines(path)), path), path, split)


def _rows(value: Any, path: Path, split: str | None) -> Iterator[Row]:
    """Yield the rows of a document, whichever of the forms it has."""
    if isinstance(value, dict) and value:
        frame = _frame(value, path, split)
        if frame is not None:
            yield from frame
            return
        if all(isinstance(item, (dict, list)) for item in value.values()):
            yield from _rows(split_of(value, split, str(path)), path, None)
            return
    if not isinstance(value, list):
        raise UserError(
            f"{path} holds neither a list of records, nor columns, nor splits of either."
        )
    names = _names_of_lists(value) if value and isinstance(value[0], list) else []
    for number, row in enumerate(value, 1):
        if names and isinstance(row, list):
            row = _named(row, names, number, path)
        if not isinstance(row, dict):
            raise UserError(f"{path}, record {number}: {type(row).__name__} is no record.")
        yield row


def _named(row: list[Any], names: list[str], number: int, path: Path) -> Row:
    if len(row) != len(names):
        raise UserError(
            f"{path}, record {number}: {len(row)} values where there should be {len(names)} "
            f"({listed(names)})."
        )
    return dict(zip(names, row, strict=True))


def _frame(value: dict[str, Any], path: Path, split: str | None) -> Iterable[Row] | None:
    """Return the rows of a table in one object; None where its values are splits or no table."""
    columns = list(value.values())
    if {"columns", "data"} <= set(value) <= {"columns", "data", "index", *TIGHT}:
        return _apart(value, path)
    if set(value) == {"schema", "data"} and isinstance(value["schema"], dict):
        return _with_schema(value, path)
    if all(map(_is_value, columns)) and not all(isinstance(item, list) for item in columns):
        return [value]
    if split in value:
        return None
    if all(isinstance(column, list) for column in columns):
        firsts = [item for column in columns for item in column[:1]]
        is_splits = firsts and all(isinstance(item, (dict, list)) for item in firsts)
        return None if is_splits else _columns(value, path)
    if all(isinstance(inner, dict) for inner in columns) and any(
        not isinstance(item, (dict, list)) for inner in columns for item in inner.values()
    ):
        return _labelled(value, path)
    return None


def _is_value(item: Any) -> bool:
    """Return whether this can be a value of a record: plain, or a list of plain values."""
    return not isinstance(item, dict) and not (
        isinstance(item, list) and any(isinstance(inner, (dict, list)) for inner in item)
    )


def _labelled(value: dict[str, dict[str, Any]], path: Path) -> Iterable[Row]:
    """Return the rows of columns whose cells have labels, or of records that have labels."""
    outer = list(value)
    inner = list(dict.fromkeys(label for item in value.values() for label in item))
    by_column, by_row = _tells_columns(outer, inner), _tells_columns(inner, outer)
    if by_column == by_row:
        raise UserError(
            f"{path} holds objects of objects, and neither {listed(outer)} nor {listed(inner)} are "
            "clearly the columns; save it as a list of records."
        )
    if by_column:
        rows = ({name: value[name].get(label) for name in outer} for label in inner)
        return _with_index(rows, inner, outer)
    return _with_index(value.values(), outer, inner)


def _tells_columns(names: list[str], others: list[str]) -> bool:
    """Return whether keys are column names and others the labels of rows."""
    known = [any(role_of_name(key) for key in keys) for keys in (names, others)]
    if known[0] != known[1]:
        return known[0]
    return [all(key.isdigit() for key in keys) for keys in (names, others)] == [False, True]


def _with_index(rows: Iterable[Row], index: list[Any], names: list[str]) -> Iterable[Row]:
    """Return rows with their labels as a column, unless these only count the rows."""
    if [str(label) for label in index] == [str(number) for number in range(len(index))]:
        return rows
    name = "level_0" if "index" in names else "index"
    return ({name: label, **row} for label, row in zip(index, rows, strict=True))


def _apart(value: dict[str, Any], path: Path) -> Iterable[Row]:
    """Return the rows of pandas' orients split and tight: columns, index and data apart."""
    names = [str(name) for name in value["columns"]]
    check_names(names, str(path))
    rows = []
    for number, row in enumerate(value["data"], 1):
        if not isinstance(row, list):
            raise UserError(f"{path}, record {number}: {type(row).__name__} is no record.")
        rows.append(_named(row, names, number, path))
    index = value.get("index") or []
    return _with_index(rows, index, names) if len(index) == len(rows) else rows


def _with_schema(value: dict[str, Any], path: Path) -> Iterable[Row]:
    """Return the rows of pandas' orient table: a schema and records that begin with the index."""
    rows = list(_rows(value["data"], path, None))
    keys = value["schema"].get("primaryKey", [])
    if keys == ["index"] and all(row.get("index") == number for number, row in enumerate(rows)):
        return [{name: cell for name, cell in row.items() if name != "index"} for row in rows]
    return rows


def _names_of_lists(records: list[Any]) -> list[str]:
    """Return the names of records without names: text and label where their values tell them.

    Two columns of which one is clearly the text are text and label, else they are numbered.
    """
    width = len(records[0])
    names = [f"column{number}" for number in range(1, width + 1)]
    sample = [
        dict(zip(names, record, strict=True))
        for record in records[:PEEKED_RECORDS]
        if isinstance(record, list) and len(record) == width
    ]
    if width == 1:
        return ["text"]
    told = [name for name in names if all(isinstance(row[name], str) for row in sample)]
    if text := guess_columns(names, sample).get("text"):
        told = [text.column]
    if width == 2 and len(told) == 1:
        return ["text", "label"] if told[0] == names[0] else ["label", "text"]
    return names


def _columns(value: dict[str, list[Any]], path: Path) -> Iterator[Row]:
    lengths = {name: len(column) for name, column in value.items()}
    if len(set(lengths.values())) > 1:
        said = ", ".join(f"{name}: {length}" for name, length in lengths.items())
        raise UserError(f"{path}: its columns differ in length ({said}).")
    for cells in zip(*value.values(), strict=True):
        yield dict(zip(value, cells, strict=True))


def listed(names: list[str]) -> str:
    """Return names as a list that stays short."""
    shown = ", ".join(cut(name, LONGEST_NAME) for name in names[:SHOWN_NAMES])
    return f"{shown}, ... {len(names)} in all" if len(names) > SHOWN_NAMES else shown


def split_of(loaded: Any, split: str | None, described: str) -> Any:
    """Return one split of a mapping of splits."""
    names = list(loaded)
    if split is None and len(names) == 1:
        return loaded[names[0]]
    if split not in names:
        said = f"no split {split!r}" if split else "several splits"
        raise UserError(f"{described} has {said}; choose one of {listed(names)} with --split.")
    return loaded[split]
