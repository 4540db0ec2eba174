"""What a dataset is, whatever it is called: digests of files and of rows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

from saliency_core.data.formats import Row
from saliency_core.errors import UserError


def digest_of_files(files: Sequence[Path]) -> str:
    """Return the sha256 of what files hold; of several, their names take part.

    Raises:
        UserError: one of them cannot be read.
    """
    total = hashlib.sha256()
    for path in files:
        try:
            with path.open("rb") as stream:
                found = hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error.strerror or error}.") from error
        total.update(json.dumps([path.name if len(files) > 1 else "", found]).encode())
    return total.hexdigest()


def digest_of_rows(rows: Iterable[Row], *beside: Any) -> str:
    """Return the sha256 of rows and of what stands beside them; the order of columns is free."""
    total = hashlib.sha256(_text(list(beside)))
    for row in rows:
        cells = sorted(([str(name), value] for name, value in row.items()), key=itemgetter(0))
        total.update(_text(cells) + b"\n")
    return total.hexdigest()


def _text(value: Any) -> bytes:
    try:
        return json.dumps(value, default=_plain, ensure_ascii=True).encode()
    except (TypeError, ValueError):  # keys that are no texts, an object that holds itself
        return repr(value).encode("utf-8", "backslashreplace")


def _plain(value: Any) -> Any:
    """Return what JSON takes of an array, a number of numpy or anything else."""
    return value.tolist() if hasattr(value, "tolist") else str(value)
