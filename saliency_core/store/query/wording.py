"""A filter -> words that somebody reads who never saw the filter language."""

from __future__ import annotations

from saliency_core.errors import UserError
from saliency_core.store.query.parser import parse
from saliency_core.store.query.tree import And, Not, Or, Term, Tree, text_of

FLAGS = {
    "wrong": ("the prediction is wrong", "the prediction is not wrong"),
    "right": ("the prediction is right", "the prediction is not right"),
    "truncated": ("the text was truncated", "the text was not truncated"),
    "failed": ("there is no prediction", "there is a prediction"),
    "reviewed": ("the example is reviewed", "the example is not reviewed"),
    "relabelled": ("the example is relabelled", "the example is not relabelled"),
    "note": ("the example has a note", "the example has no note"),
    "label_issue": ("the label may be wrong", "the label seems right"),
    "duplicate": ("the text is a duplicate", "the text is no duplicate"),
    "duplicate_conflict": (
        "a duplicate of the text has another label",
        "no duplicate of the text has another label",
    ),
    "in_train": ("the text is in the training data", "the text is not in the training data"),
}
"""A flag, and its contrary, in words."""
IS = {"gold": "the label", "predicted": "the prediction", "id": "the id"}
HAS = {
    "tag": ("the example has the tag", "the example does not have the tag"),
    "slice": ("the example is in the slice", "the example is not in the slice"),
    "verdict": ("the text contains a word judged", "the text contains no word judged"),
    "problem": ("the text has the problem", "the text does not have the problem"),
}
COMPARED = {">": "above", "<": "below", ">=": "at least", "<=": "at most", "!=": "not"}


def in_words(where: str) -> str:
    """Return what a filter says, “channel is voicemail”; one that can't be read as it is."""
    try:
        return _said(parse(where))
    except UserError:
        return where


def _said(tree: Tree, negated: bool = False) -> str:
    if isinstance(tree, Term):
        return _term(tree, negated)
    if isinstance(tree, Not):
        return _said(tree.part, not negated)
    joint = " and " if isinstance(tree, And) != negated else " or "
    parts = [
        f"({_said(part, negated)})" if isinstance(part, And | Or) else _said(part, negated)
        for part in tree.parts
    ]
    return joint.join(parts)


def _term(term: Term, negated: bool) -> str:
    values = [value.text for value in term.values]
    quoted = " or ".join(f"“{value}”" for value in values)
    no = "not " * negated
    if term.field in FLAGS:
        return FLAGS[term.field][negated]
    if term.field in ("word", "phrase"):
        return f"the text {'does not contain' if negated else 'contains'} {quoted}"
    if term.field in HAS:
        return f"{HAS[term.field][negated]} {quoted}"
    if term.field == "salient":
        words = " or ".join(f"“{value.rpartition('@')[0] or value}”" for value in values)
        return f"{words} is {no}among the three strongest words"
    is_metadata = term.field.startswith("meta.")
    what = f"“{term.field[5:]}”" if is_metadata else IS.get(term.field, term.field)
    if term.operator in COMPARED:
        unit = " tokens" if term.field == "length" else ""
        return f"{what} is {no}{COMPARED[term.operator]} {' or '.join(values)}{unit}"
    if term.field in IS or is_metadata:
        return f"{what} is {no}{' or '.join(values)}"
    return text_of(Not(term) if negated else term)
