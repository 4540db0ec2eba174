"""Long texts in overlapping windows: the maps of the windows become those of the text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from saliency_core.saliency.maps import ExampleMaps


def join_windows(
    parts: Sequence[ExampleMaps], starts: Sequence[int], logits: np.ndarray
) -> ExampleMaps:
    """Return the maps of a text from those of its windows.

    A token's score is the sum over the windows that contain it divided by the number of windows, so
    that the scores of a text add up to the mean of its windows' differences.

    Args:
        parts: the maps of each window, for the same targets.
        starts: first token of every window, among the tokens of the text.
        logits: (class,) mean of the windows' logits, which decided the target.
    """
    tokens = starts[-1] + parts[-1].scores.shape[-1]
    scores = np.zeros((*parts[0].scores.shape[:2], tokens), np.float32)  # (target, layer, token)
    for part, start in zip(parts, starts, strict=True):
        scores[:, :, start : start + part.scores.shape[-1]] += part.scores
    return ExampleMaps(
        scores=scores / len(parts),
        total=np.mean([part.total for part in parts], axis=0),
        change=np.mean([part.change for part in parts], axis=0),
        logits=logits,
        weights=parts[0].weights,
        incomplete=any(part.incomplete for part in parts),
    )
