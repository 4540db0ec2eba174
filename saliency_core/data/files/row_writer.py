"""Rows -> JSON Lines or CSV, as `load_examples` reads them back."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

ENDINGS = (".jsonl", ".csv")


class RowWriter:
    """Writes rows as JSON Lines or CSV; a CSV has the columns of all rows."""

    def __init__(self, path: Path, ending: str, names: Sequence[str]) -> None:
        """Open a file.

        Args:
            path: where to write.
            ending: one of `ENDINGS`.
            names: the columns, in their order; those of the first row follow.
        """
        self.names = names
        self.file = path.open("w", encoding="utf-8", newline="")
        self.is_csv = ending == ".csv"
        self.table: csv.DictWriter[str] | None = None

    def __enter__(self) -> RowWriter:
        """Write until the block ends."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self.file.close()

    def write(self, row: dict[str, Any]) -> None:
        """Write one row."""
        if not self.is_csv:
            self.file.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")
            return
        if self.table is None:
            columns = dict.fromkeys((*self.names, *row))
            self.table = csv.DictWriter(self.file, list(columns))
            self.table.writeheader()
        self.table.writerow(row)


def write_json_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write rows as JSON Lines."""
    with RowWriter(path, ".jsonl", ()) as writer:
        for row in rows:
            writer.write(row)
