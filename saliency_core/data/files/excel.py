"""One sheet of a workbook (.xlsx, .xlsm, .xlsb, .xls, .ods) -> rows."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from xml.etree import ElementTree

from saliency_core.data.files.csv_rows import column_names
from saliency_core.data.files.file_bytes import UNREADABLE, Row, seekable
from saliency_core.errors import UserError

ERROR_CELL = re.compile(rb'<c\b(?=[^>]*\bt="e")[^>]*\br="([A-Z]+\d+)"[^>]*>(?:(?!</c>).)*', re.S)
"""A cell whose value is an error such as #N/A."""
ERROR_VALUE = re.compile(rb"<v>([^<]*)</v>")
CHUNK = 1 << 20


def read_excel(path: Path, sheet: str | None, header: bool) -> Iterator[Row]:
    """Stream the rows of a sheet; whole numbers are integers, empty cells None.

    Raises:
        UserError: the workbook or sheet can't be read, or a cell is an error.
    """
    with _opened(path) as (file, workbook):
        name = _chosen(path, workbook, sheet)
        _check_errors(path, file, name)
        cells = workbook.get_sheet_by_name(name).to_python()
    yield from _rows(path, cells, header)


def sheets_of(path: Path) -> list[str]:
    """Return the names of the sheets that hold something, in their order."""
    with _opened(path) as (_, workbook):
        return list(_filled(workbook))


@contextmanager
def _opened(path: Path) -> Iterator[tuple[IO[bytes], Any]]:
    """Open a workbook, and the file it is in."""
    import python_calamine

    try:
        with seekable(path) as file:
            yield file, python_calamine.CalamineWorkbook.from_filelike(file)
    except (python_calamine.CalamineError, *UNREADABLE, ElementTree.ParseError) as error:
        raise UserError(f"{path} is no workbook that can be read: {error}.") from error


def _visible(workbook: Any) -> list[str]:
    from python_calamine import SheetTypeEnum, SheetVisibleEnum

    return [
        sheet.name
        for sheet in workbook.sheets_metadata
        if sheet.typ == SheetTypeEnum.WorkSheet and sheet.visible == SheetVisibleEnum.Visible
    ]


def _filled(workbook: Any) -> Iterator[str]:
    sheets = map(workbook.get_sheet_by_name, _visible(workbook))
    return (sheet.name for sheet in sheets if sheet.start is not None)


def _chosen(path: Path, workbook: Any, sheet: str | None) -> str:
    """Return the name of the sheet to read: the one asked for, else the first that is filled."""
    if sheet is not None and sheet in workbook.sheet_names:
        return sheet
    if sheet is not None:
        choices = ", ".join(_visible(workbook))
        raise UserError(f"{path} has no sheet {sheet!r}; choose one of {choices} with --sheet.")
    filled = next(_filled(workbook), None)
    if filled is None:
        raise UserError(f"{path} holds no rows: its sheets are empty.")
    return filled


def _rows(path: Path, cells: list[list[Any]], header: bool) -> Iterator[Row]:
    """Yield rows by name; blank rows and columns are left out, as blank lines are."""
    filled = [
        column
        for column, values in enumerate(zip(*cells, strict=True))
        if any(v != "" for v in values)
    ]
    names: list[str] | None = None
    for row in cells:
        values = [_plain(row[column]) for column in filled]
        if all(value is None for value in values):
            continue
        if names is None:
            cells_of_header = ["" if value is None else str(value) for value in values]
            names = column_names(cells_of_header, header, path)
            if header:
                continue
        yield dict(zip(names, values, strict=True))


def _plain(value: Any) -> Any:
    """Return a cell as it is meant: every number is stored as a float, an empty cell as ''."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return None if value == "" else value


def _check_errors(path: Path, file: Any, sheet: str) -> None:
    """Refuse a sheet with a cell such as #N/A, which would be read as an empty one."""
    file.seek(0)
    if not zipfile.is_zipfile(file):
        return
    with zipfile.ZipFile(file) as archive:
        member = _member_of(archive, sheet)
        if member is None:
            return
        rest = b""
        with archive.open(member) as part:
            while chunk := part.read(CHUNK):
                text = rest + chunk
                for found in ERROR_CELL.finditer(text):
                    said = ERROR_VALUE.search(found[0])
                    if said is not None:
                        raise UserError(
                            f"{path}, sheet {sheet!r}, cell {found[1].decode()}: "
                            f"{said[1].decode()} instead of a value; repair or empty the cell."
                        )
                rest = text[text.rfind(b"<c ") :] if b"<c " in text else b""


def _member_of(archive: zipfile.ZipFile, sheet: str) -> str | None:
    """Return where the XML of a sheet lies in an .xlsx, None in other workbooks."""
    names = set(archive.namelist())
    if not {"xl/workbook.xml", "xl/_rels/workbook.xml.rels"} <= names:
        return None
    book = ElementTree.fromstring(archive.read("xl/workbook.xml"))
    links = ElementTree.fromstring(archive.read("xl/_rels/workbook.xml.rels"))
    targets = {link.get("Id"): link.get("Target", "") for link in links}
    for element in book.iter():
        if element.tag.endswith("}sheet") and element.get("name") == sheet:
            link = next((v for k, v in element.attrib.items() if k.endswith("}id")), None)
            target = targets.get(link, "").lstrip("/")
            found = target if target.startswith("xl/") else f"xl/{target}"
            return found if found in names else None
    return None
