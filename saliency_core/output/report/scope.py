"""The slice a report speaks of, and numbers as its readers write them."""

from __future__ import annotations

from functools import cached_property
from pathlib import PureWindowsPath
from typing import Any

from saliency_core.analysis.slice_comparison import settled_prediction
from saliency_core.stats import wilson
from saliency_core.store.read.run import Slice


class View(Slice):
    """The slice of a run that a report speaks of."""

    @cached_property
    def right(self) -> int:
        """Examples predicted as their label says."""
        return self.filter("right").count()

    @cached_property
    def wrong(self) -> int:
        """Examples predicted otherwise."""
        return self.filter("wrong").count()

    @property
    def judged(self) -> int:
        """Examples with a label and a prediction."""
        return self.right + self.wrong

    @cached_property
    def settled(self) -> str | None:
        """`right` or `wrong` where the filter asks for such; see `settled_prediction`."""
        return settled_prediction(self)

    @property
    def layer(self) -> int:
        """The layer that is read."""
        return self.run.layer_to_read()


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
