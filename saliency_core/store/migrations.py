"""Creating a file, and numbered migrations that bring an older one up to date."""

from __future__ import annotations

import json
import os.path
import re
import sqlite3
from pathlib import Path

from saliency_core.store.format.keys import key_of_run
from saliency_core.store.schema import FORMAT, TABLES
from saliency_core.store.sqlite_files import BUSY_SECONDS, release, tables_in, use_wal

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
        (found,) = connection.execute("SELECT value FROM meta WHERE key = 'format'").fetchone()
        if found < FORMAT:
            _apply(connection, found)
        connection.execute("UPDATE meta SET value = ? WHERE key = 'format'", (FORMAT,))
        connection.commit()
        release(connection)
    finally:
        connection.close()


def _apply(connection: sqlite3.Connection, found: int) -> None:
    """Apply the steps behind a format; sqlite-utils keeps in the file which were, and when."""
    # Half a second to import, and a current file needs none of it.
    from sqlite_utils import Database, Migrations

    pending = Migrations("saliency_core")
    for number in range(found + 1, FORMAT + 1):
        pending(name=f"format_{number}")(lambda db, step=_STEPS[number]: step(db.conn))
    pending.apply(Database(connection))


def _execute(connection: sqlite3.Connection, script: str) -> None:
    """Run the statements of a script within the transaction, which `executescript` would end."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            connection.execute(statement)
            statement = ""


_RESULTS = """
DROP TABLE evaluations;

CREATE TABLE evaluations (
    evaluation INTEGER PRIMARY KEY,
    run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    method TEXT NOT NULL,
    layer INTEGER,
    comprehensiveness REAL,
    comprehensiveness_low REAL,
    comprehensiveness_high REAL,
    sufficiency REAL,
    sufficiency_low REAL,
    sufficiency_high REAL,
    plausibility REAL,
    plausibility_low REAL,
    plausibility_high REAL,
    examples INTEGER,
    seed INTEGER,
    forwards REAL,
    backwards REAL,
    seconds REAL,
    extra TEXT NOT NULL DEFAULT '{}'
) STRICT;
CREATE UNIQUE INDEX evaluations_key ON evaluations (run, method, coalesce(layer, -1));

CREATE TABLE kept_tables (
    run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    name TEXT NOT NULL,
    settings TEXT NOT NULL,
    created TEXT NOT NULL,
    data TEXT NOT NULL,
    PRIMARY KEY (run, name, settings)
) STRICT, WITHOUT ROWID;

CREATE TABLE tokens (
    run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    layer INTEGER NOT NULL,
    label INTEGER NOT NULL,
    word_id INTEGER NOT NULL REFERENCES vocabulary,
    examples INTEGER NOT NULL,
    mean_share REAL NOT NULL,
    total_share REAL NOT NULL,
    top3_rate REAL NOT NULL,
    mean_score REAL NOT NULL,
    PRIMARY KEY (run, layer, label, word_id)
) STRICT, WITHOUT ROWID;

CREATE VIEW token_summary AS
SELECT r.run, r.model, r.dataset, s.layer, n.name AS class, v.word, s.examples, s.mean_share,
    s.total_share, s.top3_rate, s.mean_score
FROM tokens s
JOIN runs r USING (run)
JOIN vocabulary v USING (word_id)
LEFT JOIN labels n ON n.run = s.run AND n.label = s.label;
"""


def _results(connection: sqlite3.Connection) -> None:
    """Add results kept with a run; `evaluations` of format 1 was never written to."""
    _execute(connection, _RESULTS)


_DIRECTIONS = """
CREATE TABLE token_directions (
    run INTEGER PRIMARY KEY REFERENCES runs ON DELETE CASCADE,
    tokens BLOB NOT NULL,
    texts TEXT NOT NULL,
    vectors BLOB NOT NULL
) STRICT;
"""


def _directions(connection: sqlite3.Connection) -> None:
    """Add the directions of tokens in the language model's space."""
    _execute(connection, _DIRECTIONS)


_BLOB_TABLES = ("chunks", "columns", "postings", "scores", "extra_targets")


def _row_ids(connection: sqlite3.Connection) -> None:
    """Give rows of large blobs a row id, and drop a column of `postings` that nothing needs.

    To find a row of a table WITHOUT ROWID, SQLite reads each row it compares with whole.
    """
    for name in _BLOB_TABLES:
        (created,) = connection.execute(
            "SELECT sql FROM sqlite_master WHERE name = ?", (name,)
        ).fetchone()
        created = created.replace("STRICT, WITHOUT ROWID", "STRICT")
        created = created.replace("repeats BLOB NOT NULL,", "")
        connection.execute(f"ALTER TABLE {name} RENAME TO old_{name}")
        connection.execute(created)
        columns = connection.execute("SELECT name FROM pragma_table_info(?)", (name,))
        kept = ", ".join(column for (column,) in columns)
        connection.execute(f"INSERT INTO {name} SELECT {kept} FROM old_{name}")
        connection.execute(f"DROP TABLE old_{name}")


_SUMMARY = """
CREATE VIEW layer_summary AS
SELECT r.run, r.model, r.dataset, l.layer, l.coherence, l.low, l.high, l.zero_line,
    l.decodability, l.comprehensiveness, l.sufficiency, l.completeness,
    l.layer = r.recommended AS recommended
FROM layers l JOIN runs r USING (run);
"""


def _completeness(connection: sqlite3.Connection) -> None:
    """Call the part of the change that scores add up to completeness; mark what needed the path."""
    connection.execute("DROP VIEW layer_summary")
    for table in ("chunks", "extra_targets", "layers"):
        connection.execute(f"ALTER TABLE {table} RENAME COLUMN explained TO completeness")
    connection.execute("ALTER TABLE examples ADD COLUMN incomplete INTEGER NOT NULL DEFAULT 0")
    connection.execute("UPDATE runs SET settings = json_set(settings, '$.rule', 'path')")
    connection.execute(_SUMMARY)


_LAYER_CHOICE = """
DROP VIEW layer_summary;
ALTER TABLE runs RENAME COLUMN equals TO tied;
ALTER TABLE runs ADD COLUMN most_readable INTEGER;
ALTER TABLE layers RENAME COLUMN zero_line TO uniform_baseline;
ALTER TABLE layers ADD COLUMN mosaic REAL;
ALTER TABLE layers ADD COLUMN mosaic_auc REAL;
ALTER TABLE layers ADD COLUMN mosaic_top REAL;
ALTER TABLE layers ADD COLUMN choice REAL;
ALTER TABLE layers ADD COLUMN choice_low REAL;
ALTER TABLE layers ADD COLUMN choice_high REAL;
ALTER TABLE evaluations ADD COLUMN mosaic REAL;
ALTER TABLE evaluations ADD COLUMN mosaic_low REAL;
ALTER TABLE evaluations ADD COLUMN mosaic_high REAL;
ALTER TABLE evaluations ADD COLUMN mosaic_auc REAL;
ALTER TABLE evaluations ADD COLUMN mosaic_auc_low REAL;
ALTER TABLE evaluations ADD COLUMN mosaic_auc_high REAL;
ALTER TABLE evaluations ADD COLUMN mosaic_top REAL;
ALTER TABLE evaluations ADD COLUMN mosaic_top_low REAL;
ALTER TABLE evaluations ADD COLUMN mosaic_top_high REAL;

CREATE VIEW layer_summary AS
SELECT r.run, r.model, r.dataset, l.layer, l.choice, l.choice_low, l.choice_high,
    l.comprehensiveness, l.sufficiency, l.mosaic, l.mosaic_auc, l.mosaic_top,
    l.coherence, l.low, l.high, l.uniform_baseline, l.decodability, l.completeness,
    l.layer = r.recommended AS recommended, l.layer IS r.most_readable AS most_readable
FROM layers l JOIN runs r USING (run);
"""


def _layer_choice(connection: sqlite3.Connection) -> None:
    """Add the second yardstick of a layer, the mosaics, and what the two choose together."""
    _execute(connection, _LAYER_CHOICE)


_FORMER = """
CREATE TABLE former_examples (
    former INTEGER PRIMARY KEY,
    run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    position INTEGER NOT NULL,
    text_id INTEGER NOT NULL REFERENCES texts,
    gold INTEGER,
    predicted INTEGER,
    confidence REAL,
    margin REAL,
    length INTEGER,
    chars_seen INTEGER,
    chars_total INTEGER,
    failure TEXT,
    incomplete INTEGER NOT NULL DEFAULT 0,
    chunk INTEGER NOT NULL,
    slot INTEGER NOT NULL,
    logits BLOB
) STRICT;

CREATE INDEX former_examples_text ON former_examples (text_id, run);

CREATE TABLE orphaned_notes (
    orphan INTEGER PRIMARY KEY,
    run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    id TEXT NOT NULL,
    id_column TEXT,
    text_id INTEGER REFERENCES texts,
    occurrence INTEGER NOT NULL,
    note TEXT NOT NULL,
    proposed_label TEXT,
    updated TEXT NOT NULL
) STRICT;

CREATE INDEX orphaned_notes_run ON orphaned_notes (run);

CREATE INDEX orphaned_notes_text ON orphaned_notes (text_id);
"""


_HUB_NAME = re.compile(r"[\w-]+(/[\w.-]+)?")


def _identity(connection: sqlite3.Connection) -> None:
    """Know runs by what is audited instead of by names as typed; keep what a changed file left.

    Where an old file names a path without its folder, nobody can say which file it was: an audit
    of such a file begins another run, which takes over the results.
    """
    _execute(connection, _FORMER)
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


_QUALITY = """
CREATE TABLE quality (
    run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    name TEXT NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (run, name)
) STRICT;
"""


def _quality(connection: sqlite3.Connection) -> None:
    """Add what the checks of a dataset say of each example."""
    _execute(connection, _QUALITY)


_EDITS = """
CREATE TABLE edits (
    edit INTEGER PRIMARY KEY,
    run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    action INTEGER NOT NULL,
    done TEXT NOT NULL,
    what TEXT NOT NULL CHECK (what IN
        ('label', 'right', 'reviewed', 'skipped', 'open', 'note', 'tag', 'untag')),
    value TEXT NOT NULL DEFAULT '',
    positions TEXT NOT NULL,
    examples INTEGER NOT NULL,
    condition TEXT,
    undone TEXT
) STRICT;
CREATE INDEX edits_run ON edits (run, action);

ALTER TABLE orphaned_notes ADD COLUMN decision TEXT;
ALTER TABLE orphaned_notes ADD COLUMN tags TEXT NOT NULL DEFAULT '[]';

INSERT INTO orphaned_notes
    (run, id, id_column, text_id, occurrence, note, proposed_label, updated, decision)
SELECT n.run, n.id, json_extract(r.dataset_info, '$.columns.id'), NULL, 0, n.note,
    n.proposed_label, n.updated, iif(n.proposed_label IS NULL, NULL, 'label')
FROM notes n JOIN runs r USING (run)
WHERE NOT EXISTS (SELECT 1 FROM examples e WHERE e.run = n.run AND e.id = n.id);
UPDATE orphaned_notes SET decision = 'label' WHERE proposed_label IS NOT NULL;

CREATE TEMP TABLE earlier_notes AS
SELECT row_number() OVER (ORDER BY n.run, n.updated, n.id) AS action, n.*,
    (SELECT min(position) FROM examples e WHERE e.run = n.run AND e.id = n.id) AS position
FROM notes n;
INSERT INTO edits (run, action, done, what, value, positions, examples)
SELECT run, action, updated, 'note', note, json_array(position), 1
FROM earlier_notes WHERE position IS NOT NULL AND note <> '' ORDER BY action;
INSERT INTO edits (run, action, done, what, value, positions, examples)
SELECT run, action, updated, 'label', proposed_label, json_array(position), 1
FROM earlier_notes WHERE position IS NOT NULL AND proposed_label IS NOT NULL ORDER BY action;
DROP TABLE earlier_notes;
DROP TABLE notes;

CREATE VIEW notes AS
WITH newest AS (
    SELECT e.run, j.value AS position, e.what, e.value, e.done, row_number() OVER (
        PARTITION BY e.run, j.value, e.what = 'note' ORDER BY e.done DESC, e.edit DESC) AS age
    FROM edits e, json_each(e.positions) j
    WHERE e.undone IS NULL AND e.what NOT IN ('tag', 'untag')
)
SELECT x.run, x.position, x.id, max(iif(n.what = 'note', n.value, '')) AS note,
    max(iif(n.what NOT IN ('note', 'open'), n.what, NULL)) AS decision,
    max(iif(n.what = 'label', n.value, NULL)) AS proposed_label, max(n.done) AS updated
FROM newest n JOIN examples x ON x.run = n.run AND x.position = n.position
WHERE n.age = 1 GROUP BY x.run, x.position
HAVING max(n.value <> '' OR n.what NOT IN ('note', 'open'));
"""


def _edits(connection: sqlite3.Connection) -> None:
    """Keep what analysts decide as edits that can be undone; the notes are what they come to."""
    _execute(connection, _EDITS)


_STEPS = {
    2: _results,
    3: _directions,
    4: _row_ids,
    5: _completeness,
    6: _layer_choice,
    7: _identity,
    8: _quality,
    9: _edits,
}
"""Format -> what brings a file of the one before to it."""
