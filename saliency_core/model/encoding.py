"""Texts -> tokens with their characters; long texts in windows; batches of similar length."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

WINDOW_OVERLAP = 0.25
"""Part of a window that its neighbour holds too."""
TOKENIZED_TOGETHER = 64
"""Texts given to the tokenizer at once: it holds every token of a text, also those cut off."""

Result = TypeVar("Result")


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
    tokenizer: Any, texts: Sequence[str], pairs: Sequence[str] | None, max_length: int
) -> list[Encoding]:
    """Tokenize texts; long ones are truncated (the longer side of a pair first)."""
    rows = list(zip(texts, [None] * len(texts) if pairs is None else pairs, strict=True))
    found: list[Encoding] = []
    for start in range(0, len(rows), TOKENIZED_TOGETHER):
        found += _encode(tokenizer, rows[start : start + TOKENIZED_TOGETHER], max_length)
    return found


def _encode(
    tokenizer: Any, rows: Sequence[tuple[str, str | None]], max_length: int
) -> list[Encoding]:
    """Tokenize a few texts with their pairs; one that the tokenizer refuses has no tokens."""
    texts, pairs = map(list, zip(*rows, strict=True))
    try:
        encoded = tokenizer(
            texts,
            None if pairs[0] is None else pairs,
            truncation=True,  # The longer side of a pair first.
            max_length=max_length,
            return_offsets_mapping=True,
            return_special_tokens_mask=True,
        )
    except Exception:  # What the tokenizers library raises has no class of its own.
        if len(rows) == 1:
            return [_without_tokens(*rows[0])]
        return [found for row in rows for found in _encode(tokenizer, [row], max_length)]
    return [_encoding(encoded, number, *row) for number, row in enumerate(rows)]


def _without_tokens(text: str, pair: str | None) -> Encoding:
    return Encoding(
        input_ids=(),
        special=np.zeros(0, bool),
        spans=np.zeros((0, 2), np.int32),
        sides=np.zeros(0, np.int8),
        type_ids=None,
        chars_seen=0,
        chars_total=len(text) + len(pair or ""),
    )


def encode_windows(
    tokenizer: Any, texts: Sequence[str], pairs: Sequence[str] | None, max_length: int
) -> list[Encoding]:
    """Tokenize texts; long ones are cut into overlapping windows, long pairs truncated."""
    whole = encode(tokenizer, texts, pairs, max_length)
    if pairs is not None:
        return whole
    for row, found in enumerate(whole):
        if found.input_ids and found.chars_seen < found.chars_total:
            whole[row] = _windows(tokenizer, texts[row], max_length)
    return whole


def _windows(tokenizer: Any, text: str, max_length: int) -> Encoding:
    """Return the encoding of a long text: all its tokens, and the windows over them.

    The special tokens around the text stand around every window, whichever end of a long text
    the tokenizer itself would cut off.
    """
    encoded = tokenizer(
        [text], return_offsets_mapping=True, return_special_tokens_mask=True, verbose=False
    )
    whole = _encoding(encoded, 0, text, None)
    own = np.flatnonzero([side is not None for side in encoded.sequence_ids(0)])
    before, after = np.arange(own[0]), np.arange(own[-1] + 1, len(whole.input_ids))
    content = max(1, max_length - len(before) - len(after))
    step = content - int(content * WINDOW_OVERLAP)
    starts = range(0, max(len(own) - content + step, 1), step)
    return replace(
        tokens_at(whole, own),
        type_ids=None,
        windows=tuple(
            tokens_at(whole, np.concatenate([before, own[start : start + content], after]))
            for start in starts
        ),
        window_starts=tuple(starts),
    )


def tokens_at(whole: Encoding, at: np.ndarray) -> Encoding:
    """Return the encoding of some of the tokens."""
    ids, types = np.array(whole.input_ids), whole.type_ids
    return replace(
        whole,
        input_ids=tuple(ids[at].tolist()),
        special=whole.special[at],
        spans=whole.spans[at],
        sides=whole.sides[at],
        type_ids=None if types is None else tuple(np.array(types)[at].tolist()),
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
        chars_seen=_chars_seen(text, pair, spans, sides, encoded.encodings[row].overflowing),
        chars_total=len(text) + len(pair or ""),
    )


def _chars_seen(
    text: str, pair: str | None, spans: np.ndarray, sides: np.ndarray, overflowing: Sequence[Any]
) -> int:
    """Return the characters the model read: all of them only if no token was left out.

    A tokenizer may drop marks and white space at the ends of a text; nothing was cut there.
    Tokens of white space, or of some bytes of a character, may be cut.

    From the (token, 2) spans and (token,) sides (0 the text, 1 the pair, -1 neither) of the tokens
    that were kept, and the tokenizer's encodings of what was cut off, at whichever end.
    """
    total = len(text) + len(pair or "")
    if not overflowing:
        return total
    seen = 0
    for side, content in enumerate((text, pair)):
        own = spans[sides == side]
        if content is None or not len(own):
            continue
        start, end = int(own[:, 0].min()), int(own[:, 1].max())
        cut = [
            span
            for piece in overflowing
            for span, its_side in zip(piece.offsets, piece.sequence_ids, strict=True)
            if its_side == side
        ]
        seen += end if any(last > end for _, last in cut) else len(content)
        seen -= start if any(first < start for first, _ in cut) else 0
    return min(seen, total - 1)


def run_in_halves(
    rows: list[int],
    run: Callable[[list[int]], Result],
    alone: Callable[[Exception], Result] | None = None,
) -> list[Result]:
    """Return what `run` makes of rows as one batch; where the model refuses it, of its halves.

    Some models take only texts together that hold the same number of end tokens.

    Args:
        rows: at least one.
        run: what runs a batch of rows.
        alone: what a row gives that is refused alone; without, what it raises is raised.
    """
    try:
        return [run(rows)]
    except (RuntimeError, ValueError, IndexError) as error:
        if len(rows) == 1:
            if alone is None:
                raise
            return [alone(error)]
    half = len(rows) // 2
    return [*run_in_halves(rows[:half], run, alone), *run_in_halves(rows[half:], run, alone)]


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


def length_batches(
    encodings: Sequence[Encoding], budget: int, rows: Iterable[int] | None = None
) -> list[list[int]]:
    """Return rows (by default all) in batches of similar length, at most `budget` tokens each."""
    lengths = [len(encoding.input_ids) for encoding in encodings]
    order = sorted(range(len(lengths)) if rows is None else rows, key=lengths.__getitem__)
    batches = token_batches([lengths[row] for row in order], budget)
    return [[order[index] for index in batch] for batch in batches]
