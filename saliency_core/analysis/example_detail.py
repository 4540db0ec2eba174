"""One example as it is looked at: its targets, and its words at every layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from saliency_core.store import Run
from saliency_core.words import shares, word_name, word_scores


def word_scores_by_target(example: dict[str, Any]) -> dict[str, np.ndarray]:
    """Return (layer, word) scores in logits of every target of an example.

    `gold` is added where it can be known: scores are linear in the target, so those of the gold
    class's logit are those of the predicted one minus those of the contrast.
    """
    found = {
        target: word_scores(saliency, example["word_of_token"], len(example["words"]))
        for target, saliency in example["saliency"].items()
    }
    if "predicted" in found and "contrast" in found:
        found["gold"] = found["predicted"] - found["contrast"]
    return found


def words_for_label(
    run: Run, positions: Sequence[int], layer: int
) -> list[tuple[list[dict[str, Any]], bool]]:
    """Return the words of examples, and of each whether they speak for the label.

    Scores are stored for the predicted class, and of a wrong prediction for the contrast to the
    label too; so words can speak for the label, whatever the model predicts. Where that was not
    stored, they speak for what the run was asked to explain.
    """
    frame = run.examples_at(positions)
    is_right = (frame["gold"].notna() & (frame["gold"] == frame["predicted"])).tolist()
    found = []
    for place, words in enumerate(run.top_words(positions, layer)):
        speaks = is_right[place] and run.settings.target in ("predicted", "gold")
        if not speaks and frame["gold"][place] is not None:
            example = run.example(int(positions[place]))
            scores = word_scores_by_target(example).get("gold")
            if scores is not None:
                words, speaks = words_of_layer(example, scores[layer]), True
        found.append((words, speaks))
    return found


def words_of_layer(example: dict[str, Any], scores: np.ndarray) -> list[dict[str, Any]]:
    """Return the words of one layer in the order of the text, as `Store.top_words` does.

    Args:
        example: as `Store.example` gives it.
        scores: (word,) logits.
    """
    frame = pd.DataFrame(
        {
            "word": [word_name(word) for word in example["words"]],
            "side": example["word_sides"],
            "start": example["word_spans"][:, 0],
            "end": example["word_spans"][:, 1],
            "score": scores.astype(float),
            "share": shares(scores).astype(float),
        }
    )
    return frame.to_dict("records")


def word_frame(words: list[dict[str, Any]]) -> pd.DataFrame:
    """Return words of `words_of_layer` as a table, highest score first."""
    frame = pd.DataFrame(words, columns=["word", "score", "share", "start", "end", "side"])
    if not frame["side"].any():
        frame = frame.drop(columns="side")
    return frame.sort_values("score", ascending=False, ignore_index=True)
