"""Which labels are suspected by a model that has not seen them?

    python -m benchmarks.held_out_labels /tmp/completeness/snli

The folder is one that `examples.fine_tune` wrote, here for `benchmarks.completeness`. Prints the
accuracy on what was held out, the number of label issues, and those of the lowest self-confidence,
one a line, for somebody to read and judge.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from saliency_core.data.dataset import load_examples
from saliency_core.quality.label_issues import confident_labels, self_confidence, thresholds
from saliency_core.records import Example

BATCH = 64


def answered(rows: list[Example], model: Path, names: list[str]) -> np.ndarray:
    """Return (example, class) probabilities of a fine-tuned model, classes as in `names`."""
    classifier = AutoModelForSequenceClassification.from_pretrained(model).eval()
    tokenizer = AutoTokenizer.from_pretrained(model)
    order = [classifier.config.label2id[name] for name in names]
    found = []
    for start in range(0, len(rows), BATCH):
        part = rows[start : start + BATCH]
        pairs = [row.pair for row in part]
        inputs = tokenizer(
            [row.text for row in part],
            None if None in pairs else pairs,
            truncation=True,
            padding=True,
            return_tensors="pt",
        )
        with torch.no_grad():
            found.append(classifier(**inputs).logits.softmax(-1).numpy()[:, order])
    return np.concatenate(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="written by examples.fine_tune")
    parser.add_argument("--top", type=int, default=50)
    options = parser.parse_args()
    rows = list(load_examples(str(options.folder / "held-out.csv")))
    names = sorted({row.label for row in rows})
    labels = np.array([names.index(row.label) for row in rows])
    found = answered(rows, options.folder, names)
    confident = confident_labels(found, thresholds(found, labels))
    own = self_confidence(found, labels)
    issues = np.flatnonzero((confident >= 0) & (confident != labels))
    issues = issues[np.argsort(own[issues], kind="stable")]
    accuracy = (found.argmax(1) == labels).mean()
    print(f"{len(rows)} examples, accuracy {accuracy:.3f}, {len(issues)} label issues")
    for rank, place in enumerate(issues[: options.top], 1):
        row = rows[place]
        texts = " ||| ".join([row.text, *([row.pair] if row.pair else [])])
        print(f"{rank}\t{row.label} -> {names[confident[place]]}\t{own[place]:.4f}\t{texts}")


if __name__ == "__main__":
    main()
