"""Which run an audit goes on with, and how a new one begins."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import asdict
from importlib import metadata
from typing import TYPE_CHECKING, Any

from saliency_core.records import METHOD_VERSION, DatasetInfo, ModelInfo, RunSettings
from saliency_core.store.connection import now
from saliency_core.store.format.chunk_io import set_facts
from saliency_core.store.format.keys import content_key, run_key
from saliency_core.store.sqlite_files import insert
from saliency_core.store.write import former

if TYPE_CHECKING:
    from saliency_core.store.write.writer import StoreWriter


def begin(
    writer: StoreWriter, dataset: DatasetInfo, model: ModelInfo, settings: RunSettings
) -> int:
    """Return the run of these three, made where there is none, within a transaction."""
    key = run_key(dataset, model, settings)
    facts = {
        "model": model.name,
        "model_info": json.dumps(asdict(model)),
        "dataset": dataset.name,
        "dataset_info": json.dumps(asdict(dataset)),
    }
    row = writer.connection.execute(
        "SELECT run, dataset_info FROM runs WHERE key = ?", (key,)
    ).fetchone()
    if row is None:
        facts |= {
            "key": key,
            "content": content_key(model, settings),
            "settings": json.dumps(asdict(settings)),
            "label_names": json.dumps(model.label_names),
            "versions": json.dumps(_versions()),
            "created": now(),
        }
        return insert_run(writer.connection, facts)
    run, dataset_info = row
    if may_differ(json.loads(dataset_info), dataset):
        former.set_aside(writer, run)
    set_facts(writer.connection, run, **facts)
    return run


def may_differ(stored: dict[str, Any], dataset: DatasetInfo) -> bool:
    """Return whether a dataset may hold other rows than when a run was told of it."""
    given = json.loads(json.dumps(asdict(dataset)))
    named = ("digest", "columns", "metadata_columns", "label_names")
    return any(stored.get(name) != given[name] for name in named)


def insert_run(connection: sqlite3.Connection, row: dict[str, Any]) -> int:
    """Insert a run without results, and its labels; return its number."""
    run = insert(connection, "runs", row | {"targets": "[]", "status": "running"})
    connection.executemany(
        "INSERT INTO labels VALUES (?, ?, ?)",
        [(run, label, name) for label, name in enumerate(json.loads(row["label_names"]))],
    )
    return run


def _versions() -> dict[str, str]:
    """Return the library versions a run was computed with, without importing them."""
    found = {"method": str(METHOD_VERSION)}
    for name in ("torch", "transformers", "tokenizers", "numpy"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
