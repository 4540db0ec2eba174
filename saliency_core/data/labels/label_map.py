"""The text of `--label-map`: pairs of dataset label and model label, read and written."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping

from saliency_core.errors import UserError

NO_LABEL = ""
"""What a dataset label is mapped to that means "no label"."""


def parse_label_map(text: str | None) -> dict[str, str]:
    """Return dataset label -> model label; "" for a label that means "no label".

    Read are "0=negative,1=positive", where "n/a=" means that n/a is no label, and for labels with
    a comma or an equals sign a JSON object: {"Bad, truly": "negative"}. Quotes that were copied
    along are taken off.

    Raises:
        UserError: the text is neither.
    """
    text = (text or "").strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" and text.count(text[0]) == 2:
        text = text[1:-1].strip()
    if not text:
        return {}
    pairs = _json_pairs(text) if text.startswith("{") else None
    if pairs is None:
        pairs = _plain_pairs(text)
    old = [label for label, _ in pairs]
    twice = next((label for label, new in pairs if dict(pairs)[label] != new), None)
    if twice is not None:
        raise UserError(f"--label-map: {twice!r} is given {old.count(twice)} times.")
    return dict(pairs)


def _json_pairs(text: str) -> list[tuple[str, str]] | None:
    """Return the pairs of a JSON object of texts, None where the text is none."""
    try:
        pairs = json.loads(text, object_pairs_hook=list)
    except json.JSONDecodeError:
        return None
    if not isinstance(pairs, list) or not all(
        new is None or (isinstance(new, (str, int)) and not isinstance(new, bool))
        for _, new in pairs
    ):
        return None
    return [(old, NO_LABEL if new is None else str(new)) for old, new in pairs]


def _plain_pairs(text: str) -> list[tuple[str, str]]:
    pairs = []
    parts = text.split(",")
    for part in parts:
        old, sign, new = part.partition("=")
        if not sign or not old.strip() or "=" in new:
            hint = (
                " Write labels that hold a comma or an equals sign as JSON: "
                """'{"DATASET_LABEL": "MODEL_LABEL"}'."""
            )
            raise UserError(
                f"--label-map: {part.strip()!r} is not of the form DATASET_LABEL=MODEL_LABEL."
                f"{hint if len(parts) > 1 or sign else ''}"
            )
        pairs.append((old.strip(), new.strip()))
    return pairs


def label_map_option(pairs: Mapping[str, str]) -> str:
    """Return the option as it is pasted into a shell: what `parse_label_map` reads as `pairs`."""
    text = ",".join(f"{old}={new}" for old, new in pairs.items())
    if not (text.isprintable() and _reads_as(text, pairs)):
        text = json.dumps(dict(pairs), ensure_ascii=False)
        if not text.isprintable():
            text = json.dumps(dict(pairs))
    # Within double quotes a shell still reads these.
    quoted = shlex.quote(text) if set(text) & set('"$`\\!') else f'"{text}"'
    return f"--label-map {quoted}"


def _reads_as(text: str, pairs: Mapping[str, str]) -> bool:
    try:
        return parse_label_map(text) == dict(pairs)
    except UserError:
        return False
