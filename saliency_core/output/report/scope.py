"""The slice a report speaks of, and numbers as its readers write them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import PureWindowsPath
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

    @cached_property
    def right(self) -> int:
        """Examples predicted as their label says."""
        return self.count("right")

    @cached_property
    def wrong(self) -> int:
        """Examples predicted otherwise."""
        return self.count("wrong")

    @property
    def judged(self) -> int:
        """Examples with a label and a prediction."""
        return self.right + self.wrong

    @cached_property
    def settled(self) -> str | None:
        """`right` or `wrong` where the filter asks for such; see `settled_prediction`."""
        from saliency_core.analysis.slice_comparison import settled_prediction

        return settled_prediction(self.part)

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

    @property
    def model_name(self) -> str:
        """The model's hub name, or the last part of its folder."""
        return name_of(self.run.model.name)


def name_of(source: str) -> str:
    """Return a hub name as it is, and the last part of a path: folders are the auditor's own."""
    is_path = source.startswith(("/", ".", "~")) or source.count("/") > 1 or "\\" in source
    return (PureWindowsPath(source).name or source) if is_path else source


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
    text = format(value, form)
    # A negative number that rounds to nothing is nothing.
    return text if text.strip("-0.,%") else text.lstrip("-")


def plain_text(value: Any) -> str:
    """Return a cell as text; what is missing is empty."""
    return "" if value is None or value != value else str(value)
