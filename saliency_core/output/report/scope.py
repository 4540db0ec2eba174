"""The slice a report speaks of, and numbers as its readers write them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from saliency_core.stats import wilson

if TYPE_CHECKING:
    from saliency_core.store import Run, Slice


@dataclass(frozen=True)
class View:
    """The slice of a run that a report speaks of."""

    part: Slice

    @property
    def run(self) -> Run:
        """The run."""
        return self.part.run

    @property
    def where(self) -> str:
        """The filter; empty where the report is about all examples."""
        return self.part.where

    def count(self, term: str = "") -> int:
        """Count the examples of the slice that fit a further term."""
        return self.part.filter(term).count()

    @property
    def layer(self) -> int:
        """The layer that is read."""
        return self.run.layer_to_read()

    @property
    def labels(self) -> list[str]:
        """The model's labels in the order of its logits."""
        return self.run.label_names

    @property
    def regression(self) -> bool:
        """Whether the model predicts a number, not a class."""
        return self.run.model.task == "regression"


def percent(part: float, whole: float) -> str:
    """Return a part of a whole in per cent, a dash where there is no whole."""
    return f"{part / whole:.1%}" if whole else "–"


def interval(right: int, judged: int) -> str:
    """Return the 95 % Wilson interval of a rate as text."""
    if not judged:
        return ""
    low, high = wilson(right, judged)
    return f"{low:.1%} to {high:.1%}"


def number(value: Any, form: str = ".3f") -> str:
    """Return a number as text, a dash where there is none."""
    if value is None or value != value:
        return "–"
    return format(value, form)


def plain_text(value: Any) -> str:
    """Return a cell as text; what is missing is empty."""
    return "" if value is None or value != value else str(value)
