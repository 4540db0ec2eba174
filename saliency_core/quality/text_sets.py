"""Texts as sets of word pairs, and which of very many are the same or nearly.

Texts are the same when they are alike after Unicode NFKC, case and white-space folding. They are
nearly the same when the Jaccard similarity of their sets of two-word shingles reaches a threshold:
candidates come from MinHash signatures by locality-sensitive hashing (Broder 1997; Leskovec,
Rajaraman and Ullman, "Mining of Massive Datasets", chapter 3), and every candidate is then
compared exactly. Candidates are found with a chance of `FOUND` or more at the threshold itself,
and of nearly one above.
"""

from __future__ import annotations

import hashlib
import unicodedata
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import regex

from saliency_core.segmentation import LETTER

SLOTS = 128
"""Hashes of a signature."""
SEED = 42
FOUND = 0.97
"""Chance at which two texts exactly at the threshold become candidates, at least."""
DOUBT = 4.0
"""Standard errors below the threshold an estimate may lie for the texts to be compared exactly."""
_BLOCK = 50_000
"""Pairs whose estimates are computed at once."""

_PUNCTUATION = bytes(
    ord(" ") if not (chr(code).isalnum() or code >= 128) else code for code in range(256)
)
# A letter of a script without spaces is a word here: which words it belongs to does not matter.
_WORDS = regex.compile(rf"{LETTER}|[[\p{{L}}\p{{N}}\p{{M}}_]--{LETTER}]+", regex.VERSION1)
_MIX = np.uint64(0x9E3779B97F4A7C15)


def fold(text: str) -> str:
    """Return a text without differences of Unicode form, case and white space."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    return " ".join(text.casefold().split())


def fold_sides(text: str, pair: str | None) -> str:
    """Return both sides of a pair, folded, as one; empty where neither says anything."""
    first = fold(text)
    if pair is None:
        return first
    second = fold(pair)
    return f"{first}\x1f{second}" if first or second else ""


def text_key(folded: str) -> int:
    """Return what tells a folded text from others: 63 bits."""
    return int.from_bytes(hashlib.blake2b(folded.encode(), digest_size=8).digest()) >> 1


def shingles(folded: str) -> np.ndarray:
    """Return the (shingle,) uint64 of one side: its pairs of neighbouring words.

    A text of one word has that word; one of signs alone has itself.
    """
    if folded.isascii():
        words = folded.encode().translate(_PUNCTUATION).split()
    else:
        words = [word.encode() for word in _WORDS.findall(folded)]
    codes = np.fromiter(map(zlib.crc32, words or [folded.encode()]), np.uint64, max(len(words), 1))
    if len(codes) == 1:
        return codes * _MIX
    pairs = (codes[:-1] << np.uint64(32)) | codes[1:]
    return pairs * _MIX


def jaccard(first: str, second: str) -> float:
    """Return the similarity of two folded texts; of pairs, that of the less similar side."""
    sides = (
        [set(shingles(side).tolist()) for side in text.split("\x1f")] for text in (first, second)
    )
    return min(len(a & b) / len(a | b) for a, b in zip(*sides, strict=False))


@dataclass(frozen=True)
class Bands:
    """How signatures are cut into bands, so that texts at the threshold share one."""

    threshold: float

    @cached_property
    def rows(self) -> int:
        """Return the hashes of a band: as many as the chance allows."""
        chances = ((n, (1 - self.threshold**n) ** (SLOTS // n)) for n in range(SLOTS, 0, -1))
        return next((rows for rows, missed in chances if missed <= 1 - FOUND), 1)

    @property
    def count(self) -> int:
        """Return the number of bands."""
        return SLOTS // self.rows

    @property
    def least(self) -> float:
        """Return the share of equal hashes from which two texts are compared exactly."""
        # Slots are compared by one byte: unlike ones agree once in 256 times.
        expected = self.threshold + (1 - self.threshold) / 256
        return expected - DOUBT * float(np.sqrt(expected * (1 - expected) / SLOTS))


@dataclass(frozen=True)
class Signatures:
    """MinHash signatures of texts, as far as their comparison needs them."""

    bands: np.ndarray
    """(band, text) uint32."""
    bytes: np.ndarray
    """(text, slot) uint8: the lowest byte of each hash."""

    def __len__(self) -> int:
        """Return the number of texts."""
        return len(self.bytes)

    def estimates(self, first: np.ndarray, other: Signatures, second: np.ndarray) -> np.ndarray:
        """Return (pair,) the share of equal hashes of texts of these and of others."""
        parts = [
            np.mean(self.bytes[first[at : at + _BLOCK]] == other.bytes[second[at : at + _BLOCK]], 1)
            for at in range(0, len(first), _BLOCK)
        ]
        return np.concatenate(parts) if parts else np.zeros(0)


def signatures(folded: Sequence[str], bands: Bands) -> Signatures:
    """Return the signatures of some thousand folded texts."""
    import rensa

    sets = [np.concatenate([shingles(side) for side in text.split("\x1f")]) for text in folded]
    offsets = np.cumsum([0, *map(len, sets)]).astype(np.uint64)
    flat = np.concatenate(sets) if sets else np.zeros(0, np.uint64)
    digests = rensa.RMinHash.digest_matrix_from_flat_token_hashes(flat, offsets, SLOTS, SEED)
    matrix = np.array(digests.to_rows(), np.uint32).reshape(len(sets), SLOTS)
    cut = matrix[:, : bands.count * bands.rows].reshape(len(sets), bands.count, bands.rows)
    mixed = np.zeros(cut.shape[:2], np.uint64)
    for row in range(bands.rows):
        mixed = (mixed ^ cut[:, :, row]) * _MIX
        mixed ^= mixed >> np.uint64(29)
    return Signatures((mixed >> np.uint64(32)).astype(np.uint32).T.copy(), matrix.astype(np.uint8))


def pairs_of_band(band: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return pairs of texts that share a band's hash: each with the one before and the first."""
    order = np.argsort(band, kind="stable")
    values = band[order]
    same = np.flatnonzero(values[1:] == values[:-1]) + 1
    is_first = np.r_[True, values[1:] != values[:-1]]
    first_of = np.maximum.accumulate(np.where(is_first, np.arange(len(values)), 0))
    before = np.r_[same - 1, first_of[same]]
    after = np.r_[same, same]
    return order[before], order[after]


def joined(root: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return (text,) the first text of each one's group, after the texts of each pair are joined.

    Args:
        root: (text,) the same before that; each text's own number where nothing is joined yet.
        first: (pair,) texts.
        second: (pair,) texts.
    """
    from scipy.sparse import coo_array, csgraph

    if not len(first):
        return root
    ends, node = np.unique(root[np.r_[first, second]], return_inverse=True)
    edges = coo_array((np.ones(len(first)), node.reshape(2, -1)), (len(ends), len(ends)))
    _, part = csgraph.connected_components(edges, directed=False)
    _, lowest, number = np.unique(part, return_index=True, return_inverse=True)
    above = np.arange(len(root))
    above[ends] = ends[lowest[number]]
    return above[root]
