"""What a filter selects: its terms as masks over the examples of a run."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from saliency_core.jsonable import as_number
from saliency_core.store.format import codec, word_math
from saliency_core.store.query import parser, terms
from saliency_core.store.query.annotations import REVIEWED, spread
from saliency_core.store.query.checks import Checks, salient_word
from saliency_core.store.query.mistakes import FilterError, Mistake, same_name
from saliency_core.store.query.tree import And, Not, Term, Tree, Value, terms_of

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


FEW = 4
"""Up to this part of the examples only their own texts are read for a pattern, not all."""


class Selection:
    """One filter on the examples of one run."""

    def __init__(self, run: Run, line: str, inside: tuple[str, ...] = ()) -> None:
        """Take the filter as typed; `inside` are the saved slices it is part of."""
        self.run, self.number, self.line, self.inside = run, run.number, line, inside
        self.store, self.filters = run.store, run.columns
        self.columns = tuple(run.metadata_columns())
        self.reading = parser.resolved(line, self.columns)
        self.checks = Checks(run, inside)

    def _mistakes(self, line: str) -> list[Mistake]:
        reading = parser.resolved(line, self.columns)
        return [*reading.mistakes, *self.checks.mistakes(reading.terms)]

    def check(self) -> None:
        """Refuse a filter that can't be read, or names what the run can't have.

        Raises:
            FilterError: with every mistake in it.
        """
        mistakes = self._mistakes(self.line)
        if mistakes:
            raise FilterError(self.line, parser.proven(mistakes, self.line, self._mistakes))

    def notes(self) -> list[Mistake]:
        """Return what the filter names that never occurs in the run."""
        return self.checks.notes(self.reading.terms)

    def mask(self) -> np.ndarray:
        """Return (example,) bool by rising position.

        Raises:
            FilterError: as `check`.
        """
        self.check()
        return self._select(self.reading.tree)

    def _select(self, tree: Tree, among: np.ndarray | None = None) -> np.ndarray:
        """Return the examples that a tree holds for, in an array of its own.

        Args:
            tree: of the filter, or part of it.
            among: (example,) bool of those for which it must be right; None: all.
        """
        if isinstance(tree, Term):
            return self._term(tree, among)
        if isinstance(tree, Not):
            return ~self._select(tree.part, among)
        if not tree.parts:
            return np.ones(len(self.filters), bool)
        # What reads texts comes last, and reads those only that the others left.
        first, *others = sorted(dict.fromkeys(tree.parts), key=_reads_texts)
        mask = self._select(first, among)
        for part in others:
            if isinstance(tree, And):
                mask &= self._select(part, mask)
            else:
                mask |= self._select(part, among)
        return mask

    def _term(self, term: Term, among: np.ndarray | None) -> np.ndarray:
        """Return the examples that one term holds for."""
        if term.field == "regex":
            return self._regex(term.values[0].text, among)
        if term.field in terms.QUALITY_FLAGS:
            return self._quality(term.field) > (-1 if term.field == "duplicate" else 0)
        if term.field in terms.REVIEW_FLAGS:
            return self._annotated(term.field)
        if term.field in terms.FLAGS:
            return _flag(self.filters, term.field)
        if term.field in terms.NUMBERS:
            return self._number(term)
        if term.field.startswith(terms.META):
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
            "problem": self._problem,
            **dict.fromkeys(terms.IN_RUN, self._in_run),
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
        column = self._quality(name) if is_quality else self.filters.column(name)
        column = column.astype(np.float64)
        found = np.zeros(len(self.filters), bool)
        for limit in _numbers(term):
            found |= _COMPARE[term.operator](column, limit)
        found &= ~np.isnan(column)
        return found

    def _quality(self, name: str) -> np.ndarray:
        """Return a column of the checks of the dataset, which `check` found there."""
        column = self.filters.quality(name)
        assert column is not None, f"no column {name}"
        return column

    def _problem(self, term: Term, value: Value) -> np.ndarray:
        bits = self._quality("text_problems") >> terms.TEXT_PROBLEMS.index(value.text)
        mask: np.ndarray = bits & 1 == 1
        return mask

    def _label(self, term: Term, value: Value) -> np.ndarray:
        names = self.run.label_names
        name = same_name(value.text, names)
        mask: np.ndarray = self.filters.column(term.field) == (names.index(name) if name else -2)
        return mask

    def _in_run(self, term: Term, value: Value) -> np.ndarray:
        """Return the examples that another run is right or wrong on."""
        other = self.store.run(int(value.text)).columns
        rows = other.rows_of(self.filters.position)
        found = np.zeros(len(self.filters), bool)
        known = rows >= 0
        found[known] = _flag(other, term.field.removesuffix("_in"))[rows[known]]
        return found

    def _word(self, term: Term, value: Value) -> np.ndarray:
        return self._with_word(value.text, None)

    def _salient(self, term: Term, value: Value) -> np.ndarray:
        word, layer = salient_word(value.text)
        return self._with_word(word, self.run.layer_to_read(layer))

    def _with_word(self, word: str, layer: int | None) -> np.ndarray:
        """Return the examples that hold a word, or have it among the top three of a layer."""
        return self.filters.mask(
            (word.lower(), layer), lambda: self._find_word(self.store.word_id(word), layer)
        )

    def _find_word(self, word_id: int | None, layer: int | None) -> np.ndarray:
        if word_id is None:
            return np.zeros(len(self.filters), bool)
        stored = np.zeros(len(self.filters.storage_position), bool)
        for number, words, counts in self.store.rows(
            "SELECT chunk, words, counts FROM postings WHERE run = ?", (self.number,)
        ):
            segments = np.flatnonzero(codec.unpack(words) == word_id)
            if not len(segments):
                continue
            counts = codec.unpack(counts)
            at = word_math.ranges(word_math.starts_of(counts)[segments], counts[segments])
            occurrences, n_words = self.store.rows(
                "SELECT occurrences, n_words FROM postings JOIN chunks USING (run, chunk)"
                " WHERE run = ? AND chunk = ?",
                (self.number, number),
            )[0]
            places = codec.unpack(occurrences)[at]
            if layer is not None:
                bits = self.store.rows(
                    "SELECT top3 FROM scores"
                    " WHERE run = ? AND target = 0 AND layer = ? AND chunk = ?",
                    (self.number, layer, number),
                )[0][0]
                places = places[_bits(bits, places.astype(np.int64))]
            ends = word_math.starts_of(codec.unpack(n_words).astype(np.int64))
            slots = np.searchsorted(ends, places, side="right") - 1
            stored[self.filters.first_of[number] + slots] = True
        return self.filters.from_stored(stored)

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
        tagged = self.store.annotations(self.number).tagged(value.text)
        return spread(tagged, self.filters.position)

    def _id(self, term: Term, value: Value) -> np.ndarray:
        rows = self.store.rows(
            "SELECT position FROM examples WHERE run = ? AND id = ?", (self.number, value.text)
        )
        return self.filters.mask_of([row[0] for row in rows])

    def _phrase(self, term: Term, value: Value) -> np.ndarray:
        quoted = '"' + value.text.replace('"', '""') + '"'
        rows = self.store.rows(
            "SELECT e.position FROM texts_fts f CROSS JOIN examples e ON e.text_id = f.rowid"
            " WHERE texts_fts MATCH ? AND e.run = ?",
            (quoted, self.number),
        )
        return self.filters.mask_of([row[0] for row in rows])

    def _regex(self, pattern: str, among: np.ndarray | None) -> np.ndarray:
        """Match by RE2, whose time is linear in the text whatever the pattern."""
        if among is not None and np.count_nonzero(among) < len(among) // FEW:
            return self._matches(pattern, self.filters.position[among])
        # A copy: what is remembered is read-only.
        return self.filters.mask(("regex", pattern), lambda: self._matches(pattern)).copy()

    def _matches(self, pattern: str, positions: np.ndarray | None = None) -> np.ndarray:
        """Return the examples whose text or pair matches; of some positions, None: of all."""
        import pyarrow
        from pyarrow import compute

        found = np.zeros(len(self.filters), bool)
        some, named = "", []
        if positions is not None:
            some = " AND e.position IN (SELECT value FROM json_each(?))"
            named = [str(positions.tolist())]
        for rows, sides in self.filters.batches(
            "SELECT e.position, t.text, t.pair FROM examples e JOIN texts t USING (text_id)"
            f" WHERE e.run = ?{some}",
            *named,
        ):
            hits = [
                compute.match_substring_regex(
                    pyarrow.array(side, pyarrow.large_string()), pattern=pattern
                )
                for side in sides
            ]
            either = compute.or_kleene(*hits).fill_null(False)
            found[rows[either.to_numpy(zero_copy_only=False)]] = True
        return found

    def _saved(self, term: Term, value: Value) -> np.ndarray:
        line = self.store.rows("SELECT condition FROM slices WHERE name = ?", (value.text,))[0][0]
        saved = Selection(self.run, line, (*self.inside, value.text))
        return self.filters.mask(line, saved.mask)

    def _meta(self, term: Term) -> np.ndarray:
        return self.filters.metadata(term.field.removeprefix(terms.META), _meta_test(term), bool)


def _reads_texts(tree: Tree) -> bool:
    """Return whether a pattern is looked for in a tree."""
    return any(term.field == "regex" for term in terms_of(tree))


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


def _numbers(term: Term) -> list[float]:
    """Return those values of a term that are numbers."""
    return [limit for value in term.values if (limit := parser.number(value)) is not None]


def _meta_test(term: Term) -> Callable[[Any], bool]:
    """Return the test of a metadata value."""
    texts, numbers = {value.text for value in term.values}, set(_numbers(term))
    compare = _COMPARE[term.operator]

    def equals(value: Any) -> bool:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        is_same = metadata_text(value) in texts or (is_number and value in numbers)
        return value is not None and is_same

    def compares(value: Any) -> bool:
        number = None if isinstance(value, bool) else as_number(value)
        return number is not None and any(bool(compare(number, limit)) for limit in numbers)

    return equals if term.operator in (":", "=") else compares


def metadata_text(value: Any) -> str:
    """Return a metadata value as filters compare it."""
    return str(value).lower() if isinstance(value, bool) else str(value)
