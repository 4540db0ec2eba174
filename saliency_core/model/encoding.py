"""Texts -> tokens with their characters; long texts in windows; batches of like length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

WINDOW_OVERLAP = 0.25
"""Part of a window that its neighbour holds too."""
TOKENIZED_TOGETHER = 64
"""Texts given to the tokenizer at once: it holds every token of a text, also those cut off."""


@dataclass(frozen=True)
class Encoding:
    """One text (or pair) as the model reads it."""

    input_ids: tuple[int, ...]
    special: np.ndarray
    """(token,) bool."""
    spans: np.ndarray
    """(token, 2) int32 characters in the text (side 0) or the pair (side 1)."""
    sides: np.ndarray
    """(token,) int8."""
    type_ids: tuple[int, ...] | None
    chars_seen: int
    chars_total: int
    windows: tuple[Encoding, ...] = ()
    """Overlapping pieces the model can take, of a text that it can't take whole."""
    window_starts: tuple[int, ...] = ()
    """First token of every window, among the tokens of the text without special ones."""


def encode(
    tokenizer: Any,
    texts: Sequence[str],
    pairs: Sequence[str] | None,
    max_length: int,
) -> list[Encoding]:
    """Tokenize texts; long ones are truncated (the longer side of a pair first)."""
    found: list[Encoding] = []
    for start in range(0, len(texts), TOKENIZED_TOGETHER):
        part = slice(start, start + TOKENIZED_TOGETHER)
        found += _encode(
            tokenizer, texts[part], pairs[part] if pairs is not None else None, max_length
        )
    return found


def _encode(
    tokenizer: Any, texts: Sequence[str], pairs: Sequence[str] | None, max_length: int
) -> list[Encoding]:
    """Tokenize a few texts."""
    encoded = tokenizer(
        list(texts),
        list(pairs) if pairs is not None else None,
        truncation="longest_first" if pairs is not None else True,
        max_length=max_length,
        return_offsets_mapping=True,
        return_special_tokens_mask=True,
    )
    rows = pairs or [None] * len(texts)
    return [
        _encoding(encoded, row, text, pair)
        for row, (text, pair) in enumerate(zip(texts, rows, strict=True))
    ]


def encode_windows(
    tokenizer: Any,
    texts: Sequence[str],
    pairs: Sequence[str] | None,
    max_length: int,
) -> list[Encoding]:
    """Tokenize texts; long ones are cut into overlapping windows, long pairs truncated."""
    whole = encode(tokenizer, texts, pairs, max_length)
    if pairs is not None:
        return whole
    long = [row for row, found in enumerate(whole) if found.chars_seen < found.chars_total]
    for row in long:
        whole[row] = _windows(tokenizer, texts[row], max_length)
    return whole


def _windows(tokenizer: Any, text: str, max_length: int) -> Encoding:
    """Return the encoding of a long text: all its tokens, and the windows over them."""
    content = max_length - tokenizer.num_special_tokens_to_add()
    overlap = int(content * WINDOW_OVERLAP)
    encoded = tokenizer(
        text,
        truncation=True,
        max_length=max_length,
        stride=overlap,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
        return_special_tokens_mask=True,
    )
    count = len(encoded["input_ids"])
    windows = [_encoding(encoded, row, text, None) for row in range(count)]
    starts = tuple(row * (content - overlap) for row in range(count))
    fresh = [
        np.flatnonzero(~window.special)[overlap if row else 0 :]
        for row, window in enumerate(windows)
    ]
    ids = [np.array(w.input_ids)[own] for w, own in zip(windows, fresh, strict=True)]
    spans = np.concatenate([w.spans[own] for w, own in zip(windows, fresh, strict=True)])
    return Encoding(
        input_ids=tuple(np.concatenate(ids).tolist()),
        special=np.zeros(len(spans), bool),
        spans=spans,
        sides=np.zeros(len(spans), np.int8),
        type_ids=None,
        chars_seen=len(text),
        chars_total=len(text),
        windows=tuple(windows),
        window_starts=starts,
    )


def _encoding(encoded: Any, row: int, text: str, pair: str | None) -> Encoding:
    """Return one row of what the tokenizer returned."""
    sides = np.array([-1 if side is None else side for side in encoded.sequence_ids(row)], np.int8)
    type_ids = encoded.get("token_type_ids")
    spans = np.array(encoded["offset_mapping"][row], np.int32).reshape(-1, 2)
    return Encoding(
        input_ids=tuple(encoded["input_ids"][row]),
        # White space alone says nothing, though some tokenizers have tokens for it.
        special=(sides < 0)
        | np.array(encoded["special_tokens_mask"][row], bool)
        | (not (text.strip() or (pair or "").strip())),
        spans=spans,
        sides=np.maximum(sides, 0).astype(np.int8),
        type_ids=tuple(type_ids[row]) if type_ids is not None else None,
        chars_seen=_chars_seen(text, pair, spans, sides),
        chars_total=len(text) + len(pair or ""),
    )


def _chars_seen(text: str, pair: str | None, spans: np.ndarray, sides: np.ndarray) -> int:
    """Return the characters the model read; white space at the end of a text counts as read."""
    seen = 0
    for side, content in enumerate((text, pair)):
        if content is None:
            continue
        own = spans[sides == side]
        end = int(own[:, 1].max()) if len(own) else 0
        seen += len(content) if not content[end:].strip() else end
    return seen


def token_batches(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Cut rows, in the order given, into batches of at most `budget` tokens with padding."""
    batches: list[list[int]] = []
    longest = 0
    for row, length in enumerate(lengths):
        longest = max(longest, length)
        if not batches or longest * (len(batches[-1]) + 1) > budget:
            batches.append([])
            longest = length
        batches[-1].append(row)
    return batches
