"""File, folder, hub name or table -> Examples: which column plays which role.

Examples are streamed; of what was read only a fingerprint of each id is kept.
"""

from __future__ import annotations

import datetime
import difflib
import itertools
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from saliency_core.data.columns import Guess, guess_columns, is_missing, may_be_data
from saliency_core.data.files.arrow_rows import by_name
from saliency_core.data.files.csv_rows import check_names
from saliency_core.data.files.json_rows import listed
from saliency_core.data.formats import Row
from saliency_core.data.sources import Opened, open_source
from saliency_core.errors import UserError, cut
from saliency_core.records import DatasetInfo, Example

PEEKED_ROWS = 500
"""Rows by whose values columns are guessed."""
SHOWN_NAME, SHOWN_CELL = 48, 24
"""Characters of a column's name and of its first cell shown where a column has to be chosen."""
BIGGEST = 2**63
NESTED = (list, tuple, dict, set, frozenset)


@dataclass(frozen=True)
class Dataset:
    """A source of examples; iterating streams it anew each time."""

    info: DatasetInfo
    guessed: dict[str, str]
    """Role -> column the user did not name, to be shown."""
    rows: Callable[[], Iterator[Row]]
    digest: Callable[[], str]
    """Return the sha256 of what the source holds; it is read whole for that."""
    names: tuple[str, ...] = ()
    """Columns of all rows."""
    limit: int | None = None
    notes: tuple[str, ...] = ()
    """What a user should know of how it was read."""

    def identified(self) -> DatasetInfo:
        """Return what was read with what it holds; what has no path and no name is its rows."""
        digest = self.digest()
        return replace(self.info, digest=digest, identity=self.info.identity or f"rows:{digest}")

    def __iter__(self) -> Iterator[Example]:
        """Yield the examples in the order of the source; duplicate ids are an error."""
        seen = _Seen() if "id" in self.info.columns else None
        for example in self._examples():
            if seen is not None and seen.add(example.id):
                self._check_ids()
            yield example
        if seen is not None and seen.close():
            self._check_ids()

    def _examples(self) -> Iterator[Example]:
        for position, row in enumerate(itertools.islice(self.rows(), self.limit)):
            try:
                yield self._example(position, row)
            except RecursionError as error:
                raise UserError(
                    f"{self.info.source}: a cell of row {position + 1} is nested too deeply."
                ) from error

    def _check_ids(self) -> None:
        """Go through the source again, exactly: two rows may share an id."""
        first: dict[str, int] = {}
        for example in self._examples():
            if example.id in first:
                way_on = (
                    f"The column {self.guessed['id']!r} was taken for the id; name another with "
                    "--id-column, or --id-column none to number the rows."
                    if "id" in self.guessed
                    else "Leave --id-column out, or say --id-column none, to number the rows."
                )
                raise UserError(
                    f"{self.info.source}: id {example.id!r} stands in row "
                    f"{first[example.id] + 1} and in row {example.position + 1}; ids must differ. "
                    f"{way_on}"
                )
            first[example.id] = example.position

    def _example(self, position: int, row: Row) -> Example:
        columns = self.info.columns
        return Example(
            position=position,
            id=self._id(position, row),
            text=self._text(position, row, columns["text"]),
            pair=self._text(position, row, columns["pair"]) if "pair" in columns else None,
            label=self._label(position, row) if "label" in columns else None,
            metadata={name: _plain(row.get(name)) for name in self.info.metadata_columns},
        )

    def _id(self, position: int, row: Row) -> str:
        if "id" not in self.info.columns:
            return str(position)
        column = self.info.columns["id"]
        value = _python(row.get(column))
        if is_missing(value) or value == "":
            raise UserError(
                f"{self.info.source}: row {position + 1} has no {column!r}, the column of the id; "
                "say --id-column none to number the rows."
            )
        return _clean(str(value))

    def _text(self, position: int, row: Row, column: str) -> str:
        """Return a cell as text; a missing one is empty."""
        value = _python(row.get(column))
        if isinstance(value, (*NESTED, bytes)):
            raise self._refusal(column, value, position, "text")
        return "" if is_missing(value) else _clean(str(value))

    def _refusal(self, column: str, value: Any, position: int, role: str) -> UserError:
        return UserError(
            f"{self.info.source}: column {column!r} holds a {type(value).__name__} in row "
            f"{position + 1}, not a {role}; choose another with --{role}-column."
        )

    def _label(self, position: int, row: Row) -> str | None:
        column, names = self.info.columns["label"], self.info.label_names
        value = _python(row.get(column))
        if isinstance(value, (dict, bytes)):
            raise self._refusal(column, value, position, "label")
        if names is not None:
            value = by_name(value, names)
        if is_missing(value):
            return None
        value = _plain(value)
        text = str(value).lower() if isinstance(value, bool) else str(value).strip()
        return text or None


class _Seen:
    """Notices an id that came before, in eight bytes an id; may be wrong about a new one."""

    BUFFER = 65_536

    def __init__(self) -> None:
        self.sorted = np.empty(0, np.int64)
        self.fresh: list[int] = []

    def add(self, id: str) -> bool:
        """Take in an id; return whether, as far as checked, one may have come twice."""
        self.fresh.append(hash(id))
        return len(self.fresh) >= max(self.BUFFER, len(self.sorted) // 8) and self.close()

    def close(self) -> bool:
        """Check what was not checked yet."""
        self.sorted = np.concatenate([self.sorted, np.array(self.fresh, np.int64)])
        self.sorted.sort()
        self.fresh = []
        return bool((self.sorted[1:] == self.sorted[:-1]).any())


def _clean(text: str) -> str:
    """Replace what neither SQLite nor a tokenizer takes, one character for one."""
    if text.isascii() and "\0" not in text:
        return text
    # JSON can write half a surrogate pair.
    halves = text.replace("\0", "\ufffd").encode("utf-16", "surrogatepass")
    return halves.decode("utf-16", "replace")


def _python(value: Any) -> Any:
    """Return a value of numpy, pyarrow or torch as Python's own; an array is a list."""
    if value is None or isinstance(value, (str, int, float)):
        return getattr(value, "item", lambda: value)()
    if getattr(getattr(value, "dtype", None), "kind", "") in ("M", "m"):  # tolist gives integers
        return value.astype(str).tolist()
    convert = getattr(value, "tolist", None) or getattr(value, "as_py", None)
    return value if convert is None else convert()


def _plain(value: Any) -> Any:
    """Return metadata as str, int, float, bool or None; a list or object as its JSON."""
    value = _python(value)
    if is_missing(value):
        return None
    if isinstance(value, int):
        return value if -BIGGEST <= value < BIGGEST else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    if isinstance(value, NESTED):
        return json.dumps(_nested(value), ensure_ascii=False)
    return _clean(str(value))


def _nested(value: Any) -> Any:
    """Return a list or object with plain values, so that it can be written as JSON."""
    value = _python(value)
    if isinstance(value, dict):
        return {_clean(str(key)): _nested(inner) for key, inner in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted(map(_nested, value), key=str)
    if isinstance(value, NESTED):
        return [_nested(inner) for inner in value]
    return _plain(value)


def load_examples(
    source: Any,
    *,
    text_column: str | None = None,
    pair_column: str | None = None,
    label_column: str | None = None,
    id_column: str | None = None,
    metadata_columns: list[str] | None = None,
    split: str | None = None,
    config: str | None = None,
    revision: str | None = None,
    header: bool = True,
    sheet: str | None = None,
    limit: int | None = None,
    name: str | None = None,
) -> Dataset:
    """Open a dataset and settle which column plays which role.

    Args:
        source: a file (CSV, TSV, JSON Lines, JSON, text lines, Parquet, Arrow, Excel; also gzip,
            xz, bz2 or zip of these), a folder of them, a `datasets.save_to_disk` folder, a hub
            name, a pandas DataFrame or a `datasets.Dataset`.
        text_column: column of the text; guessed where None, as are the next three.
        pair_column: column of a second text; `none` for no pair.
        label_column: column of the gold label; `none` for no labels.
        id_column: column of a stable id; `none` numbers the rows.
        metadata_columns: columns kept beside; None keeps all others.
        split: split of a hub dataset, of a folder or of a JSON file of splits.
        config: configuration of a hub dataset.
        revision: revision of a hub dataset.
        header: whether a table starts with column names; else they are column1, column2, ...
        sheet: sheet of a workbook; the first that holds something where None.
        limit: only the first rows.
        name: what the dataset is called and known by, in place of its path or its rows.

    Raises:
        UserError: what was wrong with the source, where, and the choices.
    """
    opened = open_source(source, split, config, revision, header, sheet)
    table = _look(opened, limit)
    wanted = {"text": text_column, "pair": pair_column, "label": label_column, "id": id_column}
    columns, guessed = _roles(table, wanted, opened)
    label = columns.get("label")
    if metadata_columns is None:
        metadata_columns = [name for name in table.names if name not in columns.values()]
    for column in metadata_columns:
        _check_column(column, table.names, opened.source)
    return Dataset(
        info=DatasetInfo(
            name=name or opened.name,
            source=opened.source,
            split=split,
            revision=revision,
            columns=columns,
            metadata_columns=tuple(metadata_columns),
            label_names=opened.label_names(label) if label is not None else None,
            config=config,
            identity=f"name:{name}" if name else opened.identity,
        ),
        guessed=guessed,
        rows=table.rows,
        names=tuple(table.names),
        limit=limit,
        notes=tuple(note for note in [opened.note()] if note),
        digest=opened.digest,
    )


@dataclass(frozen=True)
class Preview:
    """A source before its columns have roles, and the roles they seem to have."""

    names: list[str]
    """Columns of all rows."""
    first: list[Row]
    """The first rows, as they stand there."""
    guesses: dict[str, Guess]
    rows: Callable[[], Iterator[Row]]


def preview(
    source: Any, *, split: str | None = None, header: bool = True, model_labels: Sequence[str] = ()
) -> Preview:
    """Return the columns of a source, its first rows and which column seems to play which role.

    Args:
        source: as for `load_examples`.
        split: split of a source that has several.
        header: whether a table starts with column names.
        model_labels: labels of the model, where they are known.

    Raises:
        UserError: what was wrong with the source, where, and the choices.
    """
    return _look(open_source(source, split, None, None, header), None, model_labels)


def _look(opened: Opened, limit: int | None, model_labels: Sequence[str] = ()) -> Preview:
    """Return columns and first rows; all rows are read where later ones may have more columns."""
    first: list[Row] = []
    names: dict[str, None] = {}
    for row in itertools.islice(opened.rows(), limit if opened.columns_vary else PEEKED_ROWS):
        names.update(dict.fromkeys(row))
        if len(first) < PEEKED_ROWS:
            first.append(row)
    if not first:
        raise UserError(f"{opened.source} holds no rows.")
    if not names:
        raise UserError(f"{opened.source} has no columns: its rows are empty.")
    clean = {name: _clean(name) or f"column{n}" for n, name in enumerate(names, 1)}
    columns = list(clean.values())
    check_names(columns, opened.source)
    rows = opened.rows
    if any(old != new for old, new in clean.items()):
        first = [{clean[name]: value for name, value in row.items()} for row in first]

        def rows() -> Iterator[Row]:
            for row in opened.rows():
                yield {clean[name]: value for name, value in row.items() if name in clean}

    return Preview(columns, first, guess_columns(columns, first, model_labels), rows)


def _roles(
    table: Preview, wanted: dict[str, str | None], opened: Opened
) -> tuple[dict[str, str], dict[str, str]]:
    """Return role -> column, and the guessed part of it."""
    names, described = table.names, opened.source
    hint = " If its first line is no header, say --no-header." if opened.may_lack_header else ""
    columns: dict[str, str] = {}
    guessed: dict[str, str] = {}
    refused = set()
    for role, name in wanted.items():
        if name == "none" and name not in names and role != "text":
            refused.add(role)
        elif name is not None:
            _check_column(name, names, described, hint)
            columns[role] = name
    _check_distinct(columns, described)
    free = [name for name in names if name not in columns.values()]
    first_is_data = opened.may_lack_header and may_be_data(names, table.first)
    for role, guess in guess_columns(free, table.first).items():
        taken = guess.sure and not (guess.by == "values" and first_is_data)
        if taken and role not in columns and role not in refused:
            columns[role] = guessed[role] = guess.column
    if "text" not in columns:
        cells = ((name, " ".join(str(table.first[0].get(name, "")).split())) for name in names)
        shown = [f"{cut(name, SHOWN_NAME)} ({cut(cell, SHOWN_CELL)!r})" for name, cell in cells]
        raise UserError(
            f"{described}: which column holds the text? Its columns are {listed(shown)}; choose "
            f"one with --text-column.{hint}"
        )
    return columns, guessed


def _check_distinct(columns: dict[str, str], described: str) -> None:
    for (role, name), (other, same) in itertools.combinations(columns.items(), 2):
        if name == same and "id" not in (role, other):
            raise UserError(
                f"{described}: column {name!r} can't be both --{role}-column and --{other}-column."
            )


def _check_column(name: str, names: list[str], described: str, hint: str = "") -> None:
    if name in names:
        return
    if near := difflib.get_close_matches(name, names, 1, 0.5):
        hint = f" Did you mean {near[0]!r}?"
    shown = listed([cut(known, SHOWN_NAME) for known in names])
    raise UserError(f"{described} has no column {name!r}; its columns are {shown}.{hint}")
