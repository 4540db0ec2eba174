"""Token pieces -> words on exact character spans of the original text."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import regex

# A word: letters, digits and marks with inner apostrophes and hyphens; else one symbol with its
# marks, so that every character outside white space belongs to exactly one word.
_WORD = regex.compile(r"[\p{L}\p{N}\p{M}]+(?:['’\-][\p{L}\p{N}\p{M}]+)*|\X")


@dataclass(frozen=True)
class Words:
    """The words of one text or pair and the word of each token."""

    words: tuple[str, ...]
    spans: np.ndarray
    """(word, 2) int32."""
    sides: np.ndarray
    """(word,) int8."""
    word_of_token: np.ndarray
    """(token,) int32."""


def words_of(texts: tuple[str, ...], spans: np.ndarray, sides: np.ndarray) -> Words:
    """Join tokens to words: tokens whose spans share a word of the text become one word.

    A token that touches several words (or lies in white space) joins them, so that no token is
    ever split and the scores of words add up to those of tokens.

    Args:
        texts: the text, or the text and its pair.
        spans: (token, 2) int32 characters of the token's own side.
        sides: (token,) int8.
    """
    words: list[str] = []
    word_spans: list[tuple[int, int]] = []
    word_sides: list[int] = []
    word_of_token = np.zeros(len(spans), np.int32)
    snapped = _snapped(texts, spans, sides).tolist()
    for token, ((start, end), side) in enumerate(zip(snapped, sides.tolist(), strict=True)):
        joins = (
            words
            and word_sides[-1] == side
            and (start < word_spans[-1][1] or (start, end) == word_spans[-1])
        )
        if joins:
            start = min(start, word_spans[-1][0])
            end = max(end, word_spans[-1][1])
            word_spans[-1] = (start, end)
            words[-1] = texts[side][start:end].strip()
        else:
            words.append(texts[side][start:end].strip())
            word_spans.append((start, end))
            word_sides.append(side)
        word_of_token[token] = len(words) - 1
    return Words(
        tuple(words),
        np.array(word_spans, np.int32).reshape(-1, 2),
        np.array(word_sides, np.int8),
        word_of_token,
    )


def word_spans(text: str) -> list[tuple[int, int]]:
    """Return start and end of the words of a text, in characters."""
    return [match.span() for match in _WORD.finditer(text) if not match.group().isspace()]


def _snapped(texts: tuple[str, ...], spans: np.ndarray, sides: np.ndarray) -> np.ndarray:
    """Return the span of all words that each token touches; its own span where it touches none."""
    snapped = spans.copy()
    for side, text in enumerate(texts):
        tokens = np.flatnonzero(sides == side)
        starts, ends = np.array(word_spans(text), np.int32).reshape(-1, 2).T
        first = np.searchsorted(ends, spans[tokens, 0], side="right")
        last = np.searchsorted(starts, spans[tokens, 1], side="left") - 1
        touches = first <= last
        snapped[tokens[touches], 0] = starts[first[touches]]
        snapped[tokens[touches], 1] = ends[last[touches]]
    return snapped


def word_scores(token_scores: np.ndarray, word_of_token: np.ndarray, words: int) -> np.ndarray:
    """Return (layer, word) sums of (layer, token) scores; nothing is lost (METHOD section 3)."""
    result = np.zeros((token_scores.shape[0], words), np.float32)
    np.add.at(result.T, word_of_token, token_scores.T.astype(np.float32))
    return result


def shares(scores: np.ndarray) -> np.ndarray:
    """Return the part of all positive score, in [0, 1]; all zero where nothing is positive.

    s+[j] = max(S[j], 0) / sum_j max(S[j], 0); METHOD section 3. Works on the last axis.
    """
    positive = np.maximum(scores, 0)
    total = positive.sum(-1, keepdims=True)
    return np.divide(positive, total, out=np.zeros_like(positive), where=total > 0)
