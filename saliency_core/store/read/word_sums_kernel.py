"""The inner loop of word sums, compiled; importing it takes a moment, so that only sums do it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit, types, uint64

SINGLE = np.arange(2**16, dtype=np.uint16).view(np.float16).astype(np.float32)
"""The float32 of every float16, by its bits: processors look up faster than numpy converts."""


def _signature(occurrence: Any) -> Any:
    """Return the types of `add_chunk`; the file's own arrays are read-only."""
    kinds = (
        types.float32,
        types.uint32,
        types.uint32,
        occurrence,
        types.uint16,
        types.uint8,
        types.uint32,
        types.uint8,
        types.uint8,
    )
    read = [types.Array(kind, 1, "C", readonly=True) for kind in kinds]
    return types.void(types.float64[:, ::1], *read)


_SIGNATURES = [_signature(types.uint16), _signature(types.uint32)]


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile once a machine where the package's folder or the user's cache can be written."""
    try:
        return njit(_SIGNATURES, nogil=True, cache=True)(function)
    except RuntimeError:
        return njit(_SIGNATURES, nogil=True)(function)


@_compiled
def add_chunk(
    table, single, row_of_group, counts, occurrences, scores, first, n_words, wanted, top3
):
    """Add the words of one chunk to the table, those of an example that repeats one together.

    Args:
        table: (row, 5) sums of examples, share, squared share, score, top-three places.
        single: `SINGLE`.
        row_of_group: (group,) row of the table; a group is a class and a word.
        counts: (group,) occurrences.
        occurrences: (occurrence,) place among the chunk's words, group after group, rising.
        scores: (token,) bits of the layer's float16 scores.
        first: (token,) 1 where a word begins.
        n_words: (example,) words an example.
        wanted: (example,) 1 where the example is in the slice.
        top3: (word,) 1 where the word is among its example's top three.
    """
    score = np.zeros(len(occurrences), np.float32)
    share = np.empty(len(occurrences), np.float32)
    owner = np.empty(len(occurrences), np.int32)
    word = -1
    for token in range(len(scores)):
        word += first[token]
        score[word] += single[scores[token]]
    end = 0
    for example in range(len(n_words)):
        begin = end
        end += n_words[example]
        positive = np.float32(0)
        for word in range(begin, end):
            positive += max(score[word], np.float32(0))
        inverse = np.float32(1) / positive if positive > 0 else np.float32(0)
        for word in range(begin, end):
            share[word] = max(score[word], np.float32(0)) * inverse
            owner[word] = example if wanted[example] else -1
    # Unsigned places need no look whether they count from the end: a fifth of the loop's time.
    end = uint64(0)
    for group in range(len(counts)):
        begin = end
        end += counts[group]
        examples = shares = squares = total = tops = 0.0
        last = -1
        own = 0.0
        among_top = np.uint8(0)
        for place in range(begin, end):
            word = uint64(occurrences[place])
            example = owner[word]
            if example < 0:
                continue
            if example != last:
                last = example
                squares += own * own
                tops += among_top
                own = 0.0
                among_top = np.uint8(0)
                examples += 1
            own += share[word]
            shares += share[word]
            total += score[word]
            among_top |= top3[word]
        if examples:
            row = table[uint64(row_of_group[group])]
            row[0] += examples
            row[1] += shares
            row[2] += squares + own * own
            row[3] += total
            row[4] += tops + among_top
