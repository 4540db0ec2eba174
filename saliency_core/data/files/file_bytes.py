"""Bytes and decoded lines of a file, packed or not; what its first bytes say it is."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from saliency_core.errors import UserError

Row = dict[str, Any]
COMPRESSIONS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".xz": lzma.open, ".bz2": bz2.open}
PACKED = (*COMPRESSIONS, ".zip")
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
UTF8_MARK = b"\xef\xbb\xbf"
HEAD = 4096
"""Bytes by which a file is told from others."""
UNREADABLE = (OSError, EOFError, lzma.LZMAError, zipfile.BadZipFile, zlib.error, RuntimeError)
"""What damaged or locked archives raise (RuntimeError: a zip with a password)."""

MAGIC = {
    b"SQLite format 3\0": "an SQLite database",
    b"PAR1": "a Parquet file",
    b"ARROW1": "an Arrow file",
    b"\xff\xff\xff\xff": "an Arrow file",
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": "an Excel file",
    b"\x1f\x8b": "a gzip file",
    b"BZh": "a bzip2 file",
    b"\xfd7zXZ\0": "an xz file",
    b"\x28\xb5\x2f\xfd": "a Zstandard file",
    b"7z\xbc\xaf\x27\x1c": "a 7-Zip archive",
    b"Rar!": "a RAR archive",
    b"%PDF": "a PDF",
    b"{\\rtf": "a Rich Text file",
    b"\x89HDF": "an HDF5 file",
    b"Obj\x01": "an Avro file",
    b"ORC": "an ORC file",
    b"\x93NUMPY": "a NumPy file",
    b"\x80\x04\x95": "a pickle",
    b"\x80\x05\x95": "a pickle",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
}
"""First bytes -> what such a file is."""
BINARY = {"parquet": "a Parquet file", "arrow": "an Arrow file", "excel": "an Excel file"}
"""Kind -> what its first bytes must say; every other kind is text."""
RENAME = {
    "an SQLite database": "export its table as CSV",
    "a web page": "download the file itself",
    "an Excel file": "rename it to .xlsx",
    "a Parquet file": "rename it to .parquet",
    "an Arrow file": "rename it to .arrow",
    "a gzip file": "add .gz to its name",
    "a bzip2 file": "add .bz2 to its name",
    "an xz file": "add .xz to its name",
    "a zip archive": "add .zip to its name",
    "a JSON document": "rename it to .json",
    "JSON Lines": "rename it to .jsonl",
    "fastText's text": "rename it to .txt",
}
"""What a file is -> what to do with it."""


def unreadable(path: Path, error: Exception) -> UserError:
    """Return the sentence for a file that can't be opened, unpacked or decoded."""
    reason = str(error).strip().rstrip(".") or type(error).__name__
    return UserError(f"{path} can't be read: {reason}.")


def member(path: Path) -> str:
    """Return the name of the one file in a zip."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [
                name
                for name in archive.namelist()
                if not name.endswith("/") and not name.startswith("__MACOSX/")
            ]
    except UNREADABLE as error:
        raise unreadable(path, error) from error
    if len(names) != 1:
        raise UserError(f"{path} holds {len(names)} files; a dataset is a zip of one.")
    return names[0]


def open_bytes(path: Path) -> IO[bytes]:
    """Open a file, unpacked as its name says."""
    suffix = path.suffix.lower()
    if suffix == ".zip":
        return zipfile.ZipFile(path).open(member(path))
    return COMPRESSIONS.get(suffix, open)(path, "rb")


@contextmanager
def seekable(path: Path) -> Iterator[IO[bytes]]:
    """Open a binary file; a packed one is unpacked to a temporary file first."""
    if path.suffix.lower() not in PACKED:
        with path.open("rb") as file:
            yield file
        return
    with tempfile.TemporaryFile() as unpacked:
        try:
            with open_bytes(path) as packed:
                shutil.copyfileobj(packed, unpacked)
        except UNREADABLE as error:
            raise unreadable(path, error) from error
        unpacked.seek(0)
        yield unpacked


def lines(path: Path) -> Iterator[str]:
    """Yield decoded lines with their ends; a wrong encoding is named with its byte and line."""
    number = 0
    try:
        with open_bytes(path) as file:
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
        raise unreadable(path, error) from error


def _check_start(path: Path, line: bytes) -> None:
    if line.startswith(UTF16_MARKS):
        raise UserError(f"{path} is UTF-16; save the file as UTF-8.")
    if b"\0" in line:
        raise UserError(
            f"{path}, line 1: byte 0x00 at place {line.index(0) + 1}; the file is UTF-16 or no "
            "text at all; save it as UTF-8."
        )


def check_content(path: Path, kind: str) -> None:
    """Refuse a file whose first bytes are of another kind than its name says.

    Raises:
        UserError: what the file is, and what to do with it.
    """
    try:
        with open_bytes(path) as file:
            head = file.read(HEAD)
            is_one_line = len(head) < HEAD
    except UNREADABLE as error:
        raise unreadable(path, error) from error
    found = _content_of(path, head)
    if kind not in BINARY:
        found = found or _text_of(head, kind, is_one_line)
    if found is not None and found != BINARY.get(kind):
        named = "".join(path.suffixes[-2:] if path.suffix.lower() in PACKED else path.suffixes[-1:])
        what = RENAME.get(found, "save it as CSV, JSON Lines or Parquet")
        raise UserError(f"{path} is {found} named {named}; {what}.")


def _content_of(path: Path, head: bytes) -> str | None:
    """Return what the first bytes say a file is; None where they say nothing."""
    if head.startswith(b"PK\x03\x04"):
        return _zip_of(path, head)
    return next((what for magic, what in MAGIC.items() if head.startswith(magic)), None)


def _zip_of(path: Path, head: bytes) -> str:
    """Tell a workbook from another zip."""
    try:
        with seekable(path) as file, zipfile.ZipFile(file) as archive:
            names = archive.namelist()
            if any(name.startswith("xl/") for name in names):
                return "an Excel file"
            if "mimetype" in names and b"spreadsheet" in archive.read("mimetype"):
                return "an Excel file"
    except UNREADABLE:
        return "an Excel file" if b"[Content_Types].xml" in head else "a zip archive"
    return "a zip archive"


def _text_of(head: bytes, kind: str, whole: bool) -> str | None:
    """Return what the first text says a file is, where it isn't what its name says."""
    text = head.removeprefix(UTF8_MARK).lstrip()
    start = text[:64].lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return "a web page"
    if start.startswith(b"<?xml"):
        return "an XML file"
    if kind not in ("csv", "tsv", "txt"):
        return None
    if text.startswith(b"__label__") and kind != "txt":
        return "fastText's text"
    line = text.split(b"\n", 1)
    if len(line) == 1 and not whole:
        return None
    value = json_of(line[0])
    if isinstance(value, dict) and value:
        return "JSON Lines"
    is_list = isinstance(value, list) and value and isinstance(value[0], dict)
    return "a JSON document" if is_list or line[0].strip() in (b"[", b"{") else None


def json_of(line: str | bytes) -> Any:
    """Return what a line holds as JSON; None where it is none."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None
