"""The vocabulary of the filter language: names of terms, what they take, how values are quoted."""

from __future__ import annotations

import re

QUALITY_FLAGS = ("label_issue", "duplicate", "duplicate_conflict", "in_train")
"""What `data-quality` found out about examples."""
REVIEW_FLAGS = ("reviewed", "relabelled", "note")
"""What analysts said of examples."""
FLAGS = ("wrong", "right", "truncated", "failed", *REVIEW_FLAGS, *QUALITY_FLAGS)
IN_RUN = ("right_in", "wrong_in")
"""What another run predicted."""
NAMED = (
    *("gold", "predicted", "word", "salient", "verdict", "slice", "id", "tag", "problem"),
    *IN_RUN,
)
NUMBERS = ("confidence", "margin", "length", "coherence", "label_quality")
TEXTS = ("phrase", "regex")
"""What is written as `"a phrase"` and `/a pattern/`; a phrase is read as `phrase:` too."""
TEXT_PROBLEMS = "empty one_word very_long replacement mojibake html escapes mixed_scripts".split()
"""What `data-quality` says of single texts, in the order of their bits in the file."""
VERDICTS = ("spurious", "genuine", "unsure")
CHOICES = {"verdict": ("verdict", VERDICTS), "problem": ("problem of texts", TEXT_PROBLEMS)}
"""Name -> what its values are, and which there are."""
META = "meta."
ALIASES = {
    "pred": "predicted",
    "prediction": "predicted",
    "probability": "confidence",
    "text": "phrase",
    "words": "word",
}
"""Other names that people type; a metadata column of such a name comes first."""
OPERATORS = ("!=", ">=", "<=", "==", ">", "<", ":", "=", "≥", "≤", "≠")
SPELLINGS = {"==": "=", "≥": ">=", "≤": "<=", "≠": "!="}
ORDER = (">", "<", ">=", "<=")

TABLE = (
    ("wrong, right", "the prediction differs from the label, or matches it"),
    ("wrong_in:1, right_in:1", "the same, in run 1 on the same dataset"),
    ("gold:LABEL", "the label in the data; also label:LABEL"),
    ("predicted:A,B", "the predicted class is one of these"),
    ("confidence>0.9, margin<0.1", "probability of the predicted class; its lead over the next"),
    ("length>=50", "length in tokens"),
    ("truncated, failed", "the model read the text only in part, or not at all"),
    ("kindly, word:kindly", "the text contains the word"),
    ("salient:kindly, salient:kindly@5", "among the three most salient words (at layer 5)"),
    ('"not good", phrase:"not good"', "the text contains these words in a row"),
    ("/refund(ed)?/, /refund/i", "the text matches the regular expression (i: ignore case)"),
    ("coherence<0", "coherence at the recommended layer"),
    ("meta.region:EU, meta.year>=2024", "a metadata column; also region:EU, year>=2024"),
    ("verdict:spurious", "contains a word with this verdict"),
    ("slice:NAME", "is in the saved slice of this name"),
    ("id:17", "the example with this id"),
    ("reviewed, relabelled, note", "has a decision, a new label, a note"),
    ("tag:NAME", "has this tag"),
    ("label_issue, label_quality<0.2", "the label may be wrong; how plausible it is"),
    (
        "duplicate, duplicate_conflict",
        "identical or nearly identical to another text; and labelled differently",
    ),
    ("in_train", "is in the training data"),
    ("problem:html", "has this problem: empty, one_word, very_long, mojibake, escapes or another"),
)
"""Every term, and what it says of an example."""
JOINS = (
    ("A B, A and B", "both are true; also A & B"),
    ("A OR B, A | B", "at least one is true; AND takes precedence"),
    ("(A OR B) C", "brackets group terms"),
    ("-A, not A, !A", "A is not true; also gold!=LABEL"),
    ("gold:A,B", "commas are alternatives"),
    ('"two words"', 'quotes keep spaces, commas and brackets: meta.city:"New York"'),
)
"""How terms are joined."""

KNOWN = re.compile(
    rf"\s*[-!]?(?:({'|'.join((*FLAGS, *NAMED, *NUMBERS, *ALIASES, 'label', 'phrase'))})"
    r"|meta\.[^\s:=<>]+)\s*(:|!=|[<>=])"
)
"""How a term that names what it is about begins."""
_PLAIN = re.compile(r"[^\s\"',\\()|&<>=!:][^\s\",\\()|&]*")
_PLAIN_NAME = re.compile(r"[\w.][\w.\-]*")


def quote(value: str) -> str:
    """Return a value as it must stand in a filter."""
    is_plain = _PLAIN.fullmatch(value) and not KNOWN.match(value)
    return value if is_plain else quote_phrase(value)


def quote_phrase(value: str) -> str:
    """Return a phrase as it must stand in a filter."""
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def quote_name(name: str) -> str:
    """Return the name of a metadata column as it must stand before an operator."""
    return name if _PLAIN_NAME.fullmatch(name) else quote_phrase(name)


def metadata_term(column: str, value: str) -> str:
    """Return the term of the examples that have a value in a metadata column."""
    return f"{META}{quote_name(column)}:{quote(value)}"
