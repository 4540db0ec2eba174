"""Audits of the real models on the real data beside the checkout, made once and kept."""

from __future__ import annotations

from pathlib import Path

from saliency_core.pipeline.options import AuditOptions
from saliency_core.pipeline.run_audit import audit
from saliency_core.store import Store, open_store

SHARED = Path(__file__).parents[2] / "shared"
DATA = {
    "sst2": "sst2/dev.jsonl",
    "agnews": "agnews/dev.jsonl",
    "jigsaw-biased": "jigsaw_people/test_biased.jsonl",
    "jigsaw-control": "jigsaw_people/test_biased.jsonl",
}
"""Name of a model (`minilm-NAME`) and of its audit -> what it is audited on."""


def audited(name: str, folder: Path, limit: int | None = None) -> tuple[Store, int]:
    """Return the audit of a model and its run, computed where `folder` does not hold it.

    Args:
        name: of `DATA`.
        folder: of the audits.
        limit: examples read from the dataset; None for all.
    """
    folder.mkdir(parents=True, exist_ok=True)
    database = folder / f"{name}.sqlite"
    models = SHARED / "models"
    options = AuditOptions(
        text_column="text",
        label_column="label",
        lm_head=str(models / "minilm-mlm"),
        limit=limit,
    )
    data = SHARED / "data" / DATA[name]
    result = audit(str(models / f"minilm-{name}"), str(data), db=database, options=options)
    return open_store(database), result.run
