"""What a slice selects: its terms as masks over the examples of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from saliency_core.store.format import codec, word_math
from saliency_core.store.format.filter_columns import read_meta_column
from saliency_core.store.query import parser
from saliency_core.store.query.annotations import REVIEWED, spread
from saliency_core.store.query.parser import Term, Value

if TYPE_CHECKING:
    from saliency_core.store.query.columns import Filters
    from saliency_core.store.read.run import Run

_COMPARE = {
    ">": np.greater,
    "<": np.less,
    ">=": np.greater_equal,
    "<=": np.less_equal,
    "=": np.equal,
    ":": np.equal,
}


class Selection:
    """One slice on the examples of one run."""

    def __init__(self, run: Run, line: str, inside: tuple[str, ...] = ()) -> None:
        """Take the filter as written; `inside` are the saved slices it is part of."""
        self.run, self.number, self.line, self.inside = run, run.number, line, inside
        self.store, self.filters = run.store, run.columns
        self.terms = parser.parse(line)

    def mask(self) -> np.ndarray:
        """Return (example,) bool by rising position."""
        mask = np.ones(len(self.filters), bool)
        for term in self.terms:
            found = self._select(term)
            mask &= ~found if term.negated else found
        return mask

    def _select(self, term: Term) -> np.ndarray:
        """Return the examples that one term holds for."""
        if term.field in parser.QUALITY_FLAGS:
            column = self._quality(term)
            return column >= 0 if term.field == "duplicate" else column > 0
        if term.field in parser.REVIEW_FLAGS:
            return self._annotated(term.field)
        if term.field in parser.FLAGS:
            return _flag(self.filters, term.field)
        if term.field in parser.NUMBERS:
            return self._number(term)
        if term.field.startswith("meta."):
            return self._meta(term)
        choose = {
            "gold": self._label,
            "predicted": self._label,
            "word": self._word,
            "salient": self._salient,
            "verdict": self._verdict,
            "id": self._id,
            "phrase": self._phrase,
            "slice": self._saved,
            "tag": self._tag,
        }[term.field]
        found = np.zeros(len(self.filters), bool)
        for value in term.values:
            found |= choose(term, value)
        return found

    def _number(self, term: Term) -> np.ndarray:
        name = term.field
        if name == "coherence":
            name = f"coherence:{self.run.layer_to_read()}"
        is_quality = name == "label_quality"
        column = self._quality(term) if is_quality else self.filters.column(name)
        column = column.astype(np.float64)
        found = np.zeros(len(self.filters), bool)
        for value in term.values:
            limit = parser.number(self.line, term.start, value)
            found |= _COMPARE[term.operator](column, limit)
        return found & ~np.isnan(column)

    def _quality(self, term: Term) -> np.ndarray:
        """Return a column of the checks of the dataset."""
        column = self.filters.quality(term.field)
        if column is None:
            needed = "data-quality --train FILE" if term.field == "in_train" else "data-quality"
            raise parser.error(
                self.line,
                term.start,
                term.start + term.negated,
                f"is not known of run {self.number} yet; `{needed} --run {self.number}` finds it",
                None,
            )
        return column

    def _label(self, term: Term, value: Value) -> np.ndarray:
        names = self.run.label_names
        name = parser.choose(self.line, term.start, value, names, "names no label")
        return self.filters.column(term.field) == names.index(name)

    def _word(self, term: Term, value: Value) -> np.ndarray:
        return self._with_word(value.text, None)

    def _salient(self, term: Term, value: Value) -> np.ndarray:
        word, _, layer_text = value.text.rpartition("@")
        top = self.run.model.layers
        if not word or not layer_text.isdigit():
            return self._with_word(value.text, self.run.layer_to_read())
        if int(layer_text) > top:
            raise parser.error(
                self.line,
                term.start,
                value.start + len(word) + 1,
                f"names a layer that is not there (0 to {top})",
                f"salient:{word}@{top}",
            )
        return self._with_word(word, int(layer_text))

    def _with_word(self, word: str, layer: int | None) -> np.ndarray:
        """Return the examples that hold a word, or have it among the top three of a layer."""
        return self.filters.mask(
            (word.lower(), layer), lambda: self._find_word(self.store.word_id(word), layer)
        )

    def _find_word(self, word_id: int | None, layer: int | None) -> np.ndarray:
        stored = np.zeros(len(self.filters.storage_position), bool)
        if word_id is None:
            return self.filters.from_stored(stored)
        for number, first, places in self._postings(word_id, layer):
            ends = word_math.starts_of(self._n_words(number))
            slots = np.searchsorted(ends, places, side="right") - 1
            stored[first + slots] = True
        return self.filters.from_stored(stored)

    def _n_words(self, number: int) -> np.ndarray:
        row = self.store.rows(
            "SELECT n_words FROM chunks WHERE run = ? AND chunk = ?", (self.number, number)
        )
        return codec.unpack(row[0][0]).astype(np.int64)

    def _postings(self, word_id: int, layer: int | None) -> Iterator[tuple[int, int, np.ndarray]]:
        """Yield (chunk, first row, places of the word in the chunk)."""
        for number, words, counts in self.store.rows(
            "SELECT chunk, words, counts FROM postings WHERE run = ?", (self.number,)
        ):
            segments = np.flatnonzero(codec.unpack(words) == word_id)
            if not len(segments):
                continue
            counts = codec.unpack(counts)
            at = word_math.ranges(word_math.starts_of(counts)[segments], counts[segments])
            occurrences = self.store.rows(
                "SELECT occurrences FROM postings WHERE run = ? AND chunk = ?",
                (self.number, number),
            )[0][0]
            places = codec.unpack(occurrences)[at]
            if layer is not None:
                bits = self.store.rows(
                    "SELECT top3 FROM scores"
                    " WHERE run = ? AND target = 0 AND layer = ? AND chunk = ?",
                    (self.number, layer, number),
                )[0][0]
                places = places[_bits(bits, places.astype(np.int64))]
            yield number, self.filters.first_of[number], places

    def _verdict(self, term: Term, value: Value) -> np.ndarray:
        names = self.run.label_names
        found = np.zeros(len(self.filters), bool)
        for word, label in self.store.rows(
            "SELECT word, class FROM verdicts WHERE run = ? AND verdict = ?",
            (self.number, value.text),
        ):
            holds = self._with_word(word, None)
            if label in names:
                holds = holds & (self.filters.column("predicted") == names.index(label))
            found |= holds
        return found

    def _annotated(self, name: str) -> np.ndarray:
        """Return the examples that were reviewed, relabelled or noted."""
        annotations = self.store.annotations(self.number)
        positions = self.filters.position
        if name == "note":
            return spread(annotations.noted(), positions)
        if name == "reviewed":
            return spread(annotations.decided(*REVIEWED), positions)
        label = spread(annotations.labelled(self.run.label_names), positions, -1)
        return (label >= 0) & (label != self.filters.column("gold"))

    def _tag(self, term: Term, value: Value) -> np.ndarray:
        annotations = self.store.annotations(self.number)
        name = parser.choose(self.line, term.start, value, sorted(annotations.tags), "names no tag")
        return spread(annotations.tagged(name), self.filters.position)

    def _id(self, term: Term, value: Value) -> np.ndarray:
        rows = self.store.rows(
            "SELECT position FROM examples WHERE run = ? AND id = ?", (self.number, value.text)
        )
        return np.isin(self.filters.position, [row[0] for row in rows])

    def _phrase(self, term: Term, value: Value) -> np.ndarray:
        quoted = '"' + value.text.replace('"', '""') + '"'
        if not any(letter.isalnum() for letter in value.text):
            raise parser.error(
                self.line, term.start, value.start, "holds no word to look for", None
            )
        rows = self.store.rows(
            "SELECT e.position FROM texts_fts f CROSS JOIN examples e ON e.text_id = f.rowid"
            " WHERE texts_fts MATCH ? AND e.run = ?",
            (quoted, self.number),
        )
        found = np.zeros(len(self.filters), bool)
        places = self.filters.rows_of(np.array([row[0] for row in rows], np.int64))
        found[places[places >= 0]] = True
        return found

    def _saved(self, term: Term, value: Value) -> np.ndarray:
        saved: dict[str, str] = dict(self.store.rows("SELECT name, condition FROM slices"))
        name = parser.choose(self.line, term.start, value, sorted(saved), "names no saved slice")
        if name in self.inside:
            raise parser.error(self.line, term.start, value.start, "refers to itself", None)
        inside = (*self.inside, name)
        return Selection(self.run, saved[name], inside).mask()

    def _meta(self, term: Term) -> np.ndarray:
        key = term.field[5:]
        known = self.run.metadata_columns()
        if key not in known:
            parser.choose(
                self.line,
                term.start,
                Value(key, term.start + term.negated + 5),
                known,
                "names no metadata column",
            )
        test = _meta_test(term, self.line)
        found = np.zeros(len(self.filters.storage_position), bool)
        for number, data in self.store.rows(
            "SELECT chunk, data FROM columns WHERE run = ? AND name = ?",
            (self.number, f"meta:{key}"),
        ):
            values, codes = read_meta_column(data)
            first = self.filters.first_of[number]
            found[first : first + len(codes)] = np.array([test(value) for value in values])[codes]
        return self.filters.from_stored(found)


def _bits(packed: bytes, at: np.ndarray) -> np.ndarray:
    """Return the bits at these places."""
    data = np.frombuffer(packed, np.uint8)
    return (data[at >> 3] >> (7 - (at & 7)).astype(np.uint8)) & 1 == 1


def _flag(filters: Filters, name: str) -> np.ndarray:
    if name in ("truncated", "failed"):
        return filters.column(name) == 1
    gold, predicted = filters.column("gold"), filters.column("predicted")
    judged = (gold >= 0) & (predicted >= 0)
    return judged & ((gold == predicted) == (name == "right"))


def _meta_test(term: Term, line: str) -> Callable[[Any], bool]:
    """Return the test of a metadata value."""
    if term.operator in (":", "="):
        texts = {value.text for value in term.values}
        numbers = {_float(text) for text in texts} - {None}
        return lambda value: (
            value is not None
            and (
                metadata_text(value) in texts
                or (
                    isinstance(value, int | float)
                    and not isinstance(value, bool)
                    and value in numbers
                )
            )
        )
    limits = [parser.number(line, term.start, value) for value in term.values]
    compare = _COMPARE[term.operator]

    def test(value: Any) -> bool:
        number = None if isinstance(value, bool) else _float(value)
        return number is not None and any(bool(compare(number, limit)) for limit in limits)

    return test


def metadata_text(value: Any) -> str:
    """Return a metadata value as slices compare it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _float(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
