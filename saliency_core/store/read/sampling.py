"""A seeded sample of a slice with all its scores, read chunk by chunk.

Scores of single examples lie in large chunks; a sample that is spread over few of them costs
little, however large the file is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from saliency_core.store.format import chunk_io, word_math

if TYPE_CHECKING:
    from saliency_core.store.read.run import Slice

CHUNKS = 16
"""Chunks read at most; each holds some thousand examples."""


@dataclass(frozen=True)
class Sampled:
    """Sampled examples of one chunk."""

    positions: np.ndarray
    """(example,)"""
    n_words: np.ndarray
    """(example,) words of each, one after another in what follows."""
    word_ids: np.ndarray
    """(word,) index into `Store.vocabulary`."""
    scores: np.ndarray
    """(layer, word) float32 logits."""


def sampled(part: Slice, *, examples: int, seed: int = 0) -> Iterator[Sampled]:
    """Yield a seeded sample of the examples of a slice that have scores, a chunk at a time.

    Args:
        part: a slice.
        examples: how many at most; fewer where `CHUNKS` chunks do not hold as many.
        seed: of the draw.
    """
    run, index = part.run, part.run.columns
    connection = run.store.connection
    wanted = index.stored_mask(part.filter("-failed").mask())
    draw = np.random.default_rng(seed)
    before = word_math.starts_of(wanted)[index.first]
    held = np.diff(before)
    chosen = draw.permutation(np.flatnonzero(held))[:CHUNKS]
    places = np.concatenate(
        [np.flatnonzero(wanted[index.first[at] : index.first[at + 1]]) for at in chosen]
        or [np.zeros(0, np.int64)]
    )
    owners = np.repeat(chosen, held[chosen])
    kept = np.sort(draw.permutation(len(places))[:examples])
    layers = run.model.layers + 1
    for at in np.unique(owners[kept]):
        slots = places[kept][owners[kept] == at]
        number = int(index.chunks[at])
        own = chunk_io.load_words(connection, run.number, number)
        counts = own["n_words"][slots]
        words = word_math.ranges(word_math.starts_of(own["n_words"])[slots], counts)
        scores = chunk_io.score_rows(connection, run.number, number, 0, layers)
        yield Sampled(
            index.storage_position[index.first[at] + slots],
            counts,
            own["word_ids"][words],
            np.stack([word_math.sum_pieces(row, own["first"])[words] for row in scores]),
        )
