"""Which class of the model a label of the dataset is: by map, by name or by id."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from saliency_core.data.labels.label_map import NO_LABEL
from saliency_core.errors import UserError, cut

SHOWN = 12
"""Labels shown in a sentence."""
SHOWN_CHARACTERS = 60
LEFT_OUT = frozenset(
    "- -- -1 -100 . ? n/a na nan nil none null <na> unknown unlabeled unlabelled".split()
) | {"no label", "not available"}
"""What people write where there is no label; a guess that is offered, never made."""


class Names:
    """What a text says of the model's labels; a text that fits several of them says nothing."""

    def __init__(self, model_labels: Sequence[str]) -> None:
        """Take the model's labels in the order of its logits."""
        self.labels = list(model_labels)
        self.exact = _once(self.labels)
        self.folded = _once([_folded(label) for label in self.labels])

    def named(self, text: str) -> int | None:
        """Return the class of this name: the exact one, else the only one but for its case."""
        for spelled in (text, _unwrapped(text)):
            if spelled in self.labels:
                return self.exact.get(spelled)
            if (found := self.folded.get(_folded(spelled))) is not None:
                return found
        return None

    def id(self, text: str) -> int | None:
        """Return the class of this id, one-hot row or list of one of them."""
        hot = _one_hot(text, len(self.labels))
        found = label_id(_unwrapped(text)) if hot is None else hot
        return found if found is not None and found < len(self.labels) else None

    def target(self, text: str | None) -> int | None:
        """Return the class that the right side of a pair names; None for no label.

        Raises:
            UserError: it names none, or several.
        """
        text = (text or NO_LABEL).strip()
        if text == NO_LABEL:
            return None
        found = self.named(text)
        if found is None and re.fullmatch(r"(?:LABEL_)?\d+", text, re.IGNORECASE):
            found = self.id(text)
        if found is None:
            count = sum(_folded(label) == _folded(text) for label in self.labels)
            several = f"{count} labels like {text!r}; name it by number, 0 for the first"
            raise UserError(
                f"--label-map: the model has {several if count else f'no label {text!r}'}; "
                f"its labels are {listed(self.labels)}."
                + " Nothing behind the sign means no label."
                * is_left_out(text)
            )
        return found

    def spelling(self, index: int) -> str | None:
        """Return what `target` reads as a class; None where nothing does."""
        for text in (self.labels[index], str(index), f"LABEL_{index}"):
            try:
                if self.target(text) == index:
                    return text
            except UserError:
                continue
        return None


def _once(names: Sequence[str]) -> dict[str, int]:
    counts = Counter(names)
    return {name: index for index, name in enumerate(names) if counts[name] == 1}


def _folded(text: str) -> str:
    """Return a name without its case, spare white space and way to write accents; "2" for "2.0"."""
    name = " ".join(unicodedata.normalize("NFC", text).casefold().split())
    number = re.fullmatch(r"([+-]?\d+)\.0*", name)
    return number.group(1) if number else name


def matched(
    labels: Sequence[str], names: Names, label_map: Mapping[str, str | None]
) -> tuple[dict[str, int | None], list[str]]:
    """Return dataset label -> class, None for no label; and the labels of which nothing is known.

    Names and ids are never mixed: in a set of which some are names of the model, a number is no
    id unless it is the id of its name.
    """
    targets = {old: names.target(new) for old, new in label_map.items()}
    keys = _keys(labels, label_map)
    known = {label: targets[keys[label]] for label in labels if label in keys}
    rest = [label for label in dict.fromkeys(labels) if label not in known]
    named = {label: index for label in rest if (index := names.named(label)) is not None}
    ids = {label: index for label in rest if (index := names.id(label)) is not None}
    agree = all(ids.get(label, index) == index for label, index in named.items())
    if len(named) == len(rest):
        found = named
    elif len(ids) == len(rest):
        found = ids if agree else {}
    elif named:
        found = named
    else:
        in_order = len(rest) == len(names.labels) and all(map(is_number, rest))  # -1 and 1
        left_out = all(label in ids or is_left_out(label) for label in rest)
        found = ids if left_out and not in_order else {}
    return {**known, **found}, [label for label in rest if label not in found]


def _keys(labels: Sequence[str], label_map: Mapping[str, str | None]) -> dict[str, str]:
    """Return dataset label -> key of the map: the same text, else the same but for case or ".0"."""
    held = set(labels)
    loose = {_folded(old): old for old in label_map if old not in held}
    found = {}
    for label in labels:
        key = label if label in label_map else loose.get(_folded(label))
        if key is not None:
            found[label] = key
    return found


def unused_keys(labels: Iterable[str], label_map: Mapping[str, str | None]) -> list[str]:
    """Return the keys of a label map that no label of the dataset is."""
    used = set(_keys(list(labels), label_map).values())
    return [old for old in label_map if old not in used]


def is_left_out(label: str) -> bool:
    """Return whether a label is among `LEFT_OUT`."""
    return _folded(label) in LEFT_OUT


def is_number(label: str) -> bool:
    """Return whether a label is an id or would be one but for its sign."""
    return label_id(label.removeprefix("-")) is not None


def natural(label: str) -> tuple[Any, ...]:
    """Return what sorts "-1" before "1" and "2 stars" before "10 stars"."""
    if re.fullmatch(r"[+-]?\d+(?:\.\d*)?", label):
        return (0, float(label), (), label)
    parts = re.split(r"(\d+)", label.casefold())
    keys = tuple((int(part), "") if part.isdecimal() else (0, part) for part in parts)
    return (1, 0.0, keys, label)


def label_id(label: str) -> int | None:
    """Return the id a label text stands for: "2", "2.0", "LABEL_2", "true"."""
    text = label.strip().lower()
    if text in ("true", "false"):
        return int(text == "true")
    found = re.fullmatch(r"(?:label_)?(\d+)(?:\.0*)?", text)
    return int(found.group(1)) if found else None


def _one_hot(label: str, classes: int) -> int | None:
    """Return the place of the one in a list of zeros, one a class."""
    row = [label_id(value) for value in label_set(label)] if label.startswith("[") else []
    is_hot = len(row) == classes > 1 and set(row) == {0, 1} and row.count(1) == 1
    return row.index(1) if is_hot else None


def _unwrapped(label: str) -> str:
    """Return the only item of a list of one, else the text."""
    items = label_set(label) if label.startswith("[") else []
    return items[0] if len(items) == 1 else label


# Several labels an example


def label_set(text: str, known: Iterable[str] = ()) -> list[str]:
    """Return the labels of a multi-label example.

    A JSON or Python list, else names between bars, semicolons or commas: the first of these that
    leaves only known labels, so that a name may hold one of the others; else all of them part.

    Args:
        text: of the cell.
        known: labels of the model or of a label map.
    """
    text = text.strip()
    if text[:1] in ("[", "(", "{") and text[-1:] in ("]", ")", "}"):
        return _list_items(text)
    folded = {_folded(label) for label in known}
    for separator in ("", "|", ";", ","):
        parts = _parts(text, re.escape(separator)) if separator else [text]
        if all(_folded(part) in folded for part in parts):
            return parts
    return _parts(text, r"[,;|]")


def _parts(text: str, separator: str) -> list[str]:
    parts = (part.strip(" '\"") for part in re.split(separator, text))
    return [part for part in parts if part]


_QUOTED = re.compile(r"'((?:[^'\\]|\\.)*)'|\"((?:[^\"\\]|\\.)*)\"")


def _list_items(text: str) -> list[str]:
    """Return the items of a list as JSON, Python or numpy print it."""
    try:
        items = json.loads(text)
        if isinstance(items, list):
            return [item if isinstance(item, str) else json.dumps(item) for item in items]
    except json.JSONDecodeError:
        pass
    if _QUOTED.search(text):
        items = [single or double for single, double in _QUOTED.findall(text)]
        return [re.sub(r"\\(.)", r"\1", item) for item in items]
    return _parts(text[1:-1], r"[,;|\s]+")


def listed(labels: Sequence[str]) -> str:
    """Return the first labels with commas between them."""
    shown = ", ".join(map(shortened, labels[:SHOWN]))
    return shown + (f", ... {len(labels)} in all" if len(labels) > SHOWN else "")


def shortened(label: str) -> str:
    """Return a label, cut where it is long, in quotes where it would not be seen as one."""
    label = cut(label, SHOWN_CHARACTERS)
    return label if label.isprintable() and "," not in label else repr(label)
