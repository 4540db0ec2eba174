"""Which labels may be wrong? Confident learning on the stored probabilities.

Northcutt, Jiang and Chuang 2021, "Confident Learning: Estimating Uncertainty in Dataset Labels",
JAIR 70 (arXiv 1911.00068). With y the labels as given and p(j | x) the model's probabilities:

- threshold of a class, their equation 2: t_j = mean of p(j | x) over the x labelled j;
- confident label: the most probable of the classes with p(j | x) >= t_j, none where no class
  reaches its threshold;
- confident joint, equation 1: C[i, j] = number of x labelled i whose confident label is j;
- calibrated joint, equation 3: the rows of C scaled to the number of examples of each label, the
  whole to add up to one.

An example whose confident label is not its own is a label issue. Examples are ranked by
self-confidence, p(y | x), or by the normalised margin, (p(y | x) - max_{j != y} p(j | x) + 1) / 2.
What holds of the numbers: they suppose that the model was not trained on these rows, and a mistake
that the model makes with confidence counts as a wrong label.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from saliency_core.errors import UserError
from saliency_core.stats import cross_table
from saliency_core.store import Run

REPEATS = 200
"""Bootstrap samples of the interval."""
SAMPLED = 20_000
"""Examples of a bootstrap sample; the interval of more is narrowed by the root of the ratio."""
LIKELY_CLASSES = 5
"""Classes an example is given to in a bootstrap sample at most: its most probable ones."""
BLOCK = 100_000
"""Examples whose probabilities are computed at once."""
TRAINED_ACCURACY = 0.995
"""Accuracy from which the rows are suspected to have been trained on."""


@dataclass(frozen=True)
class LabelIssues:
    """What confident learning says of the labels of a run."""

    quality: np.ndarray
    """(example,) float32 by rising position: self-confidence; not a number without label or
    answer."""
    likely: np.ndarray
    """(example,) int32: index of the label that is likely right; -1 where there is no issue."""
    joint: np.ndarray
    """(class, class) float64: examples by label and confident label, as counted."""
    judged: int
    """Examples with a label and an answer."""
    estimated: int
    low: float
    high: float
    """Label issues, and the 95 % bootstrap interval of their number."""

    def noise(self, names: list[str]) -> pd.DataFrame:
        """Return gold, likely, rate and examples of each pair of labels that is mixed up.

        The rate is the part of a label's examples whose likely label is the other one, by the
        calibrated joint.
        """
        rates = self.joint / np.maximum(self.joint.sum(1, keepdims=True), 1)
        off = np.argwhere((self.joint > 0) & ~np.eye(len(names), dtype=bool))
        rows = [
            (names[i], names[j], float(rates[i, j]), int(self.joint[i, j])) for i, j in off.tolist()
        ]
        frame = pd.DataFrame(rows, columns=["gold", "likely", "rate", "examples"])
        return frame.sort_values("examples", ascending=False, kind="stable", ignore_index=True)


def label_issues(run: Run, *, seed: int = 0) -> LabelIssues:
    """Return what confident learning says of the labels of a run.

    Raises:
        UserError: the run has no single labels, or none at all.
    """
    from scipy.special import softmax

    if run.model.task != "single-label":
        raise UserError(
            f"Run {run.number} is {run.model.task}; label issues need one label per example."
        )
    with run.steady():
        gold, probabilities = run.column("gold").astype(np.int32), run.logits()
    for start in range(0, len(probabilities), BLOCK):
        block = probabilities[start : start + BLOCK]
        block[:] = softmax(block, axis=1)
    judged = (gold >= 0) & ~np.isnan(probabilities[:, :1]).any(1)
    if not judged.any():
        raise UserError(
            f"Run {run.number} has no label to compare with a prediction; audit a dataset with "
            "--label-column to look for label issues."
        )
    labels = gold[judged]
    own = probabilities[judged]
    confident = confident_labels(own, thresholds(own, labels))
    quality = np.full(len(gold), np.nan, np.float32)
    quality[judged] = self_confidence(own, labels)
    likely = np.full(len(gold), -1, np.int32)
    likely[judged] = np.where(confident == labels, -1, confident)
    joint = confident_joint(labels, confident, own.shape[1])
    estimated = int(np.count_nonzero(likely >= 0))
    low, high = _interval(own, labels, estimated, seed)
    return LabelIssues(quality, likely, joint, len(labels), estimated, low, high)


def thresholds(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return (class,) t_j: the mean self-confidence of each label; infinite without examples."""
    classes = probabilities.shape[1]
    own = self_confidence(probabilities, labels).astype(np.float64)
    n = np.bincount(labels, minlength=classes)
    total = np.bincount(labels, own, minlength=classes)
    return np.divide(total, n, out=np.full(classes, np.inf), where=n > 0)


def confident_labels(probabilities: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """Return (example,) the most probable class that reaches its threshold; -1 where none does."""
    found = np.full(len(probabilities), -1, np.int32)
    for start in range(0, len(probabilities), BLOCK):
        part = probabilities[start : start + BLOCK]
        # A mean of equal numbers may be above them by a rounding.
        reached = np.where(part >= limits.astype(np.float32), part, -1)
        best = reached.argmax(1)
        found[start : start + BLOCK] = np.where(reached[np.arange(len(part)), best] < 0, -1, best)
    return found


def confident_joint(labels: np.ndarray, confident: np.ndarray, classes: int) -> np.ndarray:
    """Return (class, class) C: examples by label and confident label."""
    counted = confident >= 0
    return cross_table(labels[counted], confident[counted], (classes, classes)).astype(np.float64)


def calibrated_joint(joint: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return (class, class) Q: the joint distribution of label and true label, adding up to one."""
    n = np.bincount(labels, minlength=len(joint)).astype(np.float64)
    rows = joint.sum(1)
    scale = np.divide(n, rows, out=np.zeros_like(n), where=rows > 0)
    scaled = joint * scale[:, None]
    return scaled / max(scaled.sum(), 1e-300)


def self_confidence(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return (example,) p(y | x): how plausible the model finds the label."""
    return np.take_along_axis(probabilities, labels[:, None].astype(np.int64), 1)[:, 0]


def normalised_margin(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return (example,) (p(y | x) - max of the other classes + 1) / 2."""
    others = probabilities.copy()
    np.put_along_axis(others, labels[:, None].astype(np.int64), -np.inf, 1)
    return (self_confidence(probabilities, labels) - others.max(1) + 1) / 2


def trained_on(run: Run) -> str | None:
    """Say why the audited rows may have been trained on, since then less is found; else None."""
    known = run.quality("in_train")
    if known is not None:
        return (
            f"{np.mean(known > 0):.0%} of the audited texts also occur in the training data, word "
            "for word or nearly so; models often memorise wrong training labels, so some wrong "
            "labels may go undetected."
            if (known > 0).any()
            else None
        )
    if "train" in f"{run.dataset.name} {run.dataset.split or ''}".lower():
        return (
            "Judging by its name, this is training data; models often memorise wrong training "
            "labels, so some wrong labels may go undetected."
        )
    accuracy = run.accuracy
    if accuracy is not None and accuracy >= TRAINED_ACCURACY:
        return (
            f"{accuracy:.1%} of the predictions are right, which is typical of rows that a model "
            "was trained on; if so, some wrong labels may go undetected."
        )
    return None


def _interval(
    probabilities: np.ndarray, labels: np.ndarray, estimated: int, seed: int
) -> tuple[float, float]:
    """Return the 95 % interval of the number of issues: resampled examples, new thresholds."""
    draw = np.random.default_rng(seed)
    n, classes = probabilities.shape
    m = min(n, SAMPLED)
    some = draw.choice(n, m, replace=False) if m < n else np.arange(n)
    part, labels = probabilities[some], labels[some]
    # The confident label is the first class, from the most probable down, that reaches its limit.
    ranked = np.argsort(-part, axis=1, kind="stable")[:, :LIKELY_CLASSES]
    chance = np.take_along_axis(part, ranked, 1)
    own = self_confidence(part, labels).astype(np.float64)
    counts = []
    for _ in range(REPEATS):
        weights = np.bincount(draw.integers(0, m, m), minlength=m)
        size = np.bincount(labels, weights, minlength=classes)
        total = np.bincount(labels, weights * own, minlength=classes)
        limits = np.divide(total, size, out=np.full(classes, np.inf), where=size > 0)
        reached = chance >= limits.astype(np.float32)[ranked]
        first = reached.argmax(1)
        confident = np.take_along_axis(ranked, first[:, None], 1)[:, 0]
        issue = reached.any(1) & (confident != labels)
        counts.append(weights[issue].sum() / m)
    low, high = np.quantile(counts, (0.025, 0.975))
    rate, narrowing = np.mean(counts), np.sqrt(m / n)
    return (
        max(0.0, estimated - (rate - low) * narrowing * n),
        min(float(n), estimated + (high - rate) * narrowing * n),
    )
