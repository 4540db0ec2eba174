"""Sentences of the command line as a page says them: fields of the form instead of options."""

from __future__ import annotations

import re
import shlex

from saliency_core.data.labels.label_map import parse_label_map
from saliency_core.errors import UserError

OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
CLAUSE = re.compile(r"(?<=[.;!?])\s+(?=\S)")
ADVICE = {
    "--text-column": "Choose another column for the text.",
    "--label-column": "Choose another column for the label.",
    "--pair-column": "Choose another column for the second text.",
    "--id-column": "Choose another column for the id, or none: rows are then numbered.",
    "--label-map": "Say under “Columns and labels” what the labels mean.",
    "--trust-labels": "Say under “Columns and labels” what the labels mean.",
    "--no-header": "If its first line contains no column names, switch that off under “Dataset”.",
    "--split": "Name the split under “Dataset”.",
    "--sheet": "Save the sheet you want as a separate file.",
    "--lm-head": "For a more accurate decoding, name the pretrained language model it was "
    "fine-tuned from under “New audit”.",
    "--model": "Move the model back to its folder, or audit it again.",
    "--name": "Give the data another file name.",
    "--db": "Choose another database.",
}
"""Option -> what somebody does on the page instead."""
LABEL_MAP = re.compile(r"--label-map (?P<option>\"[^\"]*\"|'(?:[^']|'\"'\"')*')")


def in_page_words(sentence: str) -> str:
    """Return a message without options of the command line: what to do on the page instead.

    Clauses that name an option go; the page's own advice takes their place, each once.
    """
    kept, advice = [], []
    for clause in CLAUSE.split(sentence):
        options = OPTION.findall(clause)
        if not options:
            kept.append(clause)
            continue
        before, colon, _ = clause.partition(": ")
        if colon and len(before.split()) > 2 and not OPTION.search(before):
            kept.append(f"{before}.")
        advice += [ADVICE[option] for option in options if option in ADVICE]
    text = " ".join([*kept, *dict.fromkeys(advice)])
    text = (
        re.sub(r";(?= [A-Z]|$)", ".", text) or "The audit could not be started with these settings."
    )
    return text[0].upper() + text[1:] if CLAUSE.split(sentence)[0] not in kept else text


def offered_label_map(sentence: str) -> dict[str, str] | None:
    """Return the label map that a message offers, None where it offers none."""
    found = LABEL_MAP.search(sentence)
    if found is None:
        return None
    try:
        return parse_label_map(shlex.split(found["option"])[0]) or None
    except (UserError, ValueError):
        return None


def is_about_order(sentence: str) -> bool:
    """Tell whether a message says that the labels are in another order than the model's."""
    return "in another order than the model's" in sentence


def called_by(sentence: str, source: str, name: str) -> str:
    """Return a message in which a file is called as people know it, not by its place here."""
    return sentence.replace(source, name) if source and name else sentence
