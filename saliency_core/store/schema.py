"""Tables, numbered migrations and connections.

`sqlite_utils` is imported inside functions: it costs 0.6 s, and a reader of a current file needs
none of it.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from saliency_core.errors import UserError
from saliency_core.store.sqlite_files import BUSY_SECONDS, READING, describe, read_only, use_wal

if TYPE_CHECKING:
    from sqlite_utils import Database

FORMAT = 7
"""Number of the last migration; a file with a higher one was written by a newer program."""

PAGE_BYTES = 8192

TABLES = """
CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE runs (
    run INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    content TEXT NOT NULL,
    model TEXT NOT NULL,
    dataset TEXT NOT NULL,
    model_info TEXT NOT NULL,
    dataset_info TEXT NOT NULL,
    settings TEXT NOT NULL,
    label_names TEXT NOT NULL,
    targets TEXT NOT NULL,
    versions TEXT NOT NULL,
    created TEXT NOT NULL,
    status TEXT NOT NULL,
    seconds REAL,
    recommended INTEGER,
    equals TEXT NOT NULL DEFAULT '[]',
    warnings TEXT NOT NULL DEFAULT '[]',
    extra TEXT NOT NULL DEFAULT '{}'
) STRICT;
CREATE INDEX runs_content ON runs (content);

CREATE TABLE labels (
    run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    label INTEGER NOT NULL,
    name TEXT NOT NULL,
    PRIMARY KEY (run, label)
) STRICT, WITHOUT ROWID;

CREATE TABLE texts (
    text_id INTEGER PRIMARY KEY,
    text TEXT NOT NULL,
    pair TEXT
) STRICT;

CREATE TABLE digests (
    digest BLOB PRIMARY KEY,
    text_id INTEGER NOT NULL REFERENCES texts ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE TABLE examples (
    run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    position INTEGER NOT NULL,
    id TEXT NOT NULL,
    text_id INTEGER NOT NULL REFERENCES texts,
    label TEXT,
    gold INTEGER,
    predicted INTEGER,
    confidence REAL,
    margin REAL,
    length INTEGER,
    chars_seen INTEGER,
    chars_total INTEGER,
    failure TEXT,
    chunk INTEGER,
    slot INTEGER,
    logits BLOB,
    metadata TEXT,
    PRIMARY KEY (run, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX examples_text ON examples (text_id, run);
CREATE INDEX examples_id ON examples (run, id);

CREATE TABLE chunks (
    run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    chunk INTEGER NOT NULL,
    examples INTEGER NOT NULL,
    n_tokens BLOB NOT NULL,
    n_words BLOB NOT NULL,
    first BLOB NOT NULL,
    target BLOB NOT NULL,
    token_starts BLOB NOT NULL,
    token_lengths BLOB NOT NULL,
    sides BLOB NOT NULL,
    word_before BLOB NOT NULL,
    word_after BLOB NOT NULL,
    token_ids BLOB NOT NULL,
    explained BLOB NOT NULL,
    decodability BLOB,
    explanation BLOB,
    PRIMARY KEY (run, chunk)
) STRICT, WITHOUT ROWID;

CREATE TABLE columns (
    run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    name TEXT NOT NULL,
    chunk INTEGER NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (run, name, chunk)
) STRICT, WITHOUT ROWID;

CREATE TABLE meta_columns (
    run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    name TEXT NOT NULL,
    PRIMARY KEY (run, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE postings (
    run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    chunk INTEGER NOT NULL,
    words BLOB NOT NULL,
    classes BLOB NOT NULL,
    groups BLOB NOT NULL,
    counts BLOB NOT NULL,
    repeats BLOB NOT NULL,
    occurrences BLOB NOT NULL,
    PRIMARY KEY (run, chunk)
) STRICT, WITHOUT ROWID;

CREATE TABLE scores (
    run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    target INTEGER NOT NULL,
    layer INTEGER NOT NULL,
    chunk INTEGER NOT NULL,
    top3 BLOB,
    data BLOB NOT NULL,
    PRIMARY KEY (run, target, layer, chunk)
) STRICT, WITHOUT ROWID;

CREATE TABLE extra_targets (
    run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    chunk INTEGER NOT NULL,
    target INTEGER NOT NULL,
    members BLOB NOT NULL,
    explained BLOB NOT NULL,
    PRIMARY KEY (run, chunk, target)
) STRICT, WITHOUT ROWID;

CREATE TABLE vocabulary (
    word_id INTEGER PRIMARY KEY,
    word TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE layers (
    run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    layer INTEGER NOT NULL,
    coherence REAL,
    low REAL,
    high REAL,
    zero_line REAL,
    decodability REAL,
    comprehensiveness REAL,
    sufficiency REAL,
    explained REAL,
    PRIMARY KEY (run, layer)
) STRICT, WITHOUT ROWID;

CREATE TABLE slices (
    name TEXT PRIMARY KEY,
    condition TEXT NOT NULL,
    note TEXT NOT NULL DEFAULT '',
    created TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE notes (
    run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    id TEXT NOT NULL,
    note TEXT NOT NULL DEFAULT '',
    proposed_label TEXT,
    updated TEXT NOT NULL,
    PRIMARY KEY (run, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE verdicts (
    run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    word TEXT NOT NULL,
    class TEXT NOT NULL,
    verdict TEXT NOT NULL CHECK (verdict IN ('spurious', 'genuine', 'unsure')),
    note TEXT NOT NULL DEFAULT '',
    updated TEXT NOT NULL,
    PRIMARY KEY (run, word, class)
) STRICT, WITHOUT ROWID;

CREATE TABLE evaluations (
    run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (run, kind, key)
) STRICT, WITHOUT ROWID;

CREATE VIEW misclassified AS
SELECT e.run, e.position, e.id, t.text, t.pair, g.name AS gold, p.name AS predicted,
    e.confidence, e.margin, e.length, e.chars_seen, e.chars_total
FROM examples e
JOIN texts t USING (text_id)
JOIN labels g ON g.run = e.run AND g.label = e.gold
JOIN labels p ON p.run = e.run AND p.label = e.predicted
WHERE e.gold <> e.predicted;

CREATE VIEW layer_summary AS
SELECT r.run, r.model, r.dataset, l.layer, l.coherence, l.low, l.high, l.zero_line,
    l.decodability, l.comprehensiveness, l.sufficiency, l.explained,
    l.layer = r.recommended AS recommended
FROM layers l JOIN runs r USING (run);
"""


def _first(db: Database) -> None:
    """Create every table of format 1."""
    for statement in TABLES.split(";\n"):
        if statement.strip():
            db.execute(statement)
    db["texts"].enable_fts(["text", "pair"], fts_version="FTS5", create_triggers=True)
    db.execute("INSERT INTO meta VALUES ('format', 1), ('version', 0)")


RESULTS = """
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


def _second(db: Database) -> None:
    """Add results kept with a run; `evaluations` of format 1 was never written to."""
    for statement in RESULTS.split(";\n"):
        if statement.strip():
            db.execute(statement)
    db.execute("UPDATE meta SET value = 2 WHERE key = 'format'")


DIRECTIONS = """
CREATE TABLE token_directions (
    run INTEGER PRIMARY KEY REFERENCES runs ON DELETE CASCADE,
    tokens BLOB NOT NULL,
    texts TEXT NOT NULL,
    vectors BLOB NOT NULL
) STRICT;
"""


def _third(db: Database) -> None:
    """Add the directions of tokens in the language model's space."""
    db.execute(DIRECTIONS)
    db.execute("UPDATE meta SET value = 3 WHERE key = 'format'")


BLOB_TABLES = ("chunks", "columns", "postings", "scores", "extra_targets")


def _fourth(db: Database) -> None:
    """Give rows of large blobs a row id, and drop a column of `postings` that nothing needs.

    To find a row of a table WITHOUT ROWID, SQLite reads each row it compares with whole.
    """
    for name in BLOB_TABLES:
        created = db[name].schema
        created = created.replace("STRICT, WITHOUT ROWID", "STRICT")
        created = created.replace("repeats BLOB NOT NULL,", "")
        db.execute(f"ALTER TABLE {name} RENAME TO old_{name}")
        db.execute(created)
        kept = ", ".join(column.name for column in db[name].columns)
        db.execute(f"INSERT INTO {name} SELECT {kept} FROM old_{name}")
        db.execute(f"DROP TABLE old_{name}")
    db.execute("UPDATE meta SET value = 4 WHERE key = 'format'")


SUMMARY = """
CREATE VIEW layer_summary AS
SELECT r.run, r.model, r.dataset, l.layer, l.coherence, l.low, l.high, l.zero_line,
    l.decodability, l.comprehensiveness, l.sufficiency, l.completeness,
    l.layer = r.recommended AS recommended
FROM layers l JOIN runs r USING (run);
"""


def _fifth(db: Database) -> None:
    """Call the part of the change that scores add up to completeness; mark what needed the path."""
    db.execute("DROP VIEW layer_summary")
    for table in ("chunks", "extra_targets", "layers"):
        db.execute(f"ALTER TABLE {table} RENAME COLUMN explained TO completeness")
    db.execute("ALTER TABLE examples ADD COLUMN incomplete INTEGER NOT NULL DEFAULT 0")
    db.execute("UPDATE runs SET settings = json_set(settings, '$.rule', 'path')")
    db.execute(SUMMARY)
    db.execute("UPDATE meta SET value = 5 WHERE key = 'format'")


LAYER_CHOICE = """
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


def _sixth(db: Database) -> None:
    """Add the second yardstick of a layer, the mosaics, and what the two choose together."""
    for statement in LAYER_CHOICE.split(";\n"):
        if statement.strip():
            db.execute(statement)
    db.execute("UPDATE meta SET value = 6 WHERE key = 'format'")


def migrate(path: Path) -> None:
    """Create the file or bring it to the current format, each migration in its transaction."""
    from sqlite_utils import Database, Migrations

    from saliency_core.store.migrations import identity

    migrations = Migrations("saliency_core")
    migrations(name="m001_tables")(_first)
    migrations(name="m002_results")(_second)
    migrations(name="m003_directions")(_third)
    migrations(name="m004_row_ids")(_fourth)
    migrations(name="m005_completeness")(_fifth)
    migrations(name="m006_layer_choice")(_sixth)
    migrations(name="m007_identity")(identity)
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, check_same_thread=False)
    try:
        if not _tables(connection):
            # All three must precede the first table; incremental gives pages back without a copy.
            connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            use_wal(connection)
        # Under the write lock: of several processes one migrates, the others find it done.
        connection.execute("BEGIN IMMEDIATE")
        migrations.apply(Database(connection))
        connection.commit()
        release(connection)
    finally:
        connection.close()


def release(connection: sqlite3.Connection) -> None:
    """Give free pages back to the file system."""
    # A script is stepped to its end; `execute` would stop after the first page.
    connection.executescript("PRAGMA incremental_vacuum;")


def _tables(connection: sqlite3.Connection) -> set[str]:
    """Return the names of the tables in the file."""
    return {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}


def check(path: Path) -> int:
    """Return the format of a file, 0 for a new or empty one.

    Raises:
        UserError: The file is not one of ours, is damaged, or comes from a newer program.
    """
    if not path.exists() or path.stat().st_size == 0:
        return 0
    try:
        connection = sqlite3.connect(read_only(path), uri=True, timeout=30)
        try:
            names = _tables(connection)
            if not names:
                return 0
            if "meta" not in names or "runs" not in names:
                raise UserError(f"{path} is an SQLite file, but no audit wrote it.")
            found = connection.execute("SELECT value FROM meta WHERE key = 'format'").fetchone()
        finally:
            connection.close()
    except READING as error:
        raise UserError(describe(path, error)) from error
    if found is None:
        raise UserError(f"{path} holds no format number; it was not written to the end.")
    if found[0] > FORMAT:
        raise UserError(
            f"{path} has format {found[0]}, written by a newer version; this program reads up to "
            f"format {FORMAT}. Upgrade it to open the file."
        )
    return found[0]


def write_connection(path: Path) -> sqlite3.Connection:
    """Open a migrated file for writing; transactions are taken explicitly."""
    connection = sqlite3.connect(
        path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )
    connection.execute("PRAGMA foreign_keys = 1")
    use_wal(connection)
    connection.execute("PRAGMA synchronous = NORMAL")
    return connection
