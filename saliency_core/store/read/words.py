"""Words and their saliency: of single examples and summed over any slice."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from saliency_core.store.connection import consistent
from saliency_core.store.format import chunk as columnar
from saliency_core.store.format import word_math
from saliency_core.store.format.chunk_io import row_of
from saliency_core.store.read.examples import examples_at
from saliency_core.store.read.word_sums import Sums, WordSums, load_word_chunk
from saliency_core.words import word_name

if TYPE_CHECKING:
    from saliency_core.store.read.run import Run, Slice

_SHARED_CHUNKS = 16
"""Chunks from which on threads share the work of word sums."""

_THREADS = 8


@dataclass(frozen=True)
class Occurrences:
    """Every word of every example of a slice at one layer, in the order of the texts."""

    example: np.ndarray
    """(word,) int32 positions."""
    word: np.ndarray
    """(word,) int32 index into vocabulary."""
    score: np.ndarray
    """(word,) float32 logits."""
    share: np.ndarray
    """(word,) float32 part of the example's positive score."""
    top3: np.ndarray
    """(word,) bool."""
    vocabulary: np.ndarray
    """(word id,) str, lower-cased; of the whole file."""


class _WordLayer(NamedTuple):
    """The words of a chunk at one layer."""

    spans: dict[str, np.ndarray]
    """As `span_columns` gives them."""
    starts: np.ndarray
    """(example + 1,) where each one's words begin."""
    scores: np.ndarray
    """(word,) float32."""


class _Changed(Exception):
    """Somebody wrote between the questions of two threads; only one thread's agree then."""


@consistent
def top_words(run: Run, positions: Sequence[int], layer: int) -> list[list[dict[str, Any]]]:
    """Return the words of each example at a layer, in the order of the text."""
    layer = run.layer_to_read(layer)
    index = run.columns
    texts = {
        row["example"]: (row["text"], row["pair"] or "")
        for row in examples_at(run, positions).to_dict("records")
    }
    places = index.rows_of(np.array([int(p) for p in positions], np.int64))
    result: list[list[dict[str, Any]]] = []
    loaded: dict[int, _WordLayer] = {}
    for position, place in zip(positions, places, strict=True):
        if place < 0:
            result.append([])
            continue
        number, slot = index.place(int(place))
        if number not in loaded:
            loaded[number] = _word_layer(run, number, layer)
        result.append(_words_at(loaded[number], slot, texts[int(position)]))
    return result


def _word_layer(run: Run, number: int, layer: int) -> _WordLayer:
    spans = run.store.spans(run.number, number, run.columns.state)
    data = run.store.rows(
        "SELECT data FROM scores WHERE run = ? AND target = 0 AND layer = ? AND chunk = ?",
        (run.number, layer, number),
    )[0][0]
    scores = word_math.sum_pieces(np.frombuffer(data, np.float16), spans["first"])
    return _WordLayer(spans, word_math.starts_of(spans["n_words"]), scores)


@consistent
def occurrences(part: Slice, layer: int) -> Occurrences:
    """Return every word of a slice at a layer."""
    run = part.run
    layer = run.layer_to_read(layer)
    index = run.columns
    wanted = index.stored_mask(part.mask())
    parts = []
    for at, number in enumerate(index.chunks.tolist()):
        slots = np.flatnonzero(wanted[index.first[at] : index.first[at + 1]])
        if len(slots):
            parts.append(_occurrences(run, number, layer, slots))
    kinds = (np.int32, np.int32, np.float32, np.float32, bool)
    parts.append(tuple(np.zeros(0, kind) for kind in kinds))
    example, word, score, share, top3 = map(np.concatenate, zip(*parts, strict=True))
    return Occurrences(example, word, score, share, top3, run.store.vocabulary())


def _occurrences(run: Run, number: int, layer: int, slots: np.ndarray) -> tuple[np.ndarray, ...]:
    index = run.columns
    spans, starts, scores = _word_layer(run, number, layer)
    counts = spans["n_words"][slots]
    postings = row_of(run.store.connection, "postings", run.number, number)
    words = columnar.posting_words(postings, len(scores))
    positions = index.storage_position[index.first_of[number] + slots]
    at = word_math.ranges(starts[slots], counts)
    scores = scores[at]
    return (
        np.repeat(positions, counts).astype(np.int32),
        words[at],
        scores,
        word_math.shares(scores, counts),
        word_math.top3(scores, counts),
    )


@consistent
def word_sums(part: Slice, layer: int, *, chunks: int | None = None) -> WordSums:
    """Return the sums that word tables are made of, by predicted class and word.

    Args:
        part: a slice.
        layer: 0 to L.
        chunks: read at most this many of the run's chunks, the same ones for every slice; a
            sample for questions that need no exact count.
    """
    run = part.run
    layer = run.layer_to_read(layer)
    index = run.columns
    wanted = index.stored_mask(part.mask())
    drawn = np.random.default_rng(0).permutation(len(index.chunks))[:chunks]
    held = [
        (int(index.chunks[at]), wanted[index.first[at] : index.first[at + 1]])
        for at in np.sort(drawn)
    ]
    held = [(number, here) for number, here in held if here.any()]
    classes = len(run.label_names)
    words = run.store.rows("SELECT coalesce(max(word_id) + 1, 0) FROM vocabulary")[0][0]

    def summed(shared: list[tuple[int, np.ndarray]]) -> Sums:
        sums = Sums(classes, words)
        with run.steady():
            if run.store.state() != index.state:
                raise _Changed
            for number, here in shared:
                sums.add(load_word_chunk(run.store.connection, run.number, number, layer), here)
        return sums

    if len(held) < _SHARED_CHUNKS:
        return summed(held).rows()
    threads = min(os.cpu_count() or 1, _THREADS)
    size = -(-len(held) // threads)
    try:
        with ThreadPoolExecutor(threads) as pool:
            shares = [held[i : i + size] for i in range(0, len(held), size)]
            parts = list(pool.map(summed, shares))
    except _Changed:
        return summed(held).rows()
    for other in parts[1:]:
        parts[0].join(other)
    return parts[0].rows()


def _words_at(words: _WordLayer, slot: int, texts: tuple[str, str]) -> list[dict[str, Any]]:
    """Return the words of one example of a chunk as dictionaries."""
    spans = words.spans
    begin, end = words.starts[slot : slot + 2].tolist()
    own = words.scores[begin:end]
    positive = np.maximum(own, 0)
    total = float(positive.sum())
    return [
        {
            "word": word_name(texts[side][start:stop]),
            "start": start,
            "end": stop,
            "side": side,
            "score": score,
            "share": max(score, 0.0) / total if total > 0 else 0.0,
        }
        for start, stop, side, score in zip(
            spans["word_starts"][begin:end].tolist(),
            spans["word_ends"][begin:end].tolist(),
            spans["word_sides"][begin:end].tolist(),
            own.tolist(),
            strict=True,
        )
    ]
