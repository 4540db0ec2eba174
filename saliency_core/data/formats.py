"""Files of rows -> dictionaries, streamed; knows formats, not what a column means.

CSV, TSV and JSON Lines hold one row in memory at a time, Parquet and Arrow one batch, JSON the
document.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import itertools
import json
import lzma
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from saliency_core.errors import UserError

COMPRESSIONS: dict[str, Callable] = {".gz": gzip.open, ".xz": lzma.open, ".bz2": bz2.open}
PACKED = (*COMPRESSIONS, ".zip")
KINDS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".txt": "txt",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
}
LFS_MARK = b"version https://git-lfs.github.com/spec/"
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
SNIFFED_LINES = 50
SNIFFED_CHARACTERS = 65_536
BATCH = 1024
"""Rows of Parquet held at once."""
MAX_CELL = 100_000_000
"""Characters a CSV cell may hold; the csv module's own limit is too low for documents."""
UNREADABLE = (OSError, EOFError, lzma.LZMAError, zipfile.BadZipFile, zlib.error, RuntimeError)
"""What damaged or locked archives raise (RuntimeError: a zip with a password)."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Reading:
    """How a file is to be read."""

    header: bool = True
    split: str | None = None


def kind_of(path: Path) -> str | None:
    """Return csv, tsv, txt, jsonl, json, parquet or arrow by a file's name, compression aside."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in PACKED:
        packed = suffixes.pop()
        if packed == ".zip" and (not suffixes or suffixes[-1] not in KINDS):
            return KINDS.get(Path(_member(path)).suffix.lower())
    return KINDS.get(suffixes[-1]) if suffixes else None


def looks_like_file(name: str) -> bool:
    """Return whether a name that is no file was meant as one."""
    return Path(name).suffix.lower() in (*KINDS, *PACKED) or name.startswith((".", "/", "~"))


def check_file(path: Path) -> None:
    """Refuse an empty file, a git-LFS pointer and an unknown kind."""
    try:
        with path.open("rb") as file:
            start = file.read(len(LFS_MARK))
    except OSError as error:
        raise UserError(f"{path} can't be read: {error.strerror}.") from error
    if not start:
        raise UserError(f"{path} is empty.")
    if start == LFS_MARK:
        raise UserError(
            f"{path} is a git-LFS pointer, not the data; fetch the data with `git lfs pull`."
        )
    if kind_of(path) is None:
        raise UserError(
            f"{path}: {path.suffix or 'a name without ending'} is no kind of dataset; use .csv, "
            ".tsv, .txt, .jsonl, .json, .parquet or .arrow (also with .gz, .xz, .bz2 or .zip)."
        )


def read_rows(path: Path, reading: Reading) -> Iterator[Row]:
    """Stream the rows of one file."""
    kind = kind_of(path)
    if kind == "parquet":
        return _read_parquet(path)
    if kind == "arrow":
        return _read_arrow(path)
    if kind == "jsonl":
        return _read_jsonl(path)
    if kind == "json":
        return _read_json(path, reading.split)
    if kind == "txt":
        return _read_txt(path, reading.header)
    return _read_csv(path, kind, reading.header)


def declared_names(path: Path, column: str) -> tuple[str, ...] | None:
    """Return the label names that `datasets` wrote into a Parquet or Arrow file."""
    if kind_of(path) not in ("parquet", "arrow"):
        return None
    read = _parquet_schema if kind_of(path) == "parquet" else _arrow_schema
    try:
        written = json.loads((read(path).metadata or {}).get(b"huggingface", b"{}"))
        found = written["info"]["features"][column]["names"]
    except (KeyError, TypeError, ValueError):
        return None
    return tuple(map(str, found)) if found else None


# Bytes and lines


def _members(archive: zipfile.ZipFile) -> list[str]:
    return [
        name
        for name in archive.namelist()
        if not name.endswith("/") and not name.startswith("__MACOSX/")
    ]


def _member(path: Path) -> str:
    """Return the name of the one file in a zip."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = _members(archive)
    except UNREADABLE as error:
        raise _unreadable(path, error) from error
    if len(names) != 1:
        raise UserError(f"{path} holds {len(names)} files; a dataset is a zip of one.")
    return names[0]


def _open_bytes(path: Path) -> BinaryIO:
    suffix = path.suffix.lower()
    if suffix == ".zip":
        return zipfile.ZipFile(path).open(_member(path))
    return COMPRESSIONS.get(suffix, open)(path, "rb")


def _unreadable(path: Path, error: Exception) -> UserError:
    reason = str(error).strip().rstrip(".") or type(error).__name__
    return UserError(f"{path} can't be read: {reason}.")


def _lines(path: Path) -> Iterator[str]:
    """Yield decoded lines with their ends; a wrong encoding is named with its byte and line."""
    number = 0
    try:
        with _open_bytes(path) as file:
            for number, line in enumerate(file, 1):
                if number == 1:
                    _check_start(path, line)
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}, line {number}: byte 0x{error.object[error.start]:02x} at place "
            f"{error.start + 1} is not UTF-8; save the file as UTF-8."
        ) from error
    except UNREADABLE as error:
        raise _unreadable(path, error) from error


def _check_start(path: Path, line: bytes) -> None:
    if line.startswith(UTF16_MARKS):
        raise UserError(f"{path} is UTF-16; save the file as UTF-8.")
    if b"\0" in line:
        raise UserError(
            f"{path}, line 1: byte 0x00 at place {line.index(0) + 1}; the file is UTF-16 or no "
            "text at all; save it as UTF-8."
        )


# CSV, TSV and plain text


def _read_csv(path: Path, kind: str | None, header: bool) -> Iterator[Row]:
    """Stream a CSV or TSV; a row with another number of cells is named with its line."""
    csv.field_size_limit(MAX_CELL)
    reader = csv.reader(_lines(path), strict=True, **_dialect(_start(path), kind))
    names: list[str] | None = None
    began = 1
    try:
        for cells in reader:
            began, line = reader.line_num + 1, began
            if not cells:
                continue
            if names is None:
                names = _names(cells, header, path)
                if header:
                    continue
            if len(cells) != len(names):
                raise UserError(
                    f"{path}, line {line}: {len(cells)} cells where there should be "
                    f"{len(names)} ({', '.join(names)}); quote cells that hold the separator."
                )
            yield dict(zip(names, cells, strict=True))
    except csv.Error as error:
        raise UserError(_csv_sentence(path, began, str(error))) from error


def _csv_sentence(path: Path, line: int, reason: str) -> str:
    """Say what is wrong with the row that begins at a line."""
    if "unexpected end of data" in reason or "field larger" in reason:
        what = "a quote is opened and never closed"
    elif "expected after" in reason:
        what = "text follows a closing quote; a quote inside a quoted cell is written twice"
    elif "new-line character" in reason:
        what = "a carriage return without line feed; save the file with ordinary line ends"
    else:
        what = reason
    return f"{path}, line {line}: {what}."


def _names(cells: list[str], header: bool, path: Path) -> list[str]:
    """Return the column names of a header; numbered ones where there is none."""
    numbered = [f"column{place}" for place in range(1, len(cells) + 1)]
    if not header:
        return numbered
    names = [name.strip() or number for name, number in zip(cells, numbered, strict=True)]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(
            f"{path} has two columns named {twice[0]!r}; if its first line is no header, say "
            "--no-header."
        )
    return names


def _start(path: Path) -> str:
    return "".join(itertools.islice(_lines(path), SNIFFED_LINES))[:SNIFFED_CHARACTERS]


def _dialect(start: str, kind: str | None) -> dict[str, Any]:
    """Return delimiter and quoting, from the first lines."""
    first = start.splitlines()[0] if start else ""
    if kind == "tsv" or "\t" in first:
        delimiter = "\t"
    else:
        delimiter = max(",;|", key=first.count)
    if delimiter == "\t" and not _quotes_cells(start, delimiter):
        return {"delimiter": delimiter, "quoting": csv.QUOTE_NONE}
    return {"delimiter": delimiter}


def _quotes_cells(start: str, delimiter: str) -> bool:
    """Return whether a quote that opens a cell is quoting, not a character of the text."""
    lines = start.splitlines()
    if not any(line.startswith('"') or f'{delimiter}"' in line for line in lines):
        return False
    if start.count('"') % 2 and len(lines) < SNIFFED_LINES:
        return False
    ends = start.count(f'"{delimiter}') + start.count('"\n') + start.count('"\r')
    begins = start.count(f'{delimiter}"') + start.count('\n"') + start.startswith('"')
    return ends + start.endswith('"') >= max(1, begins // 2)


def _read_txt(path: Path, header: bool) -> Iterator[Row]:
    """Stream a text file: a table where its first lines are one, else a text a line.

    Texts named `..._text.txt` take their labels from `..._labels.txt` beside them.
    """
    lines = _start(path).splitlines()
    tabs = {line.count("\t") for line in lines if line}
    if len(tabs) == 1 and tabs != {0}:
        return _read_csv(path, "tsv", header)
    if lines and {"text", "label"} <= {name.strip().lower() for name in lines[0].split(",")}:
        return _read_csv(path, "csv", header)
    if not any(len(line.split()) > 1 for line in lines):
        texts = path.with_name(path.name.replace("_labels", "_text"))
        hint = f" Are the texts in {texts.name}?" if texts != path and texts.is_file() else ""
        raise UserError(
            f"{path}: none of its first lines holds two words; these look like labels, not "
            f"texts.{hint}"
        )
    labels = path.with_name(path.name.replace("_text", "_labels"))
    if labels != path and labels.is_file():
        return _parallel(path, labels)
    return ({"text": line.rstrip("\r\n")} for line in _lines(path))


def _parallel(texts: Path, labels: Path) -> Iterator[Row]:
    """Stream two files that belong together line by line."""
    for number, (text, label) in enumerate(itertools.zip_longest(_lines(texts), _lines(labels)), 1):
        if text is None or label is None:
            shorter = texts if text is None else labels
            raise UserError(
                f"{shorter} ends before line {number}, but {texts.name} and {labels.name} belong "
                "together line by line."
            )
        yield {"text": text.rstrip("\r\n"), "label": label.strip()}


# JSON


def _parse(text: str, path: Path, line: int = 1) -> Any:
    """Parse JSON that begins at a line of a file."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        where = line + error.lineno - 1
        raise UserError(f"{path}, line {where}: not JSON ({error.msg}).") from error
    except RecursionError as error:
        raise UserError(f"{path}, line {line}: nested too deeply.") from error
    except ValueError as error:  # a number of thousands of digits
        raise UserError(f"{path}, line {line}: {error}.") from error


def _read_jsonl(path: Path) -> Iterator[Row]:
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        row = _parse(line.strip(), path, number)
        if not isinstance(row, dict):
            raise UserError(f"{path}, line {number}: {type(row).__name__} instead of an object.")
        yield row


def _read_json(path: Path, split: str | None) -> Iterator[Row]:
    """Read records, columns or splits of either; also JSON Lines under the wrong name."""
    first = list(itertools.islice((line for line in _lines(path) if line.strip()), 2))
    if len(first) == 2 and all(_is_object(line) for line in first):
        return _read_jsonl(path)
    return _json_rows(_parse("".join(_lines(path)), path), path, split)


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _json_rows(value: Any, path: Path, split: str | None) -> Iterator[Row]:
    if isinstance(value, dict) and value and all(isinstance(v, list) for v in value.values()):
        firsts = [item for column in value.values() for item in column[:1]]
        if firsts and all(isinstance(item, (dict, list)) for item in firsts):
            value = split_of(value, split, str(path))
        else:
            yield from _columns(value, path)
            return
    elif isinstance(value, dict) and value and all(isinstance(v, dict) for v in value.values()):
        yield from _json_rows(split_of(value, split, str(path)), path, None)
        return
    if not isinstance(value, list):
        raise UserError(
            f"{path} holds neither a list of records, nor columns, nor splits of either."
        )
    for number, row in enumerate(value, 1):
        if isinstance(row, list):
            row = dict(zip(_list_names(row), row, strict=True))
        if not isinstance(row, dict):
            raise UserError(f"{path}, record {number}: {type(row).__name__} is no record.")
        yield row


def _list_names(row: list) -> list[str]:
    """Return the names of a record without names: text and label, then numbers."""
    return [*("text", "label")[: len(row)], *(f"column{n}" for n in range(3, len(row) + 1))]


def _columns(value: dict[str, list], path: Path) -> Iterator[Row]:
    lengths = {name: len(column) for name, column in value.items()}
    if len(set(lengths.values())) > 1:
        said = ", ".join(f"{name}: {length}" for name, length in lengths.items())
        raise UserError(f"{path}: its columns differ in length ({said}).")
    for cells in zip(*value.values(), strict=True):
        yield dict(zip(value, cells, strict=True))


def split_of(loaded: Any, split: str | None, described: str) -> Any:
    """Return one split of a mapping of splits."""
    names = list(loaded)
    if split is None and len(names) == 1:
        return loaded[names[0]]
    if split not in names:
        said = f"no split {split!r}" if split else "several splits"
        raise UserError(f"{described} has {said}; choose one of {', '.join(names)} with --split.")
    return loaded[split]


# Parquet and Arrow


@contextmanager
def _seekable(path: Path) -> Iterator[BinaryIO]:
    """Open a binary file; a compressed one is unpacked to a temporary file first."""
    if path.suffix.lower() not in PACKED:
        with path.open("rb") as file:
            yield file
        return
    with tempfile.TemporaryFile() as unpacked:
        try:
            with _open_bytes(path) as packed:
                shutil.copyfileobj(packed, unpacked)
        except UNREADABLE as error:
            raise _unreadable(path, error) from error
        unpacked.seek(0)
        yield unpacked


def _read_parquet(path: Path) -> Iterator[Row]:
    import pyarrow
    import pyarrow.parquet

    try:
        with _seekable(path) as source, pyarrow.parquet.ParquetFile(source) as file:
            for batch in file.iter_batches(BATCH):
                yield from batch.to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"{path} is not a Parquet file: {_first_line(error)}.") from error


def _parquet_schema(path: Path) -> Any:
    import pyarrow.parquet

    with _seekable(path) as source:
        return pyarrow.parquet.read_schema(source)


def _read_arrow(path: Path) -> Iterator[Row]:
    """Stream an Arrow file, in the stream or the file format."""
    import pyarrow

    try:
        with _seekable(path) as source:
            _, batches = _arrow_batches(source)
            for batch in batches:
                for start in range(0, len(batch), BATCH):
                    yield from batch.slice(start, BATCH).to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"{path} is not an Arrow file: {_first_line(error)}.") from error


def _arrow_batches(source: BinaryIO) -> tuple[Any, Iterable]:
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
    with _seekable(path) as source:
        return _arrow_batches(source)[0]


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
