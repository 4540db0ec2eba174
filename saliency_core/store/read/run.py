"""One run of a file, and a slice of its examples: what everything that reads is given.

The methods of both live in the modules of what they read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from saliency_core.errors import UserError
from saliency_core.records import DatasetInfo, Doubt, ModelInfo, RunSettings, record_of
from saliency_core.store.connection import consistent
from saliency_core.store.query.editing import either_of, joined, rest_of
from saliency_core.store.query.masks import Selection
from saliency_core.store.query.mistakes import Mistake
from saliency_core.store.read import annotations as _annotations
from saliency_core.store.read import examples as _examples
from saliency_core.store.read import metrics as _metrics
from saliency_core.store.read import quality_columns as _quality_columns
from saliency_core.store.read import results as _results
from saliency_core.store.read import words as _words

if TYPE_CHECKING:
    from saliency_core.store.query.columns import Filters
    from saliency_core.store.read.store import Store


@dataclass(frozen=True)
class Facts:
    """What a file says of a run at one state."""

    model: ModelInfo
    dataset: DatasetInfo
    settings: RunSettings
    label_names: list[str]
    targets: list[str]
    recommended: int | None
    most_readable: int | None
    tied: list[int]
    warnings: list[str]
    extra: dict[str, Any]
    created: str
    seconds: float | None
    status: str
    versions: dict[str, str]


def read_facts(store: Store, run: int) -> Facts:
    """Return what the file says of a run.

    Raises:
        UserError: the file has no such run.
    """
    names = [field.name for field in fields(Facts)]
    columns = {"model": "model_info", "dataset": "dataset_info"}
    found = store.rows(
        f"SELECT {', '.join(columns.get(name, name) for name in names)} FROM runs WHERE run = ?",
        (run,),
    )
    if not found:
        known = ", ".join(str(row[0]) for row in store.rows("SELECT run FROM runs"))
        raise UserError(f"{store.path} has no run {run}; it has: {known or 'none'}.")
    row = dict(zip(names, found[0], strict=True))
    kept_as_json = ("label_names", "targets", "tied", "warnings", "extra", "versions")
    row |= {name: json.loads(row[name]) for name in kept_as_json}
    records = {"model": ModelInfo, "dataset": DatasetInfo, "settings": RunSettings}
    row |= {name: record_of(kind, json.loads(row[name])) for name, kind in records.items()}
    return Facts(**row)


def _fact(name: str) -> Any:
    """Return an attribute that says what the file says of the run at this moment."""
    return property(lambda run: getattr(run.store.facts(run.number), name))


class Run:
    """One run of a file; `Store.run` gives it.

    What it says is what the file says when it is asked.
    """

    model: ModelInfo = _fact("model")
    dataset: DatasetInfo = _fact("dataset")
    settings: RunSettings = _fact("settings")
    label_names: list[str] = _fact("label_names")
    targets: list[str] = _fact("targets")
    recommended: int | None = _fact("recommended")
    """The layer to read; None until the audit has finished."""
    most_readable: int | None = _fact("most_readable")
    tied: list[int] = _fact("tied")
    """Layers that are not shown to be worse than the recommended one."""
    warnings: list[str] = _fact("warnings")
    extra: dict[str, Any] = _fact("extra")
    created: str = _fact("created")
    seconds: float | None = _fact("seconds")
    status: str = _fact("status")
    versions: dict[str, str] = _fact("versions")

    def __init__(self, store: Store, number: int) -> None:
        """Use `Store.run`, which checks the number first."""
        self.store, self.number = store, number

    def __repr__(self) -> str:
        """Return what names it."""
        return f"<Run {self.number} of {self.store.path}>"

    @contextmanager
    def steady(self) -> Iterator[None]:
        """Answer from one state of the file, as `Store.steady`.

        Raises:
            UserError: the file no longer has the run.
        """
        with self.store.steady():
            self.store.facts(self.number)
            yield

    def filter(self, *where: str) -> Slice:
        """Return the examples that fit all of some filters, each as it was typed; all by default.

        What is wrong with one is said at its own places, once its examples are asked for.
        """
        return Slice(self, tuple(line.strip() for line in where if line.strip()))

    @property
    def columns(self) -> Filters:
        """Return its filter columns at this state of the file."""
        return self.store.columns(self.number)

    @property
    def is_finished(self) -> bool:
        """Return whether the audit has come to its end."""
        return self.status == "finished"

    @property
    def doubts(self) -> list[str]:
        """Return the warnings after which what is shown of the run may be wrong."""
        return [text for text in self.warnings if any(words in text for words in Doubt)]

    @property
    def incomplete(self) -> int:
        """Return the number of examples that the secant rule did not reach."""
        return self.extra.get("incomplete", 0)

    @property
    def windowed(self) -> int:
        """Return the number of texts that the model read in overlapping windows."""
        return self.extra.get("windowed", 0)

    @property
    def accuracy(self) -> float | None:
        """Return the share of right predictions among the labelled; None without labels."""
        right, wrong = (self.filter(term).count() for term in ("right", "wrong"))
        return right / (right + wrong) if right + wrong else None

    def comparable(self) -> list[int]:
        """Return the numbers of the other runs of the file over the dataset of this one."""
        return [
            other.number
            for other in self.store.all_runs()
            if other.number != self.number and other.dataset.source == self.dataset.source
        ]

    @consistent
    def layers(self) -> pd.DataFrame:
        """Return the layer summaries, and the ends of further 95 % intervals where known.

        Those of a causal model have `next_decodability` too.
        """
        rows = "layers WHERE run = ? ORDER BY layer"
        frame = self.store.frame(_results.LAYER_COLUMNS, rows, self.number)
        if len(frame):
            frame = frame.assign(**self.extra.get("intervals", {}))
        following = self.extra.get("next_decodability")
        if len(frame) and following is not None:
            frame["next_decodability"] = following
        return frame.astype({name: float for name in frame.columns[1:]})

    def layer_to_read(self, layer: int | None = None) -> int:
        """Return the layer that was asked for, else the recommended one, else the last but one.

        A run that has not finished, or in which there was nothing to compare, recommends none. At
        the last block all evidence sits on the classifier's own token.

        Raises:
            UserError: the run has no such layer.
        """
        top = self.model.layers
        if layer is None:
            return max(top - 1, 0) if self.recommended is None else self.recommended
        if not 0 <= int(layer) <= top:
            raise UserError(f"Run {self.number} has no layer {layer}; it has 0 to {top}.")
        return int(layer)

    @consistent
    def metadata_columns(self) -> list[str]:
        """Return the names of the metadata columns."""
        named = list(self.dataset.metadata_columns)
        found = self.store.rows(
            "SELECT name FROM meta_columns WHERE run = ? ORDER BY name", (self.number,)
        )
        return named + [name for (name,) in found if name not in named]

    def column(self, name: str) -> np.ndarray:
        """Return a filter column of all examples, as `Slice.column`."""
        return self.filter().column(name)

    metadata_codes = _examples.metadata_codes
    metadata_texts = _examples.metadata_texts
    metadata_values = _examples.metadata_values
    example = _examples.example
    examples_at = _examples.examples_at
    position_of = _examples.position_of
    details = _examples.details
    annotation = _annotations.annotation
    annotations_at = _annotations.annotations_at
    actions = _annotations.actions
    last_action_on = _annotations.last_action_on
    is_undone = _annotations.is_undone
    note = _annotations.note
    notes = _annotations.notes
    orphaned_notes = _annotations.orphaned_notes
    verdicts = _annotations.verdicts
    top_words = _words.top_words
    evaluations = _results.evaluations
    table = _results.table
    tables = _results.tables
    is_complete = _results.is_complete
    quality = _quality_columns.quality
    logits = _examples.logits


@dataclass(frozen=True)
class Slice:
    """A set of examples of a run; `Run.filter` gives it.

    `~part` is the set of all others, `part & other` and `part | other` those in both and in either.
    """

    run: Run
    lines: tuple[str, ...]
    """Filters that all hold, as they were typed."""

    @property
    def where(self) -> str:
        """Return the filter that names it; the empty one names all examples."""
        return joined(*self.lines)

    @property
    def store(self) -> Store:
        """Return the file."""
        return self.run.store

    def steady(self) -> AbstractContextManager[None]:
        """Answer from one state of the file, as `Run.steady`."""
        return self.run.steady()

    def filter(self, *where: str) -> Slice:
        """Return those of its examples that further filters name."""
        return self.run.filter(*where, *self.lines)

    def __and__(self, other: Slice) -> Slice:
        """Return the examples in both slices."""
        self._same_run(other)
        return self.run.filter(*self.lines, *other.lines)

    def __or__(self, other: Slice) -> Slice:
        """Return the examples in at least one of two slices."""
        self._same_run(other)
        self.check()
        other.check()
        return self.run.filter(either_of(self.where, other.where))

    def __invert__(self) -> Slice:
        """Return all other examples of the run."""
        self.check()
        return self.run.filter(rest_of(self.where))

    def _same_run(self, other: Slice) -> None:
        if (self.store, self.run.number) != (other.store, other.run.number):
            raise UserError(f"A slice of {self.run} and one of {other.run} hold no examples alike.")

    @consistent
    def check(self) -> None:
        """Refuse a filter that can't be read, or names what the run can't have.

        Raises:
            FilterError: with every mistake in it.
        """
        for line in self.lines:
            Selection(self.run, line).check()

    @consistent
    def notes(self) -> list[Mistake]:
        """Return what its filter names that never occurs in the run, with what does."""
        return [note for line in self.lines for note in Selection(self.run, line).notes()]

    @consistent
    def mask(self) -> np.ndarray:
        """Return (example,) bool over the run's examples by rising position."""
        columns = self.run.columns
        masks = [columns.mask(line, Selection(self.run, line).mask) for line in self.lines or ("",)]
        if len(masks) == 1:
            return masks[0]
        return columns.mask(self.lines, lambda: np.logical_and.reduce(masks))

    def count(self) -> int:
        """Return the number of examples."""
        return int(np.count_nonzero(self.mask()))

    @consistent
    def column(self, name: str) -> np.ndarray:
        """Return a filter column by rising position: position, gold, predicted, length, ..."""
        columns, mask = self.run.columns, self.mask()
        return (columns.position if name == "position" else columns.column(name))[mask]

    progress = _annotations.progress
    corrections = _annotations.corrections
    positions = _examples.positions
    examples = _examples.examples
    confusion = _metrics.confusion
    class_metrics = _metrics.class_metrics
    confidence = _metrics.confidence
    word_sums = _words.word_sums
    occurrences = _words.occurrences
