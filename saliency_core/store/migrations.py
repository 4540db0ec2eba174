"""Numbered migrations that bring older files up to date."""

from __future__ import annotations

import json
import os.path
import re
from typing import TYPE_CHECKING

from saliency_core.store.format.keys import key_of_run

if TYPE_CHECKING:
    from sqlite_utils import Database

FORMER = """
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


def identity(db: Database) -> None:
    """Know runs by what is audited instead of by names as typed; keep what a changed file left.

    Where an old file names a path without its folder, nobody can say which file it was: an audit
    of such a file begins another run, which takes over the results.
    """
    for statement in FORMER.split(";\n"):
        if statement.strip():
            db.execute(statement)
    runs = db.execute(
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
            db.execute(
                "UPDATE runs SET key = ?, dataset_info = ? WHERE run = ?",
                (key, json.dumps(dataset), run),
            )
    db.execute("UPDATE meta SET value = 7 WHERE key = 'format'")
