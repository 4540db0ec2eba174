"""The number whose cause is asked for: a weighted sum of logits, for each example its own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from saliency_core.errors import UserError
from saliency_core.records import ModelInfo

MULTI_LABEL_THRESHOLD = 0.5


class Targets:
    """The run's own target, and the contrast beside it wherever the prediction is wrong."""

    def __init__(self, model: ModelInfo, target: str) -> None:
        """Check the target, `predicted`, `gold` or `class:NAME`, against the model's labels."""
        self.model = model
        self.target = target
        self.class_index = self._class_index()

    def _class_index(self) -> int | None:
        if not self.target.startswith("class:"):
            if self.target not in ("predicted", "gold"):
                raise UserError(
                    f"--target {self.target!r} is unknown; choose predicted, gold or class:NAME."
                )
            if self.target == "gold" and self.model.task != "single-label":
                raise UserError(
                    f"--target gold needs one gold class per example; {self.model.name} "
                    f"is a {self.model.task} model. Choose predicted or class:NAME."
                )
            return None
        name = self.target.removeprefix("class:")
        names = self.model.label_names
        if name not in names:
            raise UserError(f"--target {self.target!r}: choose class:NAME of {', '.join(names)}.")
        return names.index(name)

    def weights(self, logits: Tensor, gold: Sequence[int | None]) -> Tensor:
        """Return (target, batch, class) weights: the run's target, then contrast where wrong."""
        predicted = logits.argmax(-1)
        rows = torch.arange(len(logits), device=logits.device)
        first = torch.zeros_like(logits)
        if self.class_index is not None:
            first[:, self.class_index] = 1
            return first.unsqueeze(0)
        if self.model.task == "multi-label":
            return _labels_above_threshold(logits)
        known = torch.tensor(
            [-1 if label is None else label for label in gold], device=logits.device
        )
        wrong = (known >= 0) & (known != predicted)
        chosen = torch.where(known >= 0, known, predicted) if self.target == "gold" else predicted
        first[rows, chosen] = 1
        if not wrong.any():
            return first.unsqueeze(0)
        contrast = torch.zeros_like(logits)
        contrast[rows[wrong], predicted[wrong]] = 1
        contrast[rows[wrong], known[wrong]] -= 1
        return torch.stack([first, contrast])

    def names(self, weights: np.ndarray) -> list[str | None]:
        """Return the names of an example's targets, (target, class); None where it has none."""
        if self.model.task == "multi-label" and self.class_index is None:
            names = self.model.label_names
            return [f"label:{names[row.argmax()]}" if row.any() else None for row in weights]
        return [self.target, *("contrast" if row.any() else None for row in weights[1:])]


def _labels_above_threshold(logits: Tensor) -> Tensor:
    """Return (target, batch, class) weights: a row's labels above threshold, highest first.

    The highest label always counts, so that a text without any label still says why.
    """
    order = logits.argsort(dim=-1, descending=True, stable=True)
    above = torch.sigmoid(logits.float()) > MULTI_LABEL_THRESHOLD
    counts = above.sum(-1).clamp(min=1)  # (batch,)
    weights = logits.new_zeros(int(counts.max()), *logits.shape)
    for number in range(len(weights)):
        rows = torch.nonzero(counts > number).squeeze(-1)
        weights[number, rows, order[rows, number]] = 1
    return weights
