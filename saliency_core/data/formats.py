"""Files of rows -> dictionaries, streamed; knows formats, not what a column means.

CSV, TSV and JSON Lines hold one row in memory at a time, Parquet and Arrow one batch, JSON the
document, Excel the sheet.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from saliency_core.data.files.arrow_rows import declared_names, read_arrow
from saliency_core.data.files.csv_rows import read_csv, read_txt
from saliency_core.data.files.excel import read_excel
from saliency_core.data.files.file_bytes import PACKED, Row, check_content, member
from saliency_core.data.files.json_rows import read_json, read_jsonl
from saliency_core.errors import UserError

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
    ".xlsx": "excel",
    ".xlsm": "excel",
    ".xlsb": "excel",
    ".xls": "excel",
    ".ods": "excel",
}
WITH_HEADER = ("csv", "tsv", "txt", "excel")
LFS_MARK = b"version https://git-lfs.github.com/spec/"


@dataclass(frozen=True)
class Reading:
    """How a file is to be read."""

    header: bool = True
    split: str | None = None
    sheet: str | None = None


def kind_of(path: Path) -> str | None:
    """Return csv, tsv, txt, jsonl, json, parquet, arrow or excel by a name, compression aside."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in PACKED:
        packed = suffixes.pop()
        if packed == ".zip" and (not suffixes or suffixes[-1] not in KINDS):
            return KINDS.get(Path(member(path)).suffix.lower())
    return KINDS.get(suffixes[-1]) if suffixes else None


def looks_like_file(name: str) -> bool:
    """Return whether a name that is no file was meant as one."""
    return Path(name).suffix.lower() in (*KINDS, *PACKED) or name.startswith((".", "/", "~"))


def check_file(path: Path, reading: Reading) -> None:
    """Refuse an empty file, a git-LFS pointer, an unknown kind and content of another kind."""
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
    kind = kind_of(path)
    if kind is None:
        raise UserError(
            f"{path}: {path.suffix or 'a name without ending'} is no kind of dataset; use .csv, "
            ".tsv, .txt, .jsonl, .json, .parquet, .arrow or .xlsx (also with .gz, .xz, .bz2 or "
            ".zip)."
        )
    check_content(path, kind)
    if reading.sheet is not None and kind != "excel":
        raise UserError(f"{path} is no workbook and has no sheets; leave --sheet out.")


def read_rows(path: Path, reading: Reading) -> Iterator[Row]:
    """Stream the rows of one file."""
    kind = kind_of(path)
    if kind in ("parquet", "arrow"):
        return read_arrow(path, kind)
    if kind == "jsonl":
        return read_jsonl(path)
    if kind == "json":
        return read_json(path, reading.split)
    if kind == "excel":
        return read_excel(path, reading.sheet, reading.header)
    if kind == "txt":
        return read_txt(path, reading.header)
    return read_csv(path, kind, reading.header)


def names_in(path: Path) -> dict[str, tuple[str, ...]]:
    """Return column -> label names, where a file declares some."""
    kind = kind_of(path)
    return declared_names(path, kind) if kind in ("parquet", "arrow") else {}
