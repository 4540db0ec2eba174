"""Words and their saliency: of single examples and summed over any slice."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from saliency_core.store.format import chunk as columnar
from saliency_core.store.format import word_math
from saliency_core.store.format.chunk_io import row_of
from saliency_core.store.query.columns import Filters
from saliency_core.store.read.examples import Examples
from saliency_core.store.read.handle import State, consistent
from saliency_core.store.read.word_sums import Sums, WordSums, load_word_chunk
from saliency_core.words import word_name

_SHARED_CHUNKS = 16
"""Chunks from which on threads share the work of word sums."""

_THREADS = 8

_FEW_WORDS = 5_000
"""Words up to which a file is asked for them rather than for its whole vocabulary."""


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


class _Changed(Exception):
    """Somebody wrote between the questions of two threads; only one thread's agree then."""


class Words(Examples):
    """The part of `Store` that reads words."""

    @consistent
    def vocabulary(self) -> np.ndarray:
        """Return (word id,) str: the lower-cased words of the file."""
        file = self.file()
        top = self._rows("SELECT coalesce(max(word_id), -1) FROM vocabulary")[0][0]
        # Ids only rise, but those of a pruned run may be given to other words.
        pruned = self._rows("SELECT value FROM meta WHERE key = 'pruned'")
        state = (file, top, pruned[0][0] if pruned else 0)
        known = self._words
        if known is None or known[0] != state:
            words = np.full(top + 1, "", object)
            for word_id, word in self._rows("SELECT word_id, word FROM vocabulary"):
                words[word_id] = word
            known = self._words = (state, words)
        return known[1]

    @consistent
    def words_of(self, ids: np.ndarray) -> np.ndarray:
        """Return (word,) str from (word,) ids."""
        if self._words is not None or len(ids) > _FEW_WORDS:
            return self.vocabulary()[ids]
        asked = np.asarray(ids).tolist()
        found = dict(
            self._rows(
                "SELECT word_id, word FROM vocabulary"
                " WHERE word_id IN (SELECT value FROM json_each(?))",
                (json.dumps(asked),),
            )
        )
        return np.array([found[word_id] for word_id in asked], object)

    def word_id(self, word: str) -> int | None:
        """Return the id of a word, None where the file does not hold it."""
        rows = self._rows("SELECT word_id FROM vocabulary WHERE word = ?", (word.lower(),))
        return rows[0][0] if rows else None

    @consistent
    def top_words(
        self, positions: Sequence[int], layer: int, run: int | None = None
    ) -> list[list[dict[str, Any]]]:
        """Return the words of each example at a layer, in the order of the text."""
        run = self._run(run)
        layer = self._layer(run, layer)
        index = self._index(run)
        texts = {
            row["example"]: (row["text"], row["pair"] or "")
            for row in self.examples_at(positions, run=run).to_dict("records")
        }
        places = index.rows_of(np.array([int(p) for p in positions], np.int64))
        result = []
        loaded: dict[int, tuple] = {}
        for position, place in zip(positions, places, strict=True):
            if place < 0:
                result.append([])
                continue
            number, slot = index.place(int(place))
            if number not in loaded:
                loaded[number] = self._word_layer(run, number, layer, index.state)
            result.append(_words_at(*loaded[number], slot, texts[int(position)]))
        return result

    def _word_layer(self, run: int, number: int, layer: int, state: State) -> tuple:
        """Return the spans of a chunk, where its examples' words begin, and the words' scores."""
        spans = self._spans(run, number, state)
        data = self._rows(
            "SELECT data FROM scores WHERE run = ? AND target = 0 AND layer = ? AND chunk = ?",
            (run, layer, number),
        )[0][0]
        scores = word_math.sum_pieces(np.frombuffer(data, np.float16), spans["first"])
        return spans, word_math.starts_of(spans["n_words"]), scores

    @consistent
    def occurrences(self, layer: int, where: str = "", run: int | None = None) -> Occurrences:
        """Return every word of a slice at a layer."""
        run = self._run(run)
        layer = self._layer(run, layer)
        index = self._index(run)
        wanted = index.stored_mask(self._mask(index, where))
        parts = []
        for at, number in enumerate(index.chunks.tolist()):
            slots = np.flatnonzero(wanted[index.first[at] : index.first[at + 1]])
            if len(slots):
                parts.append(self._occurrences(index, number, layer, slots))
        kinds = (np.int32, np.int32, np.float32, np.float32, bool)
        joined = [
            np.concatenate([part[i] for part in parts]) if parts else np.zeros(0, kind)
            for i, kind in enumerate(kinds)
        ]
        return Occurrences(*joined, self.vocabulary())

    def _occurrences(
        self, index: Filters, number: int, layer: int, slots: np.ndarray
    ) -> tuple[np.ndarray, ...]:
        spans, starts, scores = self._word_layer(index.run, number, layer, index.state)
        counts = spans["n_words"][slots]
        postings = row_of(self.connection, "postings", index.run, number)
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
    def word_sums(
        self, layer: int, where: str = "", run: int | None = None, *, chunks: int | None = None
    ) -> WordSums:
        """Return the sums that word tables are made of, by predicted class and word.

        Args:
            layer: 0 to L.
            where: a slice.
            run: run number; the newest by default.
            chunks: read at most this many of the run's chunks, the same ones for every slice; a
                sample for questions that need no exact count.
        """
        run = self._run(run)
        layer = self._layer(run, layer)
        index = self._index(run)
        wanted = index.stored_mask(self._mask(index, where))
        drawn = np.random.default_rng(0).permutation(len(index.chunks))[:chunks]
        held = [
            (int(index.chunks[at]), wanted[index.first[at] : index.first[at + 1]])
            for at in np.sort(drawn)
        ]
        held = [(number, here) for number, here in held if here.any()]
        classes = len(self.run(run)["label_names"])
        words = self._rows("SELECT coalesce(max(word_id) + 1, 0) FROM vocabulary")[0][0]

        def part(shared: list[tuple[int, np.ndarray]]) -> Sums:
            sums = Sums(classes, words)
            with self.steady():
                if self.state() != index.state:
                    raise _Changed
                for number, here in shared:
                    sums.add(load_word_chunk(self.connection, run, number, layer), here)
            return sums

        if len(held) < _SHARED_CHUNKS:
            return part(held).rows()
        threads = min(os.cpu_count() or 1, _THREADS)
        size = -(-len(held) // threads)
        try:
            with ThreadPoolExecutor(threads) as pool:
                shares = [held[i : i + size] for i in range(0, len(held), size)]
                parts = list(pool.map(part, shares))
        except _Changed:
            return part(held).rows()
        for other in parts[1:]:
            parts[0].join(other)
        return parts[0].rows()

    def suspects(self, run: int | None = None, **choices: Any) -> pd.DataFrame:
        """Return the suspects of a run by what the file holds, strongest first, for notebooks.

        Args:
            run: Run number; the newest by default.
            choices: `layer`, `thresholds`, `training` and others of
                `saliency_core.shortcuts.suspects.suspects`.

        Raises:
            UserError: the run knows no classes.
        """
        from saliency_core.shortcuts.suspects import suspects

        return suspects(self, run=run, **choices)[0]

    @consistent
    def words(
        self, layer: int | None = None, where: str = "", run: int | None = None, **choices: Any
    ) -> pd.DataFrame:
        """Return the salient words of a slice by predicted class, for notebooks.

        Args:
            layer: 0 to L; the recommended one by default.
            where: A slice.
            run: Run number; the newest by default.
            choices: `by_class` and `minimum` of `saliency_core.analysis.word_tables.word_table`.
        """
        from saliency_core.analysis.word_tables import word_table

        layer = self._default_layer(self._run(run)) if layer is None else layer
        return word_table(self, layer, where, run=run, **choices)


def _words_at(
    spans: dict[str, np.ndarray],
    starts: np.ndarray,
    scores: np.ndarray,
    slot: int,
    texts: tuple[str, str],
) -> list[dict[str, Any]]:
    """Return the words of one example of a chunk as dictionaries."""
    begin, end = int(starts[slot]), int(starts[slot + 1])
    own = scores[begin:end]
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
