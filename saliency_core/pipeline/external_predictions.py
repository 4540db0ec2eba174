"""Predictions made elsewhere against the model's own: are these the model and the data meant?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from saliency_core.data.dataset import Dataset
from saliency_core.data.labels.mapping import known_labels, map_labels
from saliency_core.errors import UserError
from saliency_core.records import Doubt, Example
from saliency_core.store.query.masks import metadata_text
from saliency_core.store.query.terms import metadata_term, quote

if TYPE_CHECKING:
    from saliency_core.store import Run

MANY = 0.05
"""Part of the examples from which a disagreement is more than rounding."""


@dataclass(frozen=True)
class Comparison:
    """How a column of predictions and the model's own agree."""

    column: str
    compared: int
    differ: int
    unknown: int
    """Examples whose cell is empty or no label of the model, or that failed."""
    commonest: tuple[str, str, str, int] | None
    """The cell, its label and the model's label that differ most often, and how often."""

    @property
    def beginning(self) -> str:
        """How the sentence begins, so that a later one replaces it."""
        return f"The predictions in column {self.column!r} "

    def sentence(self) -> str:
        """Say what was found and where to look."""
        aside = f" {self.unknown} could not be compared." if self.unknown else ""
        if not self.compared:
            return f"{self.beginning}could not be compared with the model's own on any example."
        if self.commonest is None:
            return f"{self.beginning}are the model's own on all {self.compared} examples.{aside}"
        cell, _, own, count = self.commonest
        many = ""
        if self.differ > MANY * self.compared:
            many = f" {Doubt.OTHER_PREDICTIONS}: was it another model, label order or text length?"
        return (
            f"{self.beginning}differ from the model's own on {self.differ} of {self.compared} "
            f"examples ({self.differ / self.compared:.1%}), most often {cell} there and {own} here "
            f"({count}; {metadata_term(self.column, cell)} predicted:{quote(own)}).{many}"
            f"{aside}"
        )


def check_column(
    dataset: Dataset,
    sample: Iterable[Example],
    column: str,
    model_labels: Sequence[str],
    label_map: dict[str, str],
    label_index: Mapping[str, int],
) -> None:
    """Stop before anything is computed where a column holds no predictions of this model.

    Labels and predictions share one map, so a map that is offered leaves the labels
    (`label_index`: of `map_labels`) as they are.
    """
    if column in dataset.info.columns.values():
        raise UserError(
            f"--predictions-from: column {column!r} of {dataset.info.source} is taken for the "
            f"{next(r for r, name in dataset.info.columns.items() if name == column)} already."
        )
    if column not in dataset.info.metadata_columns:
        raise UserError(
            f"--predictions-from: {dataset.info.source} has no column {column!r}; its other "
            f"columns are {', '.join(dataset.info.metadata_columns) or 'none'}."
        )
    values = (example.metadata[column] for example in sample)
    cells = {metadata_text(value) for value in values if value is not None} - {""}
    try:
        map_labels(
            sorted(cells),
            model_labels,
            label_map,
            keep=label_index,
            what=f"predictions in column {column!r}",
        )
    except UserError as error:
        raise UserError(f"--predictions-from: {error}") from error


def compare(run: Run, column: str, label_map: dict[str, str]) -> Comparison:
    """Compare a metadata column of a finished run with what the model predicted."""
    names = run.label_names
    cells, codes = np.unique(run.metadata_values(column).astype(str), return_inverse=True)
    known = known_labels([cell for cell in cells.tolist() if cell], names, label_map)
    index = np.array([known.get(cell, -1) for cell in cells.tolist()], np.int64)
    own = np.asarray(run.column("predicted"), np.int64)
    there = index[codes]
    comparable = (there >= 0) & (own >= 0)
    differ = comparable & (there != own)
    pairs = Counter(zip(codes[differ].tolist(), own[differ].tolist(), strict=True))
    commonest = None
    if pairs:
        (code, label), count = pairs.most_common(1)[0]
        commonest = (str(cells[code]), names[index[code]], names[label], count)
    return Comparison(
        column=column,
        compared=int(comparable.sum()),
        differ=int(differ.sum()),
        unknown=int((~comparable).sum()),
        commonest=commonest,
    )
