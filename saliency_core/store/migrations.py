"""Creating a file, and numbered migrations that bring an older one up to date."""

from __future__ import annotations

import json
import os.path
import re
import sqlite3
from contextlib import closing
from pathlib import Path

from saliency_core.store.format.keys import key_of_run
from saliency_core.store.schema import FORMAT, TABLES
from saliency_core.store.sqlite_files import BUSY_SECONDS, first_value, release, tables_in, use_wal

PAGE_BYTES = 8192


def migrate(path: Path) -> None:
    """Create the file or bring it to the current format, in one transaction."""
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, check_same_thread=False)
    try:
        if not tables_in(connection):
            # All three must precede the first table; incremental gives pages back without a copy.
            connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            use_wal(connection)
        # Under the write lock: of several processes one migrates, the others find it done.
        connection.execute("BEGIN IMMEDIATE")
        if not tables_in(connection):
            _execute(connection, TABLES)
        found = first_value(connection, "SELECT value FROM meta WHERE key = 'format'")
        if found < FORMAT:
            _apply(connection, found)
        connection.execute("UPDATE meta SET value = ? WHERE key = 'format'", (FORMAT,))
        connection.commit()
        release(connection)
    finally:
        connection.close()


def _apply(connection: sqlite3.Connection, found: int) -> None:
    """Apply the steps behind a format; sqlite-utils keeps in the file which were, and when.

    Views hold nothing: they go first, so that what they name can be renamed.
    """
    for view in ("misclassified", "token_summary", "layer_summary"):
        connection.execute(f"DROP VIEW IF EXISTS {view}")
    # Half a second to import, and a current file needs none of it.
    from sqlite_utils import Database, Migrations

    pending = Migrations("saliency_core")
    for number in range(found + 1, FORMAT + 1):
        step = _STEPS.get(number, lambda connection: None)
        pending(name=f"format_{number}")(lambda db, step=step: step(db.conn))
    pending.apply(Database(connection))


def _execute(connection: sqlite3.Connection, script: str) -> None:
    """Run the statements of a script within the transaction, which `executescript` would end."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            connection.execute(statement)
            statement = ""


def _add_missing(connection: sqlite3.Connection) -> None:
    """Add the tables, columns, indexes and views of today's format that the file lacks."""
    with closing(sqlite3.connect(":memory:")) as today:
        today.executescript(TABLES)
        there = tables_in(connection)
        for kind, name, sql in today.execute(
            "SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL"
        ).fetchall():
            if name not in there:
                connection.execute(sql)
            elif kind == "table":
                _add_columns(connection, name, today)


def _add_columns(connection: sqlite3.Connection, table: str, today: sqlite3.Connection) -> None:
    """Add the columns that a table of the file lacks."""
    info = 'SELECT name, type, "notnull", dflt_value FROM pragma_table_info(?)'
    known = {row[0] for row in connection.execute(info, (table,))}
    for name, kind, is_required, default in today.execute(info, (table,)):
        if name not in known:
            rule = f" NOT NULL DEFAULT {default}" if is_required else ""
            connection.execute(f"ALTER TABLE {table} ADD COLUMN {name} {kind}{rule}")


def _results(connection: sqlite3.Connection) -> None:
    """Drop the `evaluations` of format 1, which were never written to; today's are others."""
    connection.execute("DROP TABLE evaluations")


_BLOB_TABLES = ("chunks", "columns", "postings", "scores", "extra_targets")


def _row_ids(connection: sqlite3.Connection) -> None:
    """Give rows of large blobs a row id, and drop a column of `postings` that nothing needs.

    To find a row of a table WITHOUT ROWID, SQLite reads each row it compares with whole.
    """
    for name in _BLOB_TABLES:
        created = first_value(connection, "SELECT sql FROM sqlite_master WHERE name = ?", name)
        created = created.replace("STRICT, WITHOUT ROWID", "STRICT")
        created = created.replace("repeats BLOB NOT NULL,", "")
        connection.execute(f"ALTER TABLE {name} RENAME TO old_{name}")
        connection.execute(created)
        columns = connection.execute("SELECT name FROM pragma_table_info(?)", (name,))
        kept = ", ".join(column for (column,) in columns)
        connection.execute(f"INSERT INTO {name} SELECT {kept} FROM old_{name}")
        connection.execute(f"DROP TABLE old_{name}")


def _completeness(connection: sqlite3.Connection) -> None:
    """Call the part of the change that scores add up to completeness; mark what needed the path."""
    for table in ("chunks", "extra_targets", "layers"):
        connection.execute(f"ALTER TABLE {table} RENAME COLUMN explained TO completeness")
    connection.execute("UPDATE runs SET settings = json_set(settings, '$.rule', 'path')")


def _layer_choice(connection: sqlite3.Connection) -> None:
    """Call ties and the baseline of coherence what they are."""
    connection.execute("ALTER TABLE runs RENAME COLUMN equals TO tied")
    connection.execute("ALTER TABLE layers RENAME COLUMN zero_line TO uniform_baseline")


_HUB_NAME = re.compile(r"[\w-]+(/[\w.-]+)?")


def _identity(connection: sqlite3.Connection) -> None:
    """Know runs by what is audited instead of by names as typed; keep what a changed file left.

    Where an old file names a path without its folder, nobody can say which file it was: an audit
    of such a file begins another run, which takes over the results.
    """
    runs = connection.execute(
        "SELECT run, content, dataset_info, label_names, settings FROM runs ORDER BY run DESC"
    ).fetchall()
    taken = set()
    for run, content, dataset_info, label_names, settings in runs:
        dataset = json.loads(dataset_info)
        if os.path.isabs(dataset["source"]):
            dataset["identity"] = os.path.normpath(dataset["source"])
        elif _HUB_NAME.fullmatch(dataset["source"]):
            dataset["identity"] = f"hub:{dataset['source']}"
        key = key_of_run(
            content, dataset, json.loads(label_names), json.loads(settings).get("label_map", {})
        )
        # Of runs that differed in what takes no part now, the newest is the one to go on with.
        if key not in taken:
            taken.add(key)
            connection.execute(
                "UPDATE runs SET key = ?, dataset_info = ? WHERE run = ?",
                (key, json.dumps(dataset), run),
            )


_EDITS = """
INSERT INTO orphaned_notes
    (run, id, id_column, text_id, occurrence, note, proposed_label, updated, decision)
SELECT n.run, n.id, json_extract(r.dataset_info, '$.columns.id'), NULL, 0, n.note,
    n.proposed_label, n.updated, iif(n.proposed_label IS NULL, NULL, 'label')
FROM earlier_notes n JOIN runs r USING (run)
WHERE NOT EXISTS (SELECT 1 FROM examples e WHERE e.run = n.run AND e.id = n.id);
UPDATE orphaned_notes SET decision = 'label' WHERE proposed_label IS NOT NULL;

CREATE TEMP TABLE placed_notes AS
SELECT row_number() OVER (ORDER BY n.run, n.updated, n.id) AS action, n.*,
    (SELECT min(position) FROM examples e WHERE e.run = n.run AND e.id = n.id) AS position
FROM earlier_notes n;
INSERT INTO edits (run, action, done, what, value, positions, examples)
SELECT run, action, updated, 'note', note, json_array(position), 1
FROM placed_notes WHERE position IS NOT NULL AND note <> '' ORDER BY action;
INSERT INTO edits (run, action, done, what, value, positions, examples)
SELECT run, action, updated, 'label', proposed_label, json_array(position), 1
FROM placed_notes WHERE position IS NOT NULL AND proposed_label IS NOT NULL ORDER BY action;
DROP TABLE placed_notes;
DROP TABLE earlier_notes;
"""


def _edits(connection: sqlite3.Connection) -> None:
    """Keep what analysts decide as edits that can be undone; the notes are what they come to.

    It fills what formats since 2 added, so here all of that is added.
    """
    connection.execute("ALTER TABLE notes RENAME TO earlier_notes")
    _add_missing(connection)
    _execute(connection, _EDITS)


_STEPS = {2: _results, 4: _row_ids, 5: _completeness, 6: _layer_choice, 7: _identity, 9: _edits}
"""Format -> what brings a file of the one before to it, besides what is only added."""
