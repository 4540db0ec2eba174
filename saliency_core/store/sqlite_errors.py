"""What errors of SQLite mean for a file: told by their codes, never by their words."""

from __future__ import annotations

import sqlite3
from pathlib import Path

BUSY_SECONDS = 120.0
"""How long a writer waits for another one's transaction; batches take milliseconds."""

_MEANINGS = {
    sqlite3.SQLITE_NOTADB: "{path} is not an SQLite file.",
    sqlite3.SQLITE_BUSY: "{path} is in use by another program for more than {seconds:.0f} s.",
    sqlite3.SQLITE_LOCKED: "{path} is in use by another program for more than {seconds:.0f} s.",
    sqlite3.SQLITE_FULL: "{full}",
    sqlite3.SQLITE_CORRUPT: "{damaged}",
    sqlite3.SQLITE_IOERR: "{damaged}",
    sqlite3.SQLITE_READONLY: "{path} cannot be written; check the permissions of the file and of "
    "its folder, or copy it to a folder of yours.",
    sqlite3.SQLITE_PERM: "{path} cannot be opened; check its permissions.",
    sqlite3.SQLITE_CANTOPEN: "{path} cannot be opened; check the path and the permissions of the "
    "file and of its folder, or copy it to a folder of yours.",
    # Extended codes: where a quota or a limit of the size of files is reached.
    sqlite3.SQLITE_IOERR_WRITE: "{full}",
    sqlite3.SQLITE_IOERR_FSYNC: "{full}",
    sqlite3.SQLITE_IOERR_TRUNCATE: "{full}",
    sqlite3.SQLITE_IOERR_SHMSIZE: "{full}",
    # The log beside a file waits to be read into it, which takes the right to write.
    sqlite3.SQLITE_READONLY_RECOVERY: "{log}",
    sqlite3.SQLITE_READONLY_CANTINIT: "{log}",
    sqlite3.SQLITE_CANTOPEN_DIRTYWAL: "{log}",
}
"""What the codes of SQLite mean for a file, extended ones first."""

_FULL = (
    "The disk of {path} is full, or a limit is reached. What was stored is kept; free some space "
    "and run the same command again."
)
_DAMAGED = "{path} is damaged or cut short; restore a copy or audit again."
_LOG = (
    "{path} has a log ({path}-wal) that can only be read where its folder can be written; copy "
    "both to a folder of yours, or let the program that writes the file come to its end."
)


def describe(path: Path, error: Exception) -> str:
    """Say in one sentence what an error of SQLite, or of reading what it holds, means for a file.

    It is told by the code: the text of an error may quote what the file holds.
    """
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        # Python's own; of a file it can only be that a text is no UTF-8, or a block won't unpack.
        is_misuse = isinstance(error, sqlite3.ProgrammingError | sqlite3.InterfaceError)
        return f"{path}: {error}." if is_misuse else _DAMAGED.format(path=path)
    meaning = _MEANINGS.get(code) or _MEANINGS.get(code & 0xFF) or "{path}: {name}."
    name = getattr(error, "sqlite_errorname", "unknown error")
    parts = {"full": _FULL, "damaged": _DAMAGED, "log": _LOG}
    told = {part: text.format(path=path) for part, text in parts.items()}
    return meaning.format(path=path, seconds=BUSY_SECONDS, name=name, **told)
