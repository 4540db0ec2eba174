"""What an example has: its words with their saliency, ends, signs, length, metadata."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import regex

from saliency_core.store import Run
from saliency_core.store.query.terms import metadata_term, quote
from saliency_core.words import is_spoken, named_spans

PAGE = 5000
"""Examples whose texts are held at once."""
MAXIMUM_VALUES = 50
"""Values a metadata column may have: ids and free text are no features."""

WORD, TEXT, LENGTH, METADATA = "word", "text", "length", "metadata"

WORD_TESTS = {
    "has a digit": regex.compile(r"\p{N}"),
    "has letters of another script than Latin": regex.compile(r"(?!\p{Latin})\p{L}"),
}
"""Features of a text that some of its words carry."""
TEXT_TESTS = {
    "has a URL": regex.compile(r"(?:https?://|www\.)\S+"),
    "has a word in upper case": regex.compile(r"\b\p{Lu}{2,}\b"),
    "has a run of punctuation": regex.compile(r"[!?.]{2,}"),
}
"""Features of a text that its words carry together: those a match touches."""
BEGINS, ENDS = "begins with “{}”", "ends with “{}”"


@dataclass(frozen=True)
class Features:
    """Which examples have which features, as pairs."""

    positions: np.ndarray
    """(example,) positions in the dataset, rising."""
    example: np.ndarray
    """(pair,) int64 row into `positions`."""
    feature: np.ndarray
    """(pair,) int64 index into `names`."""
    score: np.ndarray
    """(pair,) signed saliency in logits; NaN where no word carries the feature."""
    share: np.ndarray
    """(pair,) share of the words that carry it, an occurrence where many words may (the tests)."""
    top3: np.ndarray
    """(pair,) 1 where one of them is among the three most salient words."""
    names: list[str]
    kinds: list[str]
    """word, text, length or metadata."""
    where: list[str]
    """A slice of the examples that have it; empty where no term of the language says it."""

    def holding(self, feature: int) -> np.ndarray:
        """Return the rows that have a feature."""
        return self.example[self.feature == feature]


def features_of(run: Run, layer: int) -> Features:
    """Return every feature of every example, words with their saliency at a layer."""
    positions = run.column("position")
    parts = [
        *_carried(run, layer, positions),
        *_matched(run, layer, positions),
        *_uncarried(run, positions),
    ]
    shifts = itertools.accumulate((len(part.names) for part in parts), initial=0)
    return Features(
        positions,
        np.concatenate([part.example for part in parts]),
        np.concatenate([part.feature + shift for part, shift in zip(parts, shifts, strict=False)]),
        np.concatenate([part.score for part in parts]),
        np.concatenate([part.share for part in parts]),
        np.concatenate([part.top3 for part in parts]),
        [name for part in parts for name in part.names],
        [kind for part in parts for kind in part.kinds],
        [where for part in parts for where in part.where],
    )


def carriers(
    name: str, kind: str, texts: Sequence[str], words: Sequence[dict[str, Any]]
) -> list[int]:
    """Return which words of `Store.top_words` carry a feature; none for lengths and metadata."""
    lower = [word["word"].lower() for word in words]
    if kind == WORD:
        return [place for place, word in enumerate(lower) if word == name]
    if name in WORD_TESTS:
        return [place for place, word in enumerate(lower) if WORD_TESTS[name].search(word)]
    if name in TEXT_TESTS:
        return _touched(_matches(name, texts), words)
    spoken = [place for place, word in enumerate(lower) if is_spoken(word)]
    if spoken and name == BEGINS.format(lower[spoken[0]]):
        return spoken[:1]
    if spoken and name == ENDS.format(lower[spoken[-1]]):
        return spoken[-1:]
    return []


_Match = tuple[int, int, int]
"""Side, start and end of a match in a text."""


def _matches(name: str, texts: Sequence[str]) -> list[_Match]:
    """Return where a text and its pair pass one of `TEXT_TESTS`."""
    return [
        (side, *found.span())
        for side, text in enumerate(texts)
        for found in TEXT_TESTS[name].finditer(text)
    ]


def _touched(matches: Sequence[_Match], words: Sequence[dict[str, Any]]) -> list[int]:
    """Return the words that a match touches."""
    return [
        place
        for place, word in enumerate(words)
        if any(
            side == word["side"] and word["start"] < end and start < word["end"]
            for side, start, end in matches
        )
    ]


def features_in(texts: Sequence[str]) -> set[tuple[str, str]]:
    """Return kind and name of every feature that the text of an example, and its pair, has."""
    words = [name for text in texts for name, _, _ in named_spans(text)]
    found = {(WORD, word) for word in words}
    spoken = [word for word in words if is_spoken(word)]
    if spoken:
        found |= {(TEXT, BEGINS.format(spoken[0])), (TEXT, ENDS.format(spoken[-1]))}
    found |= {(TEXT, name) for name, test in WORD_TESTS.items() if any(map(test.search, words))}
    return found | {(TEXT, name) for name in TEXT_TESTS if _matches(name, texts)}


def _carried(run: Run, layer: int, positions: np.ndarray) -> Iterator[Features]:
    """Yield the features that words carry: the words, first and last ones, `WORD_TESTS`."""
    found = run.filter().occurrences(layer)
    words = found.vocabulary.tolist()
    example = np.searchsorted(positions, found.example).astype(np.int64)

    def part(kind: str, names: list[str], chosen: Any, feature: np.ndarray) -> Features:
        """Sum score and share of each distinct pair of example and feature; any top3 counts."""
        size = max(len(names), 1)
        pairs, place = np.unique(example[chosen] * size + feature, return_inverse=True)
        score, share, top3 = (
            np.bincount(place, values[chosen], len(pairs))
            for values in (found.score, found.share, found.top3)
        )
        is_top = (top3 > 0).astype(float)
        where = [f"word:{quote(name)}" if kind == WORD else "" for name in names]
        values = (*np.divmod(pairs, size), score, share, is_top)
        return Features(positions, *values, names, [kind] * len(names), where)

    yield part(WORD, words, slice(None), found.word)
    spoken = np.array([is_spoken(word) for word in words], bool)
    heard = np.flatnonzero(spoken[found.word])
    edges = np.flatnonzero(np.diff(example[heard])) + 1
    ends = [] if not len(heard) else [np.r_[0, edges], np.r_[edges - 1, len(heard) - 1]]
    for form, places in zip((BEGINS, ENDS), ends, strict=False):
        chosen = heard[places]
        ids, code = np.unique(found.word[chosen], return_inverse=True)
        names = [form.format(words[word]) for word in ids]
        yield part(TEXT, names, chosen, code)
    for name, test in WORD_TESTS.items():
        passing = np.array([bool(test.search(word)) for word in words], bool)
        chosen = np.flatnonzero(passing[found.word])
        made = part(TEXT, [name], chosen, np.zeros(len(chosen), np.int64))
        count = np.bincount(example[chosen], minlength=len(positions))[made.example]
        yield replace(made, score=made.score / count, share=made.share / count)


def _matched(run: Run, layer: int, positions: np.ndarray) -> Iterator[Features]:
    """Yield the features of `TEXT_TESTS`."""
    found: dict[str, list[tuple[int, float, float, bool]]] = {name: [] for name in TEXT_TESTS}
    for start in range(0, len(positions), PAGE):
        page = positions[start : start + PAGE].tolist()
        texts = _texts(run, page)
        matches = {
            (row, name): _matches(name, sides) for row, sides in enumerate(texts) for name in found
        }
        matches = {key: places for key, places in matches.items() if places}
        rows = sorted({row for row, _ in matches})
        words = run.top_words([page[row] for row in rows], layer)
        words_of = dict(zip(rows, words, strict=True))
        for (row, name), places in matches.items():
            touched = _touched(places, words_of[row])
            # Text behind what the model has seen has no words: the feature is not there.
            if touched:
                found[name].append((start + row, *_together(touched, words_of[row], len(places))))
    for name, found_rows in found.items():
        example, score, share, top3 = np.array(found_rows, float).reshape(-1, 4).T
        values = (np.zeros(len(found_rows), np.int64), score, share, top3)
        yield Features(positions, example.astype(np.int64), *values, [name], [TEXT], [""])


def _texts(run: Run, positions: Sequence[int]) -> list[list[str]]:
    """Return the text of each example, and its pair where it has one."""
    page = run.examples_at(positions)
    sides = zip(page["text"], page["pair"], strict=True)
    return [[side for side in pair if isinstance(side, str)] for pair in sides]


def _together(
    places: Sequence[int], words: Sequence[dict[str, Any]], matches: int
) -> tuple[float, float, bool]:
    """Return score and share per match of some words, and whether one is among the top three."""
    score = sum(words[place]["score"] for place in places)
    share = sum(words[place]["share"] for place in places)
    highest = sorted(range(len(words)), key=lambda place: -words[place]["share"])[:3]
    is_top = any(place in highest and words[place]["share"] > 0 for place in places)
    return score / matches, share / matches, is_top


def _uncarried(run: Run, positions: np.ndarray) -> Iterator[Features]:
    """Yield the features that no word carries: they have association and errors, no saliency."""
    metadata = (
        (METADATA, f"{column} = {value}", where, members)
        for column, value, where, members in metadata_groups(run)
    )
    for kind, name, where, members in itertools.chain(_lengths(run), metadata):
        rows = np.flatnonzero(members)
        none = np.full(len(rows), np.nan)
        values = (np.zeros(len(rows), np.int64), none, none, none)
        yield Features(positions, rows, *values, [name], [kind], [where])


def _lengths(run: Run) -> Iterator[tuple[str, str, str, np.ndarray]]:
    """Yield kind, name, filter and (example,) members of length bands and truncation."""
    length = run.column("length")
    quartiles = np.quantile(length, [0.25, 0.5, 0.75]) if len(length) else np.zeros(0)
    edges: list[int | None] = np.unique(quartiles.astype(int)).tolist()
    for low, high in itertools.pairwise([None, *edges, None]):
        terms = [f"length>={low}"] * (low is not None) + [f"length<{high}"] * (high is not None)
        inside = (length >= (low or 0)) & (length < (np.inf if high is None else high))
        yield LENGTH, " ".join(terms) or "any length", " ".join(terms), inside
    yield LENGTH, "truncated", "truncated", run.column("truncated") == 1


def metadata_groups(run: Run) -> Iterator[tuple[str, str, str, np.ndarray]]:
    """Yield column, value, filter and (example,) members of the values of metadata columns."""
    for column in run.metadata_columns():
        texts, codes = run.metadata_codes(column)
        if not 1 < len(set(texts) - {""}) <= MAXIMUM_VALUES:
            continue
        for code, value in enumerate(texts):
            if value:
                yield column, value, metadata_term(column, value), codes == code
