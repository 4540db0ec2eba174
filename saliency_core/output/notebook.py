"""One audited example as a notebook shows it: painted, with its words as a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from saliency_core.output.highlighting import painted, pieces_of_example, scale_of
from saliency_core.store import Run

LEADING = 3
"""Words named where only text can be shown."""


@dataclass(frozen=True)
class PaintedExample:
    """An example at one layer; the last line of a notebook cell shows it painted."""

    example: dict[str, Any]
    """As `Store.example` returns it."""
    layer: int
    words: list[dict[str, Any]]
    """As `Store.top_words` returns them: word, start, end, side, score (logits), share."""

    @property
    def heading(self) -> str:
        """Say what the label is, what the model said and how sure it was."""
        row = self.example
        if row["failure"]:
            return f"{row['id']}: {row['failure']}"
        outcome = row["predicted"] if row["gold"] is None else f"{row['gold']} → {row['predicted']}"
        return f"{row['id']}: {outcome}, confidence {row['confidence']:.3f}, layer {self.layer}"

    def frame(self) -> pd.DataFrame:
        """Return the words with their scores, in the order of the text."""
        return pd.DataFrame(self.words, columns=["word", "start", "end", "side", "score", "share"])

    def __repr__(self) -> str:
        """Return the heading and the words that speak most for the prediction."""
        best = sorted(self.words, key=lambda word: -word["score"])[:LEADING]
        named = ", ".join(f"{word['word']} {word['score']:+.2f}" for word in best)
        return f"<{self.heading}; {named}>" if named else f"<{self.heading}>"

    def _repr_html_(self) -> str:
        """Return escaped HTML: orange words speak for the prediction, blue ones against it."""
        scale = scale_of([word["score"] for word in self.words])
        texts = pieces_of_example(self.example, self.words, scale)
        return painted(texts, self.heading)


def show_example(run: Run, example: int | str, *, layer: int | None = None) -> PaintedExample:
    """Return an example for a notebook cell.

    Args:
        run: A run.
        example: Position (int) or external id (str).
        layer: 0 to L; the recommended one by default.

    Raises:
        UserError: no such example or layer.
    """
    layer = run.layer_to_read(layer)
    found = run.example(example)
    (words,) = run.top_words([found["example"]], layer)
    return PaintedExample(found, layer, words)
