"""What can be told of a dataset without comparing anything: classes, texts, metadata columns."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import regex

from saliency_core.jsonable import as_number
from saliency_core.progress import Progress, silent
from saliency_core.quality.drift import whole
from saliency_core.quality.scripts import letters_by_script
from saliency_core.stats import auc, cross_table
from saliency_core.store import Run
from saliency_core.store.query.terms import TEXT_PROBLEMS

LONG_TIMES = 10
"""A text is very long from this many times the median length on, and from `LONG_LEAST`."""
LONG_LEAST = 2_000
OTHER_SCRIPT = 0.25
"""Part of a text's letters in a second script from which it counts as mixed."""
MIXED_LETTERS = 8
"""Letters of the second script a mixed text has at least."""
MINIMUM_SUPPORT = 50
"""Labelled examples that have a value, for a metadata column to be looked at."""
SEPARATES = 0.8
"""How well an identifier must tell one label from the rest (AUC) to be named."""
EXPLAINS = 0.2
"""Part of the wrong guesses a metadata column must save to be named."""
SAMPLED = 20_000
"""Values of an identifier that are sorted at most."""
ID_DISTINCT = 0.9
"""Part of distinct values from which a column is an identifier."""

# UTF-8 that was read as Windows-1252 or Latin-1: a lead byte and what follows it.
_MOJIBAKE = re.compile(r"[ÂÃÐÑ][\x80-\xbf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]|â€|ï»¿")
_HTML = re.compile(
    r"</?[a-z][a-z0-9]*(?:\s[^<>]{0,300})?/?>|&(?:[a-z]{2,8}|#\d{2,5}|#x[0-9a-f]{2,5});"
    r"|(?<![\w&])#\d{2,4};|\b(?:quot|amp|nbsp|lt|gt);",
    re.IGNORECASE,
)
_ESCAPES = re.compile(r"\\u[0-9a-fA-F]{4}|\\x[0-9a-fA-F]{2}|\\[nrt](?![a-z])|\\\"")
# One or two Cyrillic letters that look like Latin ones, in a word of Latin letters.
_ALIKE = (
    "[\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456"
    "\u0410\u0412\u0415\u041a\u041c\u041d\u041e\u0420\u0421\u0422\u0423\u0425]"
)
_LOOKALIKE = regex.compile(
    rf"(?:(?<!\p{{L}}){_ALIKE}{{1,2}}\p{{Latin}}{{2,}}|\p{{Latin}}{_ALIKE}{{1,2}}\p{{Latin}}+)(?!\p{{Cyrillic}})"
)


@dataclass(frozen=True)
class MetadataFact:
    """A metadata column that tells the label."""

    column: str
    kind: str
    """`identifier`, whose order goes with a label, or `gives it away`."""
    label: str | None
    """The label an identifier separates best."""
    strength: float
    """AUC of an identifier; else the part of wrong guesses that knowing the value saves."""


def problems_of(text: str) -> set[str]:
    """Return which of `TEXT_PROBLEMS` a text has by itself."""
    words = text.split(None, 2)
    if not words:
        return {"empty"}
    has = {
        "one_word": len(words) == 1,
        "replacement": "\ufffd" in text,
        "html": ("<" in text or ";" in text) and _HTML.search(text),
        "escapes": "\\" in text and _ESCAPES.search(text),
        "mojibake": not text.isascii() and _MOJIBAKE.search(text),
        "mixed_scripts": not text.isascii() and _is_mixed(text),
    }
    return {problem for problem, found in has.items() if found}


def _is_mixed(text: str) -> bool:
    """Return whether words mix letters that look alike, or a second script has its part."""
    if _LOOKALIKE.search(text):
        return True
    letters = sorted(letters_by_script(text).values(), reverse=True)
    return (
        len(letters) > 1
        and letters[1] >= MIXED_LETTERS
        and letters[1] / sum(letters) >= OTHER_SCRIPT
    )


def text_problems(run: Run, progress: Progress = silent) -> np.ndarray:
    """Return (example,) uint8 by rising position: the sum of 2**n over its `TEXT_PROBLEMS`."""
    bit = {name: 1 << place for place, name in enumerate(TEXT_PROBLEMS)}
    index = run.columns
    found = np.zeros(len(index), np.uint8)
    lengths = np.zeros(len(found), np.int64)
    done = 0
    for rows, sides in index.batches(
        "SELECT e.position, t.text, t.pair FROM examples e JOIN texts t USING (text_id)"
        " WHERE e.run = ?"
    ):
        texts = list(map(whole, *sides))
        found[rows] = [sum(bit[name] for name in problems_of(text)) for text in texts]
        lengths[rows] = list(map(len, texts))
        done += len(texts)
        progress("checking texts", done, len(found))
    limit = max(LONG_LEAST, LONG_TIMES * float(np.median(lengths))) if len(lengths) else 0
    found[lengths >= limit] |= bit["very_long"] if limit else 0
    return found


def metadata_facts(run: Run) -> list[MetadataFact]:
    """Return the metadata columns that tell the label, the strongest first."""
    gold = run.column("gold").astype(np.int64)
    found = []
    columns = {name: run.metadata_codes(name) for name in run.metadata_columns()}
    if "id" in run.dataset.columns:
        columns[run.dataset.columns["id"]] = _ids(run)
    for column, (texts, codes) in columns.items():
        known = (gold >= 0) & (codes > 0)
        if np.count_nonzero(known) < MINIMUM_SUPPORT:
            continue
        distinct = len(np.unique(codes[known]))
        if distinct >= ID_DISTINCT * np.count_nonzero(known):
            fact = _identifier(column, texts, codes[known], gold[known], run.label_names)
        else:
            saved = _saved_guesses(codes[known], gold[known])
            fact = MetadataFact(column, "gives it away", None, saved) if saved >= EXPLAINS else None
        if fact is not None:
            found.append(fact)
    return sorted(found, key=lambda fact: -fact.strength)


def _ids(run: Run) -> tuple[list[str], np.ndarray]:
    """Return the ids of the examples as `Run.metadata_codes` returns a column."""
    index = run.columns
    texts, codes = [""], np.zeros(len(index), np.int64)
    for rows, (ids,) in index.batches("SELECT position, id FROM examples WHERE run = ?"):
        codes[rows] = len(texts) + np.arange(len(ids))
        texts += ids
    return texts, codes


def _identifier(
    column: str, texts: list[str], codes: np.ndarray, gold: np.ndarray, names: list[str]
) -> MetadataFact | None:
    """Return how well the order of an identifier's values separates a label from the rest."""
    from scipy import stats

    some = np.random.default_rng(0).permutation(len(codes))[:SAMPLED]
    codes, gold = codes[some], gold[some]
    values = np.array(texts, object)[codes]
    numbers = list(map(as_number, values))
    if None in numbers:
        # As file systems and people sort names: digits by their value.
        natural = [_natural(value) for value in values]
        order = sorted(range(len(values)), key=natural.__getitem__)
        ranks = np.argsort(order) + 1
    else:
        ranks = stats.rankdata(np.array(numbers, float))
    best, label = 0.5, None
    for place, name in enumerate(names):
        own = gold == place
        if min(own.sum(), (~own).sum()) < 10:
            continue
        above = auc(ranks, own)
        if max(above, 1 - above) > best:
            best, label = max(above, 1 - above), name
    return MetadataFact(column, "identifier", label, best) if best >= SEPARATES else None


def _natural(text: str) -> list[tuple[int, float, str]]:
    """Return what sorts a name by its texts and numbers."""
    parts = re.split(r"(\d{1,15})", text)
    return [(1, float(part), "") if part.isdigit() else (0, 0.0, part) for part in parts if part]


def _saved_guesses(codes: np.ndarray, gold: np.ndarray) -> float:
    """Return the part of wrong guesses that knowing the value saves (Goodman and Kruskal's lambda).

    Every example is guessed from the others that have its value, so that a value of one example
    saves nothing.
    """
    values, value = np.unique(codes, return_inverse=True)
    table = cross_table(value, gold, (len(values), int(gold.max()) + 1))
    # Without its own label: a label is guessed right where it still leads the others.
    own = table[value, gold] - 1
    others = table[value].copy()
    others[np.arange(len(gold)), gold] = -1
    right = np.mean((own > 0) & (own >= others.max(1)))
    base = np.bincount(gold).max() / len(gold)
    return float(max(right - base, 0) / (1 - base)) if base < 1 else 0.0
