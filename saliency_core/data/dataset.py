"""File, folder, hub name or table -> Examples: which column plays which role.

Examples are streamed; of what was read only a fingerprint of each id is kept.
"""

from __future__ import annotations

import datetime
import difflib
import itertools
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from saliency_core.data.formats import Row
from saliency_core.data.sources import open_source
from saliency_core.errors import UserError
from saliency_core.records import DatasetInfo, Example

ROLE_NAMES = {
    "text": ("text", "sentence", "sentence1", "premise", "review", "content", "message", "query"),
    "pair": ("text_pair", "pair", "sentence2", "hypothesis", "text2"),
    "label": ("label", "gold_label", "labels", "category", "class", "sentiment", "intent"),
    "id": ("id", "idx", "uid", "guid", "example_id"),
}
"""Column names taken for a role where the user names none; the first found wins."""

PEEKED_ROWS = 100
"""Rows whose columns together are the columns: JSON Lines may leave some out."""
SHOWN_CELL = 24
"""Characters of a first row's cell shown where a column has to be chosen."""
BIGGEST = 2**63


@dataclass(frozen=True)
class Dataset:
    """A source of examples; iterating streams it anew each time."""

    info: DatasetInfo
    guessed: dict[str, str]
    """Role -> column the user did not name, to be shown."""
    rows: Callable[[], Iterator[Row]]
    limit: int | None = None

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
            yield self._example(position, row)

    def _check_ids(self) -> None:
        """Go through the source again, exactly: two rows may share an id."""
        first: dict[str, int] = {}
        for example in self._examples():
            if example.id in first:
                raise UserError(
                    f"{self.info.source}: id {example.id!r} stands in row "
                    f"{first[example.id] + 1} and in row {example.position + 1}; ids must differ. "
                    f"{self._other_id()}"
                )
            first[example.id] = example.position

    def _other_id(self) -> str:
        if "id" in self.guessed:
            return (
                f"The column {self.guessed['id']!r} was taken for the id; name another with "
                "--id-column, or --id-column none to number the rows."
            )
        return "Leave --id-column out, or say --id-column none, to number the rows."

    def _example(self, position: int, row: Row) -> Example:
        columns = self.info.columns
        return Example(
            position=position,
            id=self._id(position, row),
            text=self._text(position, row, columns["text"]),
            pair=self._text(position, row, columns["pair"]) if "pair" in columns else None,
            label=self._label(row.get(columns["label"])) if "label" in columns else None,
            metadata={name: _plain(row.get(name)) for name in self.info.metadata_columns},
        )

    def _id(self, position: int, row: Row) -> str:
        if "id" not in self.info.columns:
            return str(position)
        column = self.info.columns["id"]
        value = row.get(column)
        if is_missing(value) or value == "":
            raise UserError(
                f"{self.info.source}: row {position + 1} has no {column!r}, the column of the id; "
                "say --id-column none to number the rows."
            )
        return _clean(str(value))

    def _text(self, position: int, row: Row, column: str) -> str:
        """Return a cell as text; a missing one is empty."""
        value = row.get(column)
        if isinstance(value, (list, dict, bytes, tuple)):
            raise UserError(
                f"{self.info.source}: column {column!r} holds a {type(value).__name__} in row "
                f"{position + 1}, not a text; choose another with --text-column."
            )
        return "" if is_missing(value) else _clean(str(value))

    def _label(self, value: Any) -> str | None:
        names = self.info.label_names
        if is_missing(value):
            return None
        if names is not None and isinstance(value, int) and not isinstance(value, bool):
            return names[value] if 0 <= value < len(names) else None
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


def is_missing(value: Any) -> bool:
    """Return whether a cell is empty: None, NaN, or what pandas calls NA."""
    if value is None:
        return True
    if isinstance(value, (str, int, list, dict)):
        return False
    try:
        return bool(value != value)
    except (TypeError, ValueError):  # pandas.NA has no truth; an array has several
        return type(value).__name__ == "NAType"


def _clean(text: str) -> str:
    """Replace what neither SQLite nor a tokenizer takes, one character for one."""
    if text.isascii() and "\0" not in text:
        return text
    text = text.replace("\0", "\ufffd")
    try:
        text.encode()
        return text
    except UnicodeEncodeError:  # half a surrogate pair, which JSON can write
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _plain(value: Any) -> Any:
    """Return metadata as str, int, float, bool or None."""
    if hasattr(value, "item"):
        value = value.item()
    if is_missing(value):
        return None
    if isinstance(value, str):
        return _clean(value)
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if -BIGGEST <= value < BIGGEST else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    if isinstance(value, (list, tuple, dict)):
        return _clean(json.dumps(value, default=str, ensure_ascii=False))
    return _clean(str(value))


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
    limit: int | None = None,
) -> Dataset:
    """Open a dataset and settle which column plays which role; nothing is read but its start.

    Args:
        source: a file (CSV, TSV, JSON Lines, JSON, text lines, Parquet, Arrow; also gzip, xz, bz2
            or zip of these), a folder of them, a `datasets.save_to_disk` folder, a hub name, a
            pandas DataFrame or a `datasets.Dataset`.
        text_column: column of the text; guessed where None, as are the next three.
        pair_column: column of a second text; `none` for no pair.
        label_column: column of the gold label; `none` for no labels.
        id_column: column of a stable id; `none` numbers the rows.
        metadata_columns: columns kept beside; None keeps all others.
        split: split of a hub dataset, of a folder or of a JSON file of splits.
        config: configuration of a hub dataset.
        revision: revision of a hub dataset.
        header: whether a CSV or TSV starts with column names; else they are column1, column2, ...
        limit: only the first rows.

    Raises:
        UserError: what was wrong with the source, where, and the choices.
    """
    opened = open_source(source, split, config, revision, header)
    peeked = list(itertools.islice(opened.rows(), PEEKED_ROWS))
    if not peeked:
        raise UserError(f"{opened.source} holds no rows.")
    names = list(dict.fromkeys(name for row in peeked for name in row))
    wanted = {"text": text_column, "pair": pair_column, "label": label_column, "id": id_column}
    columns, guessed = _roles(names, wanted, opened.source, peeked[0], opened.may_lack_header)
    label = columns.get("label")
    return Dataset(
        info=DatasetInfo(
            name=opened.name,
            source=opened.source,
            split=split,
            revision=revision,
            columns=columns,
            metadata_columns=_metadata_columns(names, columns, metadata_columns, opened.source),
            label_names=opened.label_names(label) if label is not None else None,
        ),
        guessed=guessed,
        rows=opened.rows,
        limit=limit,
    )


def first_rows(
    source: Any,
    count: int = 10,
    *,
    split: str | None = None,
    config: str | None = None,
    revision: str | None = None,
    header: bool = True,
) -> list[Row]:
    """Return the first rows of a source as they stand there, before columns have roles.

    Raises:
        UserError: what was wrong with the source, where, and the choices.
    """
    opened = open_source(source, split, config, revision, header)
    rows = list(itertools.islice(opened.rows(), count))
    if not rows:
        raise UserError(f"{opened.source} holds no rows.")
    return rows


def guess_roles(names: list[str]) -> dict[str, str]:
    """Return role -> column for the roles that column names tell."""
    lower = {name.lower(): name for name in reversed(names)}
    guessed = {}
    for role, candidates in ROLE_NAMES.items():
        found = next((lower[name] for name in candidates if name in lower), None)
        if found is not None:
            guessed[role] = found
    return guessed


def _roles(
    names: list[str],
    wanted: dict[str, str | None],
    described: str,
    first: Row,
    may_lack_header: bool,
) -> tuple[dict[str, str], dict[str, str]]:
    """Return role -> column, and the guessed part of it."""
    columns: dict[str, str] = {}
    guessed: dict[str, str] = {}
    refused = set()
    for role, name in wanted.items():
        if name == "none" and name not in names and role != "text":
            refused.add(role)
        elif name is not None:
            _check_column(name, names, described, may_lack_header)
            columns[role] = name
    _check_distinct(columns, described)
    free = [name for name in names if name not in columns.values()]
    for role, name in guess_roles(free).items():
        if role not in columns and role not in refused:
            columns[role] = guessed[role] = name
    if "text" not in columns:
        raise UserError(
            f"{described}: which column holds the text? Its columns are {_shown(names, first)}; "
            f"choose one with --text-column.{_header_hint(may_lack_header)}"
        )
    return columns, guessed


def _check_distinct(columns: dict[str, str], described: str) -> None:
    for (role, name), (other, same) in itertools.combinations(columns.items(), 2):
        if name == same and "id" not in (role, other):
            raise UserError(
                f"{described}: column {name!r} can't be both --{role}-column and --{other}-column."
            )


def _shown(names: list[str], first: Row) -> str:
    """Return columns with the start of their first cell."""
    cells = []
    for name in names:
        cell = " ".join(str(first.get(name, "")).split())
        cut = cell if len(cell) <= SHOWN_CELL else cell[: SHOWN_CELL - 1] + "…"
        cells.append(f"{_short(name)} ({cut!r})")
    return ", ".join(cells)


def _short(name: str) -> str:
    return name if len(name) <= 2 * SHOWN_CELL else name[: 2 * SHOWN_CELL - 1] + "…"


def _header_hint(may_lack_header: bool) -> str:
    return " If its first line is no header, say --no-header." if may_lack_header else ""


def _metadata_columns(
    names: list[str], columns: dict[str, str], wanted: list[str] | None, described: str
) -> tuple[str, ...]:
    if wanted is None:
        return tuple(name for name in names if name not in columns.values())
    for name in wanted:
        _check_column(name, names, described)
    return tuple(wanted)


def _check_column(
    name: str, names: list[str], described: str, may_lack_header: bool = False
) -> None:
    if name in names:
        return
    near = difflib.get_close_matches(name, names, 1, 0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise UserError(
        f"{described} has no column {name!r}; its columns are {', '.join(map(_short, names))}."
        f"{hint}{_header_hint(may_lack_header and not near)}"
    )
