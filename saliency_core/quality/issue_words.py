"""Why does the model contradict a label? The words for its answer, and those for the label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from saliency_core.store import Run
from saliency_core.words import word_scores

WORDS = 3
"""Words named of each side."""


def words_for_and_against(run: Run, positions: Sequence[int], layer: int) -> list[dict[str, str]]:
    """Return the words that speak for the predicted class and for the label, of each example.

    By the contrast of the two, which an audit keeps of every wrong answer; else, as when the answer
    is right, by the run's own target: what speaks for the answer, and what against it.

    Args:
        run: a run.
        positions: of examples.
        layer: 0 to L.

    Returns:
        For each `predicted` and `label`: words with commas between, strongest first.
    """
    return [_words_of(run.example(int(position)), layer) for position in positions]


def _words_of(example: dict[str, Any], layer: int) -> dict[str, str]:
    saliency = example["saliency"]
    if not saliency:
        return {"predicted": "", "label": ""}
    scores = saliency.get("contrast", next(iter(saliency.values())))[layer]
    by_word = word_scores(scores[None], example["word_of_token"], len(example["words"]))[0]
    order = np.argsort(-by_word, kind="stable").tolist()
    words = example["words"]
    return {
        "predicted": ", ".join(words[at] for at in order[:WORDS] if by_word[at] > 0),
        "label": ", ".join(words[at] for at in order[::-1][:WORDS] if by_word[at] < 0),
    }
