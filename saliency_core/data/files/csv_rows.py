"""CSV, TSV and lines of text -> rows; what can't be read is named with its line."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

from saliency_core.data.columns import count_words, role_of_name
from saliency_core.data.files.csv_dialect import BadRow, dialect_of, records, start_of
from saliency_core.data.files.file_bytes import Row, lines
from saliency_core.errors import UserError

FASTTEXT = re.compile(r"(?:__label__\S+(?:[ \t]+(?=__label__)|[ \t]|$))+")
"""The labels before a text of fastText."""
FASTTEXT_END = re.compile(r"(?:[ \t]__label__\S+)+[ \t]*$")


def read_csv(path: Path, kind: str | None, header: bool) -> Iterator[Row]:
    """Stream a CSV or TSV; a row with another number of cells is named with its line."""
    names: list[str] | None = None
    try:
        for line, _, cells in records(lines(path), dialect_of(path, kind)):
            if names is None:
                names = column_names(cells, header, path)
                if header:
                    continue
            if len(cells) != len(names):
                raise UserError(
                    f"{path}, line {line}: {len(cells)} cells where there should be "
                    f"{len(names)} ({', '.join(names)}); quote cells that hold the separator."
                )
            yield dict(zip(names, cells, strict=True))
    except BadRow as error:
        raise UserError(_csv_sentence(path, error.line, str(error))) from error


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


def column_names(cells: list[str], header: bool, path: Path) -> list[str]:
    """Return the column names of a header; numbered ones where there is none."""
    numbered = [f"column{number}" for number in range(1, len(cells) + 1)]
    if not header:
        return numbered
    names = [name.strip() or number for name, number in zip(cells, numbered, strict=True)]
    check_names(names, str(path), "; if its first line is no header, say --no-header")
    return names


def check_names(names: list[str], described: str, hint: str = "") -> None:
    """Refuse two columns of one name: only one of them could be read.

    Raises:
        UserError: the first such name.
    """
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(f"{described} has two columns named {twice[0]!r}{hint}.")


def read_txt(path: Path, header: bool) -> Iterator[Row]:
    """Stream a text file: fastText's, a table where its first lines are one, else a text a line.

    Texts named `..._text.txt` take their labels from `..._labels.txt` beside them.
    """
    if _is_fasttext(path):
        return _read_fasttext(path)
    start = start_of(path).split("\n")
    tabs = {line.count("\t") for line in start if line.strip("\r")}
    if len(tabs) == 1 and tabs != {0}:
        return read_csv(path, "tsv", header)
    if any({"text", "label"} <= set(map(role_of_name, start[0].split(mark))) for mark in ",;|"):
        return read_csv(path, "csv", header)
    if not any(count_words(line) > 1 for line in start):
        texts = path.with_name(path.name.replace("_labels", "_text"))
        hint = f" Are the texts in {texts.name}?" if texts != path and texts.is_file() else ""
        raise UserError(
            f"{path}: none of its first lines holds two words; these look like labels, not "
            f"texts.{hint}"
        )
    labels = path.with_name(path.name.replace("_text", "_labels"))
    if labels != path and labels.is_file():
        return _parallel(path, labels)
    return ({"text": line.rstrip("\r\n")} for line in lines(path))


def _is_fasttext(path: Path) -> bool:
    """Return whether some line begins with a label of fastText, or all end with one."""
    all_end = True
    for line in lines(path):
        if line.startswith("__label__"):
            return True
        all_end = all_end and (not line.strip() or bool(FASTTEXT_END.search(line.rstrip())))
    return all_end and any(line.strip() for line in lines(path))


def _read_fasttext(path: Path) -> Iterator[Row]:
    """Stream fastText's lines, `__label__x a text`; a line may have no label or several."""
    for line in lines(path):
        text = line.rstrip("\r\n")
        if not text.strip():
            continue
        before = FASTTEXT.match(text)
        if before is not None:
            marked, text = before[0], text[before.end() :]
        else:
            after = FASTTEXT_END.search(text)
            marked = "" if after is None else after[0]
            text = text[: len(text) - len(marked)]
        labels = [label.removeprefix("__label__") for label in marked.split()]
        yield {"text": text, "label": labels if len(labels) > 1 else next(iter(labels), None)}


def _parallel(texts: Path, labels: Path) -> Iterator[Row]:
    """Stream two files that belong together line by line."""
    for number, (text, label) in enumerate(itertools.zip_longest(lines(texts), lines(labels)), 1):
        if text is None or label is None:
            shorter = texts if text is None else labels
            raise UserError(
                f"{shorter} ends before line {number}, but {texts.name} and {labels.name} belong "
                "together line by line."
            )
        yield {"text": text.rstrip("\r\n"), "label": label.strip()}
