"""The tables of a file as today's format has them."""

from __future__ import annotations

FORMAT = 9
"""Number of the last migration; a file with a higher one was written by a newer program."""

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
    tied TEXT NOT NULL DEFAULT '[]',
    warnings TEXT NOT NULL DEFAULT '[]',
    extra TEXT NOT NULL DEFAULT '{}',
    most_readable INTEGER
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
CREATE VIRTUAL TABLE texts_fts USING FTS5 (text, pair, content=texts);
CREATE TRIGGER texts_ai AFTER INSERT ON texts BEGIN
    INSERT INTO texts_fts (rowid, text, pair) VALUES (new.rowid, new.text, new.pair);
END;
CREATE TRIGGER texts_ad AFTER DELETE ON texts BEGIN
    INSERT INTO texts_fts (texts_fts, rowid, text, pair)
        VALUES ('delete', old.rowid, old.text, old.pair);
END;
CREATE TRIGGER texts_au AFTER UPDATE ON texts BEGIN
    INSERT INTO texts_fts (texts_fts, rowid, text, pair)
        VALUES ('delete', old.rowid, old.text, old.pair);
    INSERT INTO texts_fts (rowid, text, pair) VALUES (new.rowid, new.text, new.pair);
END;

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
    incomplete INTEGER NOT NULL DEFAULT 0,
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
    completeness BLOB NOT NULL,
    decodability BLOB,
    explanation BLOB,
    PRIMARY KEY (run, chunk)
) STRICT;

CREATE TABLE columns (
    run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    name TEXT NOT NULL,
    chunk INTEGER NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (run, name, chunk)
) STRICT;

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
    occurrences BLOB NOT NULL,
    PRIMARY KEY (run, chunk)
) STRICT;

CREATE TABLE scores (
    run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    target INTEGER NOT NULL,
    layer INTEGER NOT NULL,
    chunk INTEGER NOT NULL,
    top3 BLOB,
    data BLOB NOT NULL,
    PRIMARY KEY (run, target, layer, chunk)
) STRICT;

CREATE TABLE extra_targets (
    run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    chunk INTEGER NOT NULL,
    target INTEGER NOT NULL,
    members BLOB NOT NULL,
    completeness BLOB NOT NULL,
    PRIMARY KEY (run, chunk, target)
) STRICT;

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
    uniform_baseline REAL,
    decodability REAL,
    comprehensiveness REAL,
    sufficiency REAL,
    completeness REAL,
    mosaic REAL,
    mosaic_auc REAL,
    mosaic_top REAL,
    choice REAL,
    choice_low REAL,
    choice_high REAL,
    PRIMARY KEY (run, layer)
) STRICT, WITHOUT ROWID;

CREATE TABLE slices (
    name TEXT PRIMARY KEY,
    condition TEXT NOT NULL,
    note TEXT NOT NULL DEFAULT '',
    created TEXT NOT NULL
) STRICT, WITHOUT ROWID;

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
    extra TEXT NOT NULL DEFAULT '{}',
    mosaic REAL,
    mosaic_low REAL,
    mosaic_high REAL,
    mosaic_auc REAL,
    mosaic_auc_low REAL,
    mosaic_auc_high REAL,
    mosaic_top REAL,
    mosaic_top_low REAL,
    mosaic_top_high REAL
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

CREATE TABLE token_directions (
    run INTEGER PRIMARY KEY REFERENCES runs ON DELETE CASCADE,
    tokens BLOB NOT NULL,
    texts TEXT NOT NULL,
    vectors BLOB NOT NULL
) STRICT;

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
    updated TEXT NOT NULL,
    decision TEXT,
    tags TEXT NOT NULL DEFAULT '[]'
) STRICT;
CREATE INDEX orphaned_notes_run ON orphaned_notes (run);
CREATE INDEX orphaned_notes_text ON orphaned_notes (text_id);

CREATE TABLE quality (
    run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    name TEXT NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (run, name)
) STRICT;

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

CREATE VIEW misclassified AS
SELECT e.run, e.position, e.id, t.text, t.pair, g.name AS gold, p.name AS predicted,
    e.confidence, e.margin, e.length, e.chars_seen, e.chars_total
FROM examples e
JOIN texts t USING (text_id)
JOIN labels g ON g.run = e.run AND g.label = e.gold
JOIN labels p ON p.run = e.run AND p.label = e.predicted
WHERE e.gold <> e.predicted;

CREATE VIEW token_summary AS
SELECT r.run, r.model, r.dataset, s.layer, n.name AS class, v.word, s.examples, s.mean_share,
    s.total_share, s.top3_rate, s.mean_score
FROM tokens s
JOIN runs r USING (run)
JOIN vocabulary v USING (word_id)
LEFT JOIN labels n ON n.run = s.run AND n.label = s.label;

CREATE VIEW layer_summary AS
SELECT r.run, r.model, r.dataset, l.layer, l.choice, l.choice_low, l.choice_high,
    l.comprehensiveness, l.sufficiency, l.mosaic, l.mosaic_auc, l.mosaic_top,
    l.coherence, l.low, l.high, l.uniform_baseline, l.decodability, l.completeness,
    l.layer = r.recommended AS recommended, l.layer IS r.most_readable AS most_readable
FROM layers l JOIN runs r USING (run);

INSERT INTO meta VALUES ('format', 9), ('version', 0);
"""
