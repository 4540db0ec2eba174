"""Where the tokens of a run's explanations lie in the language model's own space.

Kept in the file, so that explanations can be compared without the model: one byte a component,
which moves a cosine by less than 0.01.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from saliency_core.store.connection import consistent
from saliency_core.store.format import codec

if TYPE_CHECKING:
    from saliency_core.store.read.run import Run, Slice
    from saliency_core.store.write.writer import StoreWriter


@dataclass(frozen=True)
class TokenDirections:
    """Output embeddings, centred and of length one, of the tokens explanations of a run hold."""

    tokens: np.ndarray
    """(token,) int64 vocabulary ids, rising."""
    texts: list[str]
    """How each token is written."""
    components: np.ndarray
    """(token, embedding) int8 as they are kept; a quarter of what floats would take to read."""
    inverse_lengths: np.ndarray
    """(token,) float32 that make them of length one; 0 where a token has no direction."""

    def rows_of(self, tokens: np.ndarray) -> np.ndarray:
        """Return the row of each vocabulary id, in the shape given; -1 where there is none."""
        if not len(self.tokens):
            return np.full(tokens.shape, -1)
        rows = np.minimum(np.searchsorted(self.tokens, tokens), len(self.tokens) - 1)
        return np.where(self.tokens[rows] == tokens, rows, -1)

    def explanations(self, tokens: np.ndarray) -> np.ndarray:
        """Return q_e = normalise(sum of u over the most salient tokens), (example, embedding).

        Args:
            tokens: (example, 3) vocabulary ids, -1 where an example has fewer.
        """
        if not len(self.tokens):
            return np.zeros((len(tokens), 0), np.float32)
        rows = self.rows_of(tokens)
        weights = np.where(rows >= 0, self.inverse_lengths[rows], 0)
        components = self.components[rows].astype(np.float32)  # (example, 3, embedding)
        total = np.einsum("etc,et->ec", components, weights)
        length = np.sqrt(np.einsum("ec,ec->e", total, total))
        total *= np.divide(1, length, out=np.zeros_like(length), where=length > 0)[:, None]
        return total


def set_token_directions(
    writer: StoreWriter, run: int, tokens: np.ndarray, texts: list[str], vectors: np.ndarray
) -> None:
    """Keep the directions of a run, replacing older ones.

    Args:
        writer: an open file.
        run: Run number.
        tokens: (token,) vocabulary ids, rising.
        texts: how each is written.
        vectors: (token, embedding) of length one.
    """
    largest = np.abs(vectors).max(1, initial=0, keepdims=True)
    small = np.rint(vectors / np.where(largest > 0, largest, 1) * 127).astype(np.int8)
    with writer.transaction():
        writer.connection.execute(
            "INSERT OR REPLACE INTO token_directions VALUES (?, ?, ?, ?)",
            (
                run,
                codec.pack(np.asarray(tokens, np.int64)),
                json.dumps(texts, ensure_ascii=False),
                small.tobytes(),
            ),
        )


@consistent
def token_directions(run: Run) -> TokenDirections | None:
    """Return the directions of a run; None where its audit kept none.

    Those asked for last are remembered: every example of a run is compared in the same ones.
    """
    store = run.store
    key, known = (run.number, store.state()), store.directions
    if known is None or known[0] != key:
        known = store.directions = (key, _read(run))
    return known[1]


def _read(run: Run) -> TokenDirections | None:
    rows = run.store.rows(
        "SELECT tokens, texts, vectors FROM token_directions WHERE run = ?", (run.number,)
    )
    if not rows:
        return None
    tokens = codec.unpack(rows[0][0]).astype(np.int64)
    components = np.frombuffer(rows[0][2], np.int8)
    components = components.reshape(len(tokens), -1 if len(tokens) else 0)
    # Exact in int32, and without a copy of the table, which `np.linalg.norm` makes twice.
    lengths = np.sqrt(np.einsum("tc,tc->t", components, components, dtype=np.int32))
    inverse = np.divide(1, lengths, out=np.zeros(len(tokens), np.float32), where=lengths > 0)
    return TokenDirections(tokens, json.loads(rows[0][1]), components, inverse)


@consistent
def explanations(
    part: Slice, layer: int, *, limit: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return (example,) positions and (example, 3) most salient vocabulary ids, -1 where none.

    Args:
        part: a slice.
        layer: 0 to L.
        limit: chunks are drawn until they hold this many examples of the slice; None reads all.
    """
    run, index = part.run, part.run.columns
    wanted = index.stored_mask(part.mask())
    order = np.arange(len(index.chunks))
    if limit is not None:
        order = np.random.default_rng(0).permutation(order)
    positions, tokens, held = [], [], 0
    for at in order:
        slots = np.flatnonzero(wanted[index.first[at] : index.first[at + 1]])
        if not len(slots):
            continue
        if limit is not None and held >= limit:
            break
        found = run.store.rows(
            "SELECT explanation FROM chunks WHERE run = ? AND chunk = ?",
            (run.number, int(index.chunks[at])),
        )[0][0]
        if found is None:
            continue
        found = codec.unpack(found).reshape(-1, int(index.counts[at]), 3)
        positions.append(index.storage_position[index.first[at] + slots])
        tokens.append(found[layer][slots])
        held += len(slots)
    if not positions:
        return np.zeros(0, np.int64), np.zeros((0, 3), np.int64)
    return np.concatenate(positions), np.concatenate(tokens).astype(np.int64)
