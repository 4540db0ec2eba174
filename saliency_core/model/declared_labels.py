"""The labels that a checkpoint's configuration names, read without loading the model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def declared_labels(model: str) -> tuple[str, ...]:
    """Return the classes of a single-label classifier in the order of its logits.

    Nothing where the configuration names none, is of another task, or lies neither in a folder of
    this machine nor in the cache of the hub: then only loading tells.
    """
    config = _config(model)
    names = config.get("id2label")
    is_other = config.get("problem_type") not in (None, "single_label_classification")
    if is_other or not isinstance(names, dict):
        return ()
    try:
        numbered = {int(number): str(name).strip() for number, name in names.items()}
    except ValueError:
        return ()
    labels = tuple(numbered.get(number, "") for number in range(len(numbered)))
    return labels if len(labels) > 1 and all(labels) and len(set(labels)) == len(labels) else ()


def _config(model: str) -> dict[str, Any]:
    path = Path(model).expanduser() / "config.json"
    try:
        if not path.is_file():
            from huggingface_hub import try_to_load_from_cache

            cached = try_to_load_from_cache(model, "config.json")
            path = Path(cached) if isinstance(cached, str) else path
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):  # What the hub has against a name is a ValueError too.
        return {}
    return found if isinstance(found, dict) else {}
