"""A chunk: some examples of a run as columns, in memory and as blobs.

Rows of the file would cost tens of bytes a score; a chunk holds one float16 array a layer and
small compressed integer arrays for everything that all layers share.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from saliency_core.records import AuditedExample
from saliency_core.store.format.codec import Damaged, pack, unpack, unpack_bits
from saliency_core.store.format.word_math import first_tokens, ranges, starts_of, sum_pieces


@dataclass
class Extra:
    """Scores of a second target, for the examples that have one."""

    members: np.ndarray
    """(member,) int32: index in the chunk, rising."""
    scores: np.ndarray
    """(layer, token of the members) float16."""
    completeness: np.ndarray
    """(layer, member) float32."""


@dataclass
class Chunk:
    """Examples as columns; tokens and words of all examples one after another."""

    positions: np.ndarray
    predicted: np.ndarray
    """(example,) int32, -1 where none."""
    n_tokens: np.ndarray
    n_words: np.ndarray
    pieces: np.ndarray
    """(word,) int32: tokens of each word, one at least."""
    target: np.ndarray
    """(example,) int32: index into the run's target names."""
    token_starts: np.ndarray
    token_ends: np.ndarray
    sides: np.ndarray
    word_starts: np.ndarray
    word_ends: np.ndarray
    word_ids: np.ndarray
    token_ids: np.ndarray
    scores: np.ndarray
    """(layer, token) float16."""
    completeness: np.ndarray
    """(layer, example) float32."""
    decodability: np.ndarray
    """(layer, example) float32, NaN where not sampled."""
    explanation: np.ndarray
    """(layer, example, 3) int32, -1 where none."""
    extra: dict[int, Extra] = field(default_factory=dict)
    """Target -> scores."""

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.positions)

    @property
    def layers(self) -> int:
        """Return the number of layers, the embeddings included."""
        return len(self.scores)

    def word_scores(self, layer: int) -> np.ndarray:
        """Return (word,) float32: the sum of each word's pieces."""
        return sum_pieces(self.scores[layer], first_tokens(self.pieces))


_BY_EXAMPLE = ("positions", "predicted", "n_tokens", "n_words", "target")
_BY_TOKEN = ("token_starts", "token_ends", "sides", "token_ids")
_BY_WORD = ("pieces", "word_starts", "word_ends", "word_ids")
_BY_LAYER_AND_EXAMPLE = ("completeness", "decodability", "explanation")


def _by_word(audited: AuditedExample) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return tokens sorted by word, the words that have tokens, and tokens a word."""
    owner = np.asarray(audited.word_of_token, np.int64)
    order = np.argsort(owner, kind="stable")
    words, pieces = np.unique(owner, return_counts=True)
    return order, words, pieces


def from_audited(
    batch: Sequence[AuditedExample], layers: int, word_id: dict[str, int], target_id: dict[str, int]
) -> Chunk:
    """Turn records into columns; failed examples keep their place with no tokens."""
    parts = [_columns(audited, layers, word_id) for audited in batch]
    joined = {
        name: np.concatenate([part[name] for part in parts]) for name in (*_BY_TOKEN, *_BY_WORD)
    }
    own = [audited.saliency[0] if audited.saliency else None for audited in batch]
    no_number = np.full(layers, np.nan)
    return Chunk(
        positions=np.array([audited.example.position for audited in batch], np.int64),
        predicted=np.array(
            [-1 if audited.predicted is None else audited.predicted for audited in batch], np.int32
        ),
        n_tokens=np.array([len(part["token_ids"]) for part in parts], np.int32),
        n_words=np.array([len(part["pieces"]) for part in parts], np.int32),
        target=np.array([target_id[first.target] if first else 0 for first in own], np.int32),
        scores=np.concatenate([part["scores"] for part in parts], axis=1),
        completeness=_by_layer(
            [first.completeness if first else None for first in own], no_number, np.float32
        ),
        decodability=_by_layer([audited.decodability for audited in batch], no_number, np.float32),
        explanation=_by_layer(
            [audited.explanation for audited in batch], np.full((layers, 3), -1), np.int32
        ),
        extra=_extras(batch, target_id),
        **joined,
    )


def _by_layer(values: list[np.ndarray | None], none: np.ndarray, kind: type) -> np.ndarray:
    """Return (layer, example, …) from one array an example."""
    return np.stack([none if value is None else value for value in values], axis=1).astype(kind)


def _columns(
    audited: AuditedExample, layers: int, word_id: dict[str, int]
) -> dict[str, np.ndarray]:
    """Return one example's token and word columns, tokens grouped by word."""
    if not audited.saliency:
        empty = np.zeros(0, np.int32)
        return {
            **dict.fromkeys((*_BY_TOKEN, *_BY_WORD), empty),
            "scores": np.zeros((layers, 0), np.float16),
        }
    order, words, pieces = _by_word(audited)
    spans = np.asarray(audited.spans, np.int32).reshape(-1, 2)[order]
    word_spans = np.asarray(audited.word_spans, np.int32).reshape(-1, 2)[words]
    return {
        "token_starts": spans[:, 0],
        "token_ends": spans[:, 1],
        "sides": np.asarray(audited.sides, np.int32)[order],
        "token_ids": np.asarray(audited.token_ids, np.int32)[order],
        "pieces": pieces.astype(np.int32),
        "word_starts": word_spans[:, 0],
        "word_ends": word_spans[:, 1],
        "word_ids": np.array([word_id[audited.words[w].lower()] for w in words], np.int32),
        "scores": np.asarray(audited.saliency[0].scores, np.float16)[:, order],
    }


def _extras(batch: Sequence[AuditedExample], target_id: dict[str, int]) -> dict[int, Extra]:
    """Gather the second targets of a batch."""
    found: dict[int, list[tuple[int, np.ndarray, np.ndarray]]] = {}
    for index, audited in enumerate(batch):
        order = _by_word(audited)[0]
        for saliency in audited.saliency[1:]:
            found.setdefault(target_id[saliency.target], []).append(
                (index, np.asarray(saliency.scores, np.float16)[:, order], saliency.completeness)
            )
    return {
        target: Extra(
            np.array([index for index, _, _ in rows], np.int32),
            np.concatenate([scores for _, scores, _ in rows], axis=1),
            np.stack([completeness for _, _, completeness in rows], axis=1).astype(np.float32),
        )
        for target, rows in found.items()
    }


def take(chunk: Chunk, slots: Sequence[int] | np.ndarray) -> Chunk:
    """Return the examples at these places, in this order."""
    slots = np.asarray(slots, np.int64)
    tokens = ranges(starts_of(chunk.n_tokens)[slots], chunk.n_tokens[slots])
    words = ranges(starts_of(chunk.n_words)[slots], chunk.n_words[slots])
    return replace(
        chunk,
        **{name: getattr(chunk, name)[slots] for name in _BY_EXAMPLE},
        **{name: getattr(chunk, name)[tokens] for name in _BY_TOKEN},
        **{name: getattr(chunk, name)[words] for name in _BY_WORD},
        scores=chunk.scores[:, tokens],
        **{name: getattr(chunk, name)[:, slots] for name in _BY_LAYER_AND_EXAMPLE},
        extra=_take_extras(chunk, slots),
    )


def _take_extras(chunk: Chunk, slots: np.ndarray) -> dict[int, Extra]:
    """Return the second targets of the taken examples."""
    taken = {}
    for target, extra in chunk.extra.items():
        row_of = np.full(len(chunk), -1, np.int64)
        row_of[extra.members] = np.arange(len(extra.members))
        rows = row_of[slots]
        members = np.flatnonzero(rows >= 0)
        if len(members):
            found = take_members(chunk, extra, rows[members])
            taken[target] = replace(found, members=members.astype(np.int32))
    return taken


def take_members(chunk: Chunk, extra: Extra, rows: np.ndarray) -> Extra:
    """Return the scores of some members of a second target."""
    counts = chunk.n_tokens[extra.members]
    tokens = ranges(starts_of(counts)[rows], counts[rows])
    return Extra(extra.members[rows], extra.scores[:, tokens], extra.completeness[:, rows])


def concat(chunks: Iterable[Chunk]) -> Chunk:
    """Join chunks one after another."""
    chunks = list(chunks)
    if len(chunks) == 1:
        return chunks[0]
    flat = (*_BY_EXAMPLE, *_BY_TOKEN, *_BY_WORD)
    wide = ("scores", *_BY_LAYER_AND_EXAMPLE)
    offsets = starts_of(np.array([len(chunk) for chunk in chunks]))
    extra = {}
    for target in sorted({target for chunk in chunks for target in chunk.extra}):
        rows = [
            (offset, chunk.extra[target])
            for offset, chunk in zip(offsets[:-1], chunks, strict=True)
            if target in chunk.extra
        ]
        extra[target] = Extra(
            np.concatenate([found.members + offset for offset, found in rows]).astype(np.int32),
            np.concatenate([found.scores for _, found in rows], axis=1),
            np.concatenate([found.completeness for _, found in rows], axis=1),
        )
    return Chunk(
        **{name: np.concatenate([getattr(chunk, name) for chunk in chunks]) for name in flat},
        **{
            name: np.concatenate([getattr(chunk, name) for chunk in chunks], axis=1)
            for name in wide
        },
        extra=extra,
    )


def layout_row(chunk: Chunk) -> dict[str, bytes | int | None]:
    """Return the columns of the `chunks` table."""
    first = starts_of(chunk.pieces)[:-1]
    last = first + chunk.pieces - 1
    sampled = np.isfinite(chunk.decodability).any()
    has_explanation = (chunk.explanation >= 0).any()
    return {
        "examples": len(chunk),
        "n_tokens": pack(chunk.n_tokens),
        "n_words": pack(chunk.n_words, compress=False),
        "first": np.packbits(first_tokens(chunk.pieces)).tobytes(),
        "target": pack(chunk.target),
        "token_starts": pack(np.diff(chunk.token_starts, prepend=0)),
        "token_lengths": pack(chunk.token_ends - chunk.token_starts),
        "sides": pack(chunk.sides),
        "word_before": pack(chunk.token_starts[first] - chunk.word_starts),
        "word_after": pack(chunk.word_ends - chunk.token_ends[last]),
        "token_ids": pack(chunk.token_ids),
        "completeness": pack(chunk.completeness),
        "decodability": pack(chunk.decodability) if sampled else None,
        "explanation": pack(chunk.explanation) if has_explanation else None,
    }


def posting_row(chunk: Chunk) -> dict[str, bytes]:
    """Return the columns of the `postings` table: by predicted class, word, place in the chunk."""
    classes = np.repeat(chunk.predicted, chunk.n_words)
    order = np.lexsort((chunk.word_ids, classes))
    words, classes = chunk.word_ids[order], classes[order]
    new = np.ones(len(words), bool)
    new[1:] = (words[1:] != words[:-1]) | (classes[1:] != classes[:-1])
    begin = np.flatnonzero(new)
    turn = np.flatnonzero(np.diff(classes[begin], prepend=-2))
    return {
        "words": pack(words[begin], compress=False),
        "classes": pack(classes[begin][turn], compress=False),
        "groups": pack(np.diff(turn, append=len(begin)), compress=False),
        "counts": pack(np.diff(begin, append=len(words)), compress=False),
        "occurrences": pack(order, compress=False),
    }


SPAN_COLUMNS = (
    "n_tokens n_words first token_starts token_lengths sides word_before word_after"
).split()
"""What `span_columns` reads of a `chunks` row, a small part of it."""


def span_columns(row: dict[str, bytes]) -> dict[str, np.ndarray]:
    """Return where the tokens and words of a `chunks` row are, spans made absolute again."""
    lengths = unpack(row["token_lengths"]).astype(np.int32)
    tokens = int(unpack(row["n_tokens"]).sum(dtype=np.int64))
    first = unpack_bits(row["first"], tokens)
    begins = np.flatnonzero(first)
    ends = np.append(begins, tokens)[1:]
    starts = np.cumsum(unpack(row["token_starts"]), dtype=np.int32)
    sides = unpack(row["sides"]).astype(np.int32)
    return {
        "first": first,
        "word_sides": sides[begins],
        "n_tokens": unpack(row["n_tokens"]).astype(np.int32),
        "n_words": unpack(row["n_words"]).astype(np.int32),
        "pieces": (ends - begins).astype(np.int32),
        "token_starts": starts,
        "token_ends": starts + lengths,
        "sides": sides,
        "word_starts": starts[begins] - unpack(row["word_before"]).astype(np.int32),
        "word_ends": (starts + lengths)[ends - 1] + unpack(row["word_after"]).astype(np.int32),
    }


def layout_columns(row: dict[str, Any], layers: int) -> dict[str, np.ndarray]:
    """Return the arrays of a `chunks` row."""
    n = row["examples"]
    spans = span_columns(row)
    del spans["first"], spans["word_sides"]
    return {
        **spans,
        "target": unpack(row["target"]).astype(np.int32),
        "token_ids": unpack(row["token_ids"]).astype(np.int32),
        "completeness": unpack(row["completeness"]).reshape(layers, n),
        "decodability": unpack(row["decodability"]).reshape(layers, n)
        if row["decodability"]
        else np.full((layers, n), np.nan, np.float32),
        "explanation": unpack(row["explanation"]).astype(np.int32).reshape(layers, n, 3)
        if row["explanation"]
        else np.full((layers, n, 3), -1, np.int32),
    }


def posting_words(row: dict[str, bytes], total: int) -> np.ndarray:
    """Return (word,) the word ids in the order of the text from a `postings` row."""
    ids = np.zeros(total, np.int32)
    try:
        ids[unpack(row["occurrences"])] = np.repeat(unpack(row["words"]), unpack(row["counts"]))
    except (IndexError, ValueError) as error:
        raise Damaged from error
    return ids
