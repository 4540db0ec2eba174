"""Token pieces -> words on exact character spans of the original text."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import regex

from saliency_core.segmentation import LETTER, RUN, inner_boundaries

# A word: a run of a script without spaces, which its dictionary divides; letters, digits and marks
# with inner apostrophes and hyphens; else one symbol with its marks, so that every character
# outside white space belongs to exactly one word.
_OTHER = rf"[[\p{{L}}\p{{N}}\p{{M}}]--{LETTER}]"
_WORD = regex.compile(rf"(?P<run>{RUN})|{_OTHER}+(?:['’\-]{_OTHER}+)*|\X", regex.VERSION1)

# The same for the text that most texts are, several times as fast.
_ASCII_WORD = re.compile(r"[A-Za-z0-9]+(?:['\-][A-Za-z0-9]+)*|\S")

_BREAKS = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"
_INVISIBLE = regex.compile(r"[\s\p{Cc}\p{Cf}\p{Default_Ignorable_Code_Point}]*")
# White space that deleting changes a text by: all but the one space that parts two words.
_BLANK = regex.compile(rf"[{_BREAKS}]+|\t+|(?:(?<=\S) (?=\S))(*SKIP)(*FAIL)|[^\S\t{_BREAKS}]+")

LINE_BREAK, TAB, SPACE = "line break", "tab character", "white space"
CONTROL, INVISIBLE = "control character", "invisible character"
NAMES = frozenset({LINE_BREAK, TAB, SPACE, CONTROL, INVISIBLE})
"""Names of words that nobody can see; a word that can be seen holds no space."""


@dataclass(frozen=True)
class Words:
    """The words of one text or pair, and the pieces they are made of.

    A piece is a token, or, of a token that covers several words of a script without spaces, the
    part that lies in one of them.
    """

    words: tuple[str, ...]
    spans: np.ndarray
    """(word, 2) int32."""
    sides: np.ndarray
    """(word,) int8."""
    word_of_token: np.ndarray
    """(piece,) int32, rising; pieces are the tokens of `AuditedExample`."""
    token_of_piece: np.ndarray
    """(piece,) int32, rising."""
    part_of_token: np.ndarray
    """(piece,) float32: its part of the token's characters; those of a token add up to 1."""
    piece_spans: np.ndarray
    """(piece, 2) int32."""

    def shared_out(self, scores: np.ndarray) -> np.ndarray:
        """Return (..., piece) scores from (..., token) ones: each word gets its characters' part.

        The law that holds: the pieces of a token add up to the token, and the pieces of a word to
        the word, so words, pieces and tokens have the same sum.
        """
        if len(self.token_of_piece) == scores.shape[-1]:
            return scores
        return scores[..., self.token_of_piece] * self.part_of_token.astype(scores.dtype)


def words_of(texts: tuple[str, ...], spans: np.ndarray, sides: np.ndarray) -> Words:
    """Join tokens to words: tokens whose spans share a word of the text become one word.

    A token that touches several words joins them; only where a script without spaces is divided
    by its dictionary is a token shared out among the words. White space with tokens of its own is a
    word with a name (`word_name`); a token of nothing but the one space between two words, or of no
    character at all, belongs to the word behind it.

    Args:
        texts: the text, or the text and its pair.
        spans: (token, 2) int32 characters of the token's own side.
        sides: (token,) int8.
    """
    found = [_spans_and_cuts(text) for text in texts]
    token, part, spans = _pieces(texts, spans, sides, [cuts for _, cuts in found])
    snapped, seen = _snapped(spans, sides[token], [words for words, _ in found])
    blank, unseen = _snapped(spans, sides[token], [blank_spans(text) for text in texts])
    snapped[~seen] = blank[~seen]
    builder = _Builder()
    columns = (*snapped.T.tolist(), sides[token].tolist(), (seen | unseen).tolist())
    for piece in zip(*columns, strict=True):
        builder.add(*piece)
    builder.settle()
    return Words(
        tuple(word_name(texts[side][start:end]) for start, end, side in builder.words),
        np.array([word[:2] for word in builder.words], np.int32).reshape(-1, 2),
        np.array([word[2] for word in builder.words], np.int8),
        np.array(builder.word_of_token, np.int32),
        token,
        part,
        spans,
    )


class _Builder:
    """Takes pieces one after another and makes words of them."""

    def __init__(self) -> None:
        self.words: list[tuple[int, int, int]] = []  # start, end, side
        self.word_of_token: list[int] = []
        self.waiting: list[tuple[int, int]] = []  # place and side of pieces without a character

    def add(self, start: int, end: int, side: int, touches: bool) -> None:
        """Add a piece whose words span these characters; the word behind it, if it touches none."""
        if self.waiting and self.waiting[0][1] != side:
            self.settle()
        if not touches:
            self.waiting.append((start, side))
            return
        last = self.words[-1] if self.words else None
        if last and last[2] == side and (start < last[1] or (start, end) == last[:2]):
            self.words[-1] = (min(start, last[0]), max(end, last[1]), side)
        else:
            self.words.append((start, end, side))
        self._give(1 + len(self.waiting))

    def settle(self) -> None:
        """Give pieces that no word stands behind to the one before them."""
        if not self.waiting:
            return
        place, side = self.waiting[0]
        if not self.words or self.words[-1][2] != side:
            self.words.append((place, place, side))
        self._give(len(self.waiting))

    def _give(self, pieces: int) -> None:
        self.word_of_token += [len(self.words) - 1] * pieces
        self.waiting = []


def word_spans(text: str) -> list[tuple[int, int]]:
    """Return start and end of the words of a text that can be seen, in characters."""
    return _spans_and_cuts(text)[0]


def blank_spans(text: str) -> list[tuple[int, int]]:
    """Return start and end of white space that is a word of its own, each kind by itself."""
    return [match.span() for match in _BLANK.finditer(text)]


def named_spans(text: str) -> list[tuple[str, int, int]]:
    """Return lower-cased name, start and end of all words of a text, in its order."""
    spans = sorted([*word_spans(text), *blank_spans(text)])
    return [(word_name(text[start:end]).lower(), start, end) for start, end in spans]


def word_name(characters: str) -> str:
    """Return what a word is called: its characters, or what they are if nobody can see them."""
    if "!" <= characters[:1] <= "~" or not _INVISIBLE.fullmatch(characters):
        return characters.strip()
    for name, kind in ((LINE_BREAK, _BREAKS), (TAB, "\t")):
        if any(character in kind for character in characters):
            return name
    if not characters.strip():
        return SPACE
    return CONTROL if regex.search(r"\p{Cc}", characters) else INVISIBLE


def is_spoken(word: str) -> bool:
    """Tell a word from a punctuation mark and from what nobody can see."""
    return word not in NAMES and any(map(str.isalnum, word))


def _spans_and_cuts(text: str) -> tuple[list[tuple[int, int]], list[int]]:
    """Return the spans of words, and where runs of a script without spaces begin, part and end."""
    if text.isascii():
        return [match.span() for match in _ASCII_WORD.finditer(text)], []
    spans: list[tuple[int, int]] = []
    cuts: list[int] = []
    for match in _WORD.finditer(text):
        start, end = match.span()
        if match.lastgroup == "run":
            inner = [start + place for place in inner_boundaries(match.group())]
            edges = [start, *inner, end]
            spans += itertools.pairwise(edges)
            cuts += edges
        elif not match.group().isspace():
            spans.append((start, end))
    return spans, cuts


def _pieces(
    texts: tuple[str, ...], spans: np.ndarray, sides: np.ndarray, cuts: Sequence[Sequence[int]]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return token, part and span of each piece: tokens, divided where a run is cut."""
    parts: dict[int, list[tuple[int, int]]] = {}
    for side, cut in enumerate(cuts):
        places = np.array(cut, np.int64)
        own = np.flatnonzero(sides == side)
        inside = np.searchsorted(places, spans[own, 1], "left") > np.searchsorted(
            places, spans[own, 0], "right"
        )
        for token in own[inside].tolist():
            start, end = spans[token].tolist()
            parts[token] = _divided(texts[side], start, end, places)
    if not parts:
        return np.arange(len(spans), dtype=np.int32), np.ones(len(spans), np.float32), spans
    tokens: list[int] = []
    part: list[float] = []
    pieces: list[tuple[int, int]] = []
    for number, (begin, stop) in enumerate(spans.tolist()):
        divided = parts.get(number, [(begin, stop)])
        text = texts[sides[number]]
        sizes = np.array([_visible(text[start:end]) for start, end in divided], float)
        tokens += [number] * len(divided)
        part += (sizes / sizes.sum()).tolist() if len(divided) > 1 else [1.0]
        pieces += divided
    return np.array(tokens, np.int32), np.array(part, np.float32), np.array(pieces, np.int32)


def _divided(text: str, start: int, end: int, cuts: np.ndarray) -> list[tuple[int, int]]:
    """Return the spans of a token's pieces: each holds at least a character that can be seen."""
    pieces = []
    for cut in [*cuts[(cuts > start) & (cuts < end)].tolist(), end]:
        if _visible(text[start:cut]) and (cut == end or _visible(text[cut:end])):
            pieces.append((start, cut))
            start = cut
    return pieces


def _visible(characters: str) -> int:
    return sum(not character.isspace() for character in characters)


def _snapped(
    spans: np.ndarray, sides: np.ndarray, words: Sequence[Sequence[tuple[int, int]]]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the span of all words that each piece touches, its own if none; whether it does."""
    snapped = spans.copy()
    touching = np.zeros(len(spans), bool)
    for side, seen in enumerate(words):
        own = np.flatnonzero(sides == side)
        starts, ends = np.array(seen, np.int32).reshape(-1, 2).T
        first = np.searchsorted(ends, spans[own, 0], side="right")
        last = np.searchsorted(starts, spans[own, 1], side="left") - 1
        touches = first <= last
        snapped[own[touches], 0] = starts[first[touches]]
        snapped[own[touches], 1] = ends[last[touches]]
        touching[own] = touches
    return snapped, touching


def word_scores(piece_scores: np.ndarray, word_of_token: np.ndarray, words: int) -> np.ndarray:
    """Return (layer, word) sums of (layer, piece) scores; nothing is lost."""
    result = np.zeros((piece_scores.shape[0], words), np.float32)
    np.add.at(result.T, word_of_token, piece_scores.T.astype(np.float32))
    return result


def shares(scores: np.ndarray) -> np.ndarray:
    """Return the part of all positive score, in [0, 1]; all zero where nothing is positive.

    s+[j] = max(S[j], 0) / sum_j max(S[j], 0). Works on the last axis.
    """
    positive = np.maximum(scores, 0)
    total = positive.sum(-1, keepdims=True)
    return np.divide(positive, total, out=np.zeros_like(positive), where=total > 0)
