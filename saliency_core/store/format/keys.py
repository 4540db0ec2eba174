"""What decides whether something is already computed: one function, nothing by name."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from saliency_core.records import METHOD_VERSION, DatasetInfo, Example, ModelInfo, RunSettings

DIGEST_BYTES = 16
"""Kept bytes of a sha256: no two texts of a file collide by chance below 2**64 texts."""


def _digest(*parts: object) -> bytes:
    """Return the sha256 of parts, each kept apart from its neighbours by JSON quoting."""
    text = json.dumps(parts, ensure_ascii=True, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).digest()


def text_digest(example: Example) -> bytes:
    """Return the digest of a text and its pair, exactly as written."""
    return _digest(example.text, example.pair)[:DIGEST_BYTES]


def content_key(
    model: ModelInfo, settings: RunSettings, text: bytes = b"", gold: int | None = None
) -> str:
    """Return the key of one result: equal keys have equal stored numbers.

    Args:
        model: By its digests; names and places take no part, so a renamed folder hits.
        settings: Everything that changes a number; the label map only changes `gold`.
        text: `text_digest` of the example; empty for the key that all texts of a run share.
        gold: Index of the gold label; takes part only where the target depends on it.
    """
    return _digest(
        METHOD_VERSION,
        model.model_digest,
        model.tokenizer_digest,
        model.lm_head_digest,
        model.task,
        model.reference,
        model.config_digest,
        settings.target,
        settings.rule,
        settings.steps,
        settings.max_length,
        settings.long_text,
        settings.dtype,
        text.hex(),
        gold if settings.target in ("gold", "contrast") else None,
    ).hex()


def run_key(dataset: DatasetInfo, model: ModelInfo, settings: RunSettings) -> str:
    """Return the key of a run: what is audited, read by which columns, and how labels are named.

    What the dataset holds takes no part, so that a file that grows stays one run.
    """
    return key_of_run(
        content_key(model, settings), asdict(dataset), model.label_names, settings.label_map
    )


def key_of_run(
    content: str,
    dataset: Mapping[str, Any],
    label_names: Sequence[str],
    label_map: Mapping[str, str],
) -> str:
    """Return the key of a run from what its file says of it."""
    columns = dataset["columns"]
    return _digest(
        content,
        dataset.get("identity") or dataset["source"],
        [dataset.get(name) for name in ("split", "config", "revision")],
        [columns.get(role) for role in ("text", "pair", "label")],
        list(label_names),
        dict(label_map),
    ).hex()
