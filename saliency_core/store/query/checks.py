"""Whether the names and values of a filter occur in a run: what does not, and what does instead.

What a run can't have, such as a label of no class, is a mistake. A value that could occur but
does not is a note: the filter means something, and selects nothing by it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from saliency_core.store.query import terms
from saliency_core.store.query.mistakes import (
    FilterError,
    Fix,
    Mistake,
    listed,
    near,
    same_name,
    shown,
)
from saliency_core.store.query.parser import instead, names_instead, number
from saliency_core.store.query.tree import Term, Value
from saliency_core.words import named_spans

if TYPE_CHECKING:
    from saliency_core.store.read.run import Run

DEEPEST = 20
"""Saved slices within saved slices."""
_ALIKE = 2_000
"""Words with the same beginning among which the nearest is looked for."""


class Checks:
    """What a run says of the terms of a filter."""

    def __init__(self, run: Run, inside: tuple[str, ...] = ()) -> None:
        """Take the run, and the saved slices that the filter is part of."""
        self.run, self.store, self.inside = run, run.store, inside

    def mistakes(self, found: Iterable[Term]) -> list[Mistake]:
        """Return what the run can't have."""
        return [mistake for term in found for mistake in self._mistakes_of(term)]

    def notes(self, found: Iterable[Term]) -> list[Mistake]:
        """Return what never occurs in the run, though it could."""
        return [note for term in found for note in self._notes_of(term)]

    def _mistakes_of(self, term: Term) -> Iterable[Mistake]:
        if term.field.startswith(terms.META):
            return self._column(term)
        if term.field in (*terms.QUALITY_FLAGS, "label_quality", "problem"):
            return self._quality(term)
        tell = {
            "gold": self._labels,
            "predicted": self._labels,
            **dict.fromkeys(terms.IN_RUN, self._runs),
            "slice": self._slices,
            "tag": self._tags,
            "salient": self._layer,
            "regex": _pattern,
            "word": self._bare_words,
        }.get(term.field)
        return tell(term) if tell else ()

    def _labels(self, term: Term) -> Iterator[Mistake]:
        names = self.run.label_names
        for value in term.values:
            if same_name(value.text, names) is None:
                yield _no_such(value, "not a label", "labels", names)

    def _runs(self, term: Term) -> Iterator[Mistake]:
        numbers = [str(number) for number in sorted([self.run.number, *self.run.comparable()])]
        for value in term.values:
            if value.text not in numbers:
                yield _no_such(value, "not a run over this dataset", "runs", numbers)

    def _tags(self, term: Term) -> Iterator[Mistake]:
        tags = sorted(self.store.annotations(self.run.number).tags)
        for value in term.values:
            if value.text not in tags:
                yield _no_such(value, "not a tag", "tags", tags)

    def _slices(self, term: Term) -> Iterator[Mistake]:
        rows = self.store.rows("SELECT name, condition FROM slices ORDER BY name")
        saved: dict[str, str] = dict(rows)
        for value in dict.fromkeys(term.values):
            if len(self.inside) >= DEEPEST:
                yield Mistake(value.start, f"Saved slices are nested more than {DEEPEST} deep.")
            elif value.text not in saved:
                yield _no_such(value, "not a saved slice", "saved slices", list(saved))
            elif value.text in self.inside:
                yield Mistake(value.start, f"The saved slice {shown(value.text)} refers to itself.")
            else:
                yield from self._saved(value, saved[value.text])

    def _saved(self, value: Value, line: str) -> Iterator[Mistake]:
        from saliency_core.store.query.masks import Selection

        try:
            Selection(self.run, line, (*self.inside, value.text)).check()
        except FilterError as error:
            sentence = f"The saved slice {shown(value.text)} can't be read here: {error}"
            yield Mistake(value.start, sentence)

    def _quality(self, term: Term) -> Iterator[Mistake]:
        """Tell of what no check of the dataset found out yet."""
        name = "text_problems" if term.field == "problem" else term.field
        if self.run.columns.quality(name) is None:
            needed = "data-quality --train FILE" if term.field == "in_train" else "data-quality"
            number = self.run.number
            what = f"{shown(term.field)} is not known for run {number} yet"
            yield Mistake(term.start, f"{what}; `{needed} --run {number}` finds it.")

    def _column(self, term: Term) -> Iterator[Mistake]:
        name, columns = term.field.removeprefix(terms.META), self.run.metadata_columns()
        if name not in columns:
            start = term.start + len(terms.META)
            fixes = tuple(
                Fix(start, term.name_end, terms.quote_name(column), column)
                for column in near(name, columns)
            )
            there = f"they are {listed(columns)}" if columns else "this run has none"
            yield Mistake(start, f"{shown(name)} is not a metadata column; {there}.", fixes)

    def _layer(self, term: Term) -> Iterator[Mistake]:
        top = self.run.model.layers
        for value in term.values:
            word, layer = salient_word(value.text)
            if layer is not None and layer > top:
                right = terms.quote(f"{word}@{top}")
                fix = instead(value, right, f"{term.field}:{right}")
                place = value.start + len(word) + 1
                yield Mistake(place, f"There is no layer {layer}; layers are 0 to {top}.", (fix,))

    def _bare_words(self, term: Term) -> Iterator[Mistake]:
        """Tell of words without a name that no text contains: they may be mistyped terms."""
        for value in term.values if term.is_bare else ():
            if self.store.word_id(value.text) is not None:
                continue
            fixes = [instead(value, name) for name in near(value.text, terms.FLAGS)]
            fixes += _as_phrase(value)
            fixes += [
                instead(value, f"word:{terms.quote(word)}") for word in self._alike(value.text)
            ]
            what = f"{shown(value.text)} isn't a filter term, and no text contains this word."
            if value.text.lower() in (*terms.NAMED, *terms.NUMBERS):
                what = f"{shown(value.text)} needs a value, and no text contains this word."
            yield Mistake(value.start, what, tuple(fixes[:3]))

    def _alike(self, word: str) -> list[str]:
        """Return the words of the file most like one that it lacks."""
        head = word.lower()[:2]
        rows = self.store.rows(
            "SELECT word FROM vocabulary WHERE word >= ? AND word < ? ORDER BY word LIMIT ?",
            (head, head[:-1] + chr(min(ord(head[-1]) + 1, 0x10FFFF)) if head else "", _ALIKE),
        )
        return near(word, [row[0] for row in rows if row[0] not in terms.FLAGS], 2, 0.75)

    def _notes_of(self, term: Term) -> Iterator[Mistake]:
        if term.field in ("word", "salient") and not term.is_bare:
            for value in term.values:
                is_salient = term.field == "salient"
                word, layer = salient_word(value.text) if is_salient else (value.text, None)
                if self.store.word_id(word) is None:
                    yield self._no_such_word(value, word, "" if layer is None else f"@{layer}")
        elif term.field == "id":
            for value in term.values:
                yield from self._id(value)
        elif term.field.startswith(terms.META):
            yield from self._metadata(term)

    def _no_such_word(self, value: Value, word: str, layer: str) -> Mistake:
        fixes = names_instead(value, [alike + layer for alike in self._alike(word)])
        return Mistake(value.start, f"No text contains the word {shown(word)}.", fixes)

    def _id(self, value: Value) -> Iterator[Mistake]:
        if self.run.position_of(value.text) is not None:
            return
        rows = self.store.rows(
            "SELECT id FROM examples WHERE run = ? AND id >= ? ORDER BY id LIMIT 200",
            (self.run.number, value.text[:-1]),
        )
        rows += self.store.rows(
            "SELECT id FROM examples WHERE run = ? ORDER BY id LIMIT 3", (self.run.number,)
        )
        ids = [row[0] for row in rows]
        there = listed([shown(one) for one in ids[-3:]]) if ids else "none"
        sentence = f"No example has the id {shown(value.text)}; ids look like {there}."
        yield Mistake(value.start, sentence, names_instead(value, near(value.text, ids, 2, 0.75)))

    def _metadata(self, term: Term) -> Iterator[Mistake]:
        column = term.field.removeprefix(terms.META)
        texts = self.run.metadata_texts(column)
        if term.operator != ":":
            if not any(number(Value(text)) is not None for text in texts):
                yield Mistake(
                    term.start, f"{column} contains no numbers; its values are {listed(texts)}."
                )
            return
        known = set(texts)
        numbers = {number(Value(text)) for text in texts} - {None}
        for value in term.values:
            if value.text not in known and number(value) not in numbers:
                fixes = names_instead(value, near(value.text, texts))
                sentence = f"{column} is never {shown(value.text)}; its values are {listed(texts)}."
                yield Mistake(value.start, sentence, fixes)


def salient_word(text: str) -> tuple[str, int | None]:
    """Return the word and the layer of `WORD@LAYER`; None where it names no layer."""
    word, _, layer = text.rpartition("@")
    return (word, int(layer)) if word and layer.isdecimal() else (text, None)


def _no_such(value: Value, what: str, all_of_them: str, names: Sequence[str]) -> Mistake:
    there = f"the {all_of_them} are {listed(names)}" if names else f"there are no {all_of_them}"
    fixes = names_instead(value, near(value.text, names))
    return Mistake(value.start, f"{shown(value.text)} is {what}; {there}.", fixes)


def _as_phrase(value: Value) -> list[Fix]:
    """Return the phrase that several words without a blank between them are, if they are."""
    if len(named_spans(value.text)) < 2 or not any(letter.isalnum() for letter in value.text):
        return []
    return [instead(value, terms.quote_phrase(value.text))]


def _pattern(term: Term) -> Iterator[Mistake]:
    import pyarrow
    from pyarrow import compute

    (value,) = term.values
    try:
        compute.match_substring_regex(pyarrow.array([""]), pattern=value.text)
    except (pyarrow.ArrowException, UnicodeEncodeError) as error:
        reason = str(error).removeprefix("Invalid regular expression: ")
        sentence = f"{shown(value.text)} is not a valid RE2 regular expression ({reason})."
        yield Mistake(value.start, sentence)
