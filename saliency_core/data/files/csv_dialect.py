"""How a CSV or TSV separates and quotes its cells, proved on the whole file.

A file is read by the first dialect under which every row has as many cells as the first. Two
readings can both hold: a quote that opens a cell and closes lines later makes one cell of rows
that are right by themselves. Such a cell counts as swallowed rows where the lines in it, read as
rows, are like the other rows of the file.
"""

from __future__ import annotations

import csv
import functools
import itertools
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from saliency_core.data.files.file_bytes import lines
from saliency_core.errors import UserError
from saliency_core.records import Doubt

DELIMITERS = "\t,;|"
SNIFFED_LINES = 50
SNIFFED_CHARACTERS = 65_536
MAX_CELL = 100_000_000
"""Characters a cell may hold; the csv module's own limit is too low for documents."""
KEPT_VALUES = 64
"""Distinct values of a column by which its cells are known, if it has no more."""
RETURN, STAND_IN = "\r", "\udc0d"
"""A carriage return in a cell and what the csv module is given for it; UTF-8 holds no such."""
SEPARATOR_LINE = re.compile(r'"?sep=(\t|\\t|[^\w\s"\\])"?[,;\t|]*\r?\n?', re.IGNORECASE)
"""What Excel takes for the separator, and doesn't show."""


@dataclass(frozen=True)
class Dialect:
    """Separator and quoting of a file."""

    delimiter: str
    quoting: str = "doubled"
    """`doubled` (a quote in a quoted cell is written twice), `escaped` (by a backslash), `spaced`
    (doubled, and blanks may stand before the quote that opens a cell), `none`."""
    skipped: int = 0
    """Lines before the first row."""
    swallowed: tuple[int, int] | None = None
    """First and last line of a cell that is rows by themselves; the file can't be read."""
    doubt: str | None = None
    """The sentence for a file that may have been read wrongly."""

    def options(self) -> dict[str, Any]:
        """Return what the csv module calls it."""
        if self.quoting == "none":
            return {"delimiter": self.delimiter, "quoting": csv.QUOTE_NONE}
        if self.quoting == "escaped":
            return {"delimiter": self.delimiter, "doublequote": False, "escapechar": "\\"}
        return {"delimiter": self.delimiter, "skipinitialspace": self.quoting == "spaced"}


class BadRow(Exception):
    """A row that a dialect can't read."""

    def __init__(self, line: int, reason: str) -> None:
        """Keep the line in which the row begins, and what the csv module says."""
        super().__init__(reason)
        self.line = line


@dataclass
class _Reading:
    """What came of reading a whole file by one dialect."""

    dialect: Dialect
    holds: bool = False
    """Whether every row can be read and has as many cells as the first."""
    width: int = 0
    rows: int = 0
    quoted: int = 0
    """Rows with a quoted cell; counted between tabs only, as the next two are."""
    quoted_first: bool = False
    needed: int = 0
    """Quoted cells that could not stand unquoted."""
    spaced: bool = False
    """Whether some quote stands after a separator and a blank."""
    spanning: tuple[int, int] | None = None
    """First and last line of the first row whose every line has the cells of a row."""


def records(source: Iterable[str], dialect: Dialect) -> Iterator[tuple[int, list[str], list[str]]]:
    """Yield first line, lines and cells of every row that isn't blank.

    Raises:
        BadRow: the first row that can't be read.
    """
    csv.field_size_limit(MAX_CELL)
    taken: list[str] = []
    whole_lines = False

    def tapped() -> Iterator[str]:
        nonlocal whole_lines
        for line in itertools.islice(source, dialect.skipped, None):
            taken.append(line)
            whole_lines = whole_lines or line.endswith("\n")
            yield _bare_returns(line) if whole_lines and "\r" in line else line

    reader = csv.reader(tapped(), strict=True, **dialect.options())
    began = dialect.skipped + 1
    try:
        for cells in reader:
            if cells and any(RETURN in line for line in taken):
                cells = [cell.replace(STAND_IN, RETURN) for cell in cells]
            if cells:
                yield began, taken, cells
            began += len(taken)
            taken.clear()
    except csv.Error as error:
        raise BadRow(began, str(error)) from error


def _bare_returns(line: str) -> str:
    """Return a line with another character for carriage returns that end no line.

    Python and pandas write them unquoted where lines end in a line feed, and refuse to read them.
    """
    end = next((end for end in ("\r\n", "\n") if line.endswith(end)), "")
    return line[: len(line) - len(end)].replace(RETURN, STAND_IN) + end


def dialect_of(path: Path, kind: str | None) -> Dialect:
    """Return the dialect of a file; it is settled once for a file that stays as it is.

    Raises:
        UserError: the file isn't UTF-8, or one of its cells is rows that a quote swallowed.
    """
    state = path.stat()
    found = _prove(path, kind, (state.st_ino, state.st_size, state.st_mtime_ns))
    if found.swallowed is not None:
        first, last = found.swallowed
        raise UserError(
            f"{path}, line {first}: a quote is opened here and closed in line {last}, but the "
            "lines between look like rows of their own; close the quote or write it twice, or, if "
            "it is one cell, quote every cell of the file."
        )
    return found


def start_of(path: Path) -> str:
    """Return the first lines of a file."""
    return "".join(itertools.islice(lines(path), SNIFFED_LINES))[:SNIFFED_CHARACTERS]


@functools.lru_cache(64)
def _prove(path: Path, kind: str | None, version: tuple[Any, ...]) -> Dialect:
    """Return the first dialect that holds for a version of a whole file, else the likeliest."""
    candidates = _candidates(start_of(path), kind)
    for dialect in candidates:
        found = _settled(path, dialect)
        if found is not None:
            return replace(found, doubt=found.doubt or _doubt_of_backslashes(path, found))
    first = candidates[0]
    if first.delimiter == "\t" and not _read(path, first).needed:
        return replace(first, quoting="none")
    return first


def _settled(path: Path, dialect: Dialect) -> Dialect | None:
    """Return how a file is quoted if this is its separator, None if it can't be."""
    doubled = _read(path, dialect)
    if doubled.holds and dialect.delimiter == "\t":
        return _settled_tabs(path, doubled)
    if dialect.delimiter != "\t" and (doubled.spaced or not doubled.holds):
        spaced = _read(path, replace(dialect, quoting="spaced"))
        if spaced.holds and (not doubled.holds or _unquotes_more(path, spaced, doubled)):
            return _checked(path, spaced)
    if doubled.holds:
        return _checked(path, doubled)
    escaped = _read(path, replace(dialect, quoting="escaped"))
    if escaped.holds:
        return _checked(path, escaped)
    bare = replace(dialect, quoting="none")
    if dialect.delimiter == "\t" and not doubled.needed and _read(path, bare).holds:
        return bare
    return None


def _unquotes_more(path: Path, spaced: _Reading, doubled: _Reading) -> bool:
    """Return whether blanks before quotes make a difference beside the blanks themselves."""
    both = (records(lines(path), reading.dialect) for reading in (spaced, doubled))
    return any(
        [cell.lstrip(" ") for cell in one] != [cell.lstrip(" ") for cell in other]
        for (_, _, one), (_, _, other) in zip(*both, strict=False)
    )


def _settled_tabs(path: Path, doubled: _Reading) -> Dialect:
    """Tell whether quotes that open cells between tabs are quoting or belong to the text.

    They are quoting where one of the cells could not stand without, or where all rows have them.
    """
    checked = _checked(path, doubled)
    everywhere = doubled.quoted_first or doubled.quoted >= max(2, doubled.rows - 1)
    quoting = bool(doubled.needed or everywhere)
    if checked.swallowed is None and (quoting or doubled.spanning or not doubled.quoted):
        return checked
    bare = replace(doubled.dialect, quoting="none")
    return checked if quoting or not _read(path, bare).holds else bare


def _doubt_of_backslashes(path: Path, dialect: Dialect) -> str | None:
    """Return the sentence for a row that has other cells if backslashes escape, as they may.

    They may where every row can be read so, and either some quote would be escaped or nothing but
    what writers escape; a backslash before a letter alone is one of the text.
    """
    escaped = replace(dialect, quoting="escaped")
    if dialect == escaped or not any("\\" in line for line in lines(path)):
        return None
    if not _read(path, escaped).holds:
        return None
    differing, behind = [], set()
    both = (records(lines(path), reading) for reading in (dialect, escaped))
    for (began, _, cells), (_, taken, others) in zip(*both, strict=False):
        found = re.findall(r"\\(.)", "".join(taken), re.DOTALL)
        behind.update(found)
        if found and cells != others:
            differing.append(began)
    may_escape = '"' in behind or behind <= {"\\", "\r", "\n", dialect.delimiter}
    if not differing or not may_escape:
        return None
    return (
        f"Line {differing[0]} of {path.name} {Doubt.UNESCAPED_CELLS}; backslashes were read as "
        "characters of the text. If they do escape, write quotes twice and backslashes once."
    )


def _candidates(start: str, kind: str | None) -> list[Dialect]:
    """Return the separators a file may have, the likeliest first."""
    split = start.split("\n")
    skipped = next((number for number, line in enumerate(split) if line.strip("\r")), 0)
    first = split[skipped]
    named = SEPARATOR_LINE.fullmatch(first)
    if named:
        delimiter = "\t" if named[1] == "\\t" else named[1]
        return [Dialect(delimiter, skipped=skipped + 1)]
    bare = re.sub(r'"[^"]*"', "", first)
    present = [mark for mark in DELIMITERS if mark in bare] or ["\t" if kind == "tsv" else ","]
    present.sort(key=lambda mark: (mark != "\t", -_holds(start, mark), -first.count(mark)))
    return [Dialect(delimiter) for delimiter in present]


def _holds(start: str, delimiter: str) -> bool:
    """Return whether the first rows have equally many cells under a separator."""
    widths = []
    split = start.split("\n")
    try:
        for _, _, cells in records(split, Dialect(delimiter)):
            widths.append(len(cells))
    except BadRow:  # the start may end within a cell
        pass
    return len(set(widths[:-1] if len(split) >= SNIFFED_LINES else widths)) == 1


def _read(path: Path, dialect: Dialect) -> _Reading:
    """Read a whole file by a dialect, up to the first row that it can't be right for."""
    found = _Reading(dialect)
    delimiter = re.escape(dialect.delimiter)
    cell = re.compile(rf'(?:^|{delimiter})"((?:[^"]|"")*)"(?={delimiter}|\r?\n?$)')
    is_strict = _escaping(delimiter) if dialect.quoting == "escaped" else bool
    try:
        for began, taken, cells in records(lines(path), dialect):
            found.width = found.width or len(cells)
            if len(cells) != found.width or not is_strict("".join(taken)):
                return found
            if dialect.quoting != "none":
                _count_quotes(found, began, taken, cell)
            found.rows += 1
    except BadRow:
        return found
    found.holds = True
    return found


def _escaping(delimiter: str) -> Callable[[str], Any]:
    """Return a check that a row has no quote but those around cells and those escaped.

    The csv module takes a quote within a cell for the end of quoting, strict or not.
    """
    quoted, bare = r'"(?:[^"\\]|\\.)*+"', rf'(?:[^"\\\r\n{delimiter}]|\\.)*+'
    cell = f"(?:{quoted}|{bare})"
    return re.compile(rf"{cell}(?:{delimiter}{cell})*+\r?\n?", re.DOTALL).fullmatch


def _count_quotes(found: _Reading, began: int, taken: list[str], cell: re.Pattern[str]) -> None:
    """Note a row that may be several, else count its quoted cells."""
    if _rows_in(taken, found):
        found.spanning = found.spanning or (began, began + len(taken) - 1)
        return
    raw = "".join(taken)
    found.spaced = found.spaced or f'{found.dialect.delimiter} "' in raw
    if found.dialect.delimiter != "\t" or '"' not in raw:
        return
    inner = cell.findall(raw)
    found.quoted += bool(inner)
    found.quoted_first |= bool(inner) and not found.rows
    special = ('""', "\n", "\r", found.dialect.delimiter)
    found.needed += sum(not text or any(mark in text for mark in special) for text in inner)


def _rows_in(taken: list[str], reading: _Reading) -> list[list[str]]:
    """Return the lines of a row as rows by themselves, if each has the cells of one."""
    if len(taken) < 2:
        return []
    split = [line.rstrip("\r\n").split(reading.dialect.delimiter) for line in taken if line.strip()]
    return split if all(len(cells) == reading.width for cells in split) else []


def _checked(path: Path, reading: _Reading) -> Dialect:
    """Return a dialect with the first cell whose lines are, or may be, rows of the file."""
    dialect = reading.dialect
    if reading.spanning is None:
        return dialect
    columns = [_Column() for _ in range(reading.width)]
    for began, taken, cells in records(lines(path), dialect):
        if began > dialect.skipped + 1 and '"' not in "".join(taken):
            for column, value in zip(columns, cells, strict=True):
                column.add(value)
    telling = [place for place, column in enumerate(columns) if column.tells()]
    if not any(column.rows for column in columns):
        return dialect
    if not telling and (dialect.delimiter != "\t" or reading.width == 1):
        first, last = reading.spanning
        sentence = (
            f"Lines {first} to {last} of {path.name} {Doubt.SWALLOWED_ROWS}, close the quote."
        )
        return replace(dialect, doubt=sentence)
    for began, taken, _ in records(lines(path), dialect):
        inner = _rows_in(taken, reading)
        if inner and all(columns[place].knows(row[place]) for row in inner for place in telling):
            return replace(dialect, swallowed=(began, began + len(taken) - 1))
    return dialect


class _Column:
    """What the cells of a column look like in the rows that stand on one line, unquoted."""

    def __init__(self) -> None:
        self.values: set[str] = set()
        self.shapes: set[str] = set()
        self.rows = 0

    def add(self, value: str) -> None:
        self.rows += 1
        self.shapes.add(_shape(value))
        if len(self.values) <= KEPT_VALUES:
            self.values.add(value)

    def tells(self) -> bool:
        """Return whether the column isn't one of texts."""
        return bool(self.rows) and "words" not in self.shapes

    def knows(self, value: str) -> bool:
        """Return whether a cell is like those of the column; one with a quote may be any."""
        if '"' in value:
            return True
        if 2 <= len(self.values) <= min(KEPT_VALUES, self.rows / 2):
            return value in self.values
        return _shape(value) in self.shapes


def _shape(value: str) -> str:
    """Return what kind of cell this is: empty, number, word or words."""
    text = value.strip()
    if not text:
        return "empty"
    if re.fullmatch(r"[-+]?[\d.,]*\d[\d.,]*(?:[eE][-+]?\d+)?", text):
        return "number"
    return "words" if len(text.split()) > 1 else "word"
