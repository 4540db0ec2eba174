"""Do the scores of a text add up, at every layer, for every example?

    python -m benchmarks.completeness --folder /tmp/completeness

The secant rule's sum at every layer against the difference of the target, on all examples of the
shared datasets with their models, and of SNLI pairs, UMSAB and CLINC with classifiers that
`examples.fine_tune` makes here (kept in the folder, so that a second run reads them). An example
is right within 0.001 of the difference, or 0.001 logits. The distance is the largest over layers.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks.cases import LM_HEAD, SHARED
from saliency_core.data.dataset import load_examples
from saliency_core.model.loading import load_classifier
from saliency_core.saliency.attributor import Attributor
from saliency_core.saliency.references import layout_batches


@dataclass(frozen=True)
class Task:
    """One dataset and the model that answers it."""

    data: str
    model: str | None = None
    """Folder among the shared models; None: fine-tuned here."""


TASKS = {
    "SST-2 dev": Task("sst2/dev.jsonl", "minilm-sst2"),
    "AG News dev": Task("agnews/dev.jsonl", "minilm-agnews"),
    "jigsaw": Task("jigsaw_people/test_biased.jsonl", "minilm-jigsaw-control"),
    "movies": Task("movie_rationales_sent/val.jsonl", "minilm-sst2"),
    "movies, whole reviews": Task("movie_rationales_docs/val.jsonl", "minilm-sst2"),
    "SNLI pairs": Task("snli/dev.jsonl.gz"),
    "UMSAB, 8 languages": Task("umsab_multilingual/val.jsonl"),
    "CLINC150": Task("clinc150/val.jsonl"),
}


def model_of(name: str, task: Task, folder: Path) -> str:
    """Return the folder of a task's model, fine-tuned first where there is none."""
    if task.model is not None:
        return str(SHARED / "models" / task.model)
    output = folder / name.split(maxsplit=1)[0].strip(",").lower()
    if not (output / "config.json").is_file():
        command = [sys.executable, "-m", "examples.fine_tune", str(LM_HEAD)]
        command += [str(SHARED / "data" / task.data), "--output", str(output)]
        subprocess.run(command, check=True)
    return str(output)


def distances(model: str, data: str, dtype: str, limit: int | None) -> tuple[np.ndarray, int]:
    """Return (layer, example) distances from the difference, in tolerances, and the fallbacks."""
    classifier = load_classifier(model, lm_head=str(LM_HEAD), dtype=dtype)
    attributor = Attributor(classifier)
    assert attributor.reach.rule == "secant" and not attributor.reach.bypassed, attributor.reach
    rows = [row for row in load_examples(str(SHARED / "data" / data)) if row.text.strip()][:limit]
    pairs = [row.pair or "" for row in rows] if rows[0].pair is not None else None
    encodings = classifier.encode([row.text for row in rows], pairs)
    found, failed = [], 0
    budget = classifier.default_batch_tokens
    for batch in layout_batches(range(len(rows)), encodings, classifier.pad_token_id, budget):
        maps = attributor.maps([encodings[row] for row in batch], [None] * len(batch))
        failed += len(attributor.not_reached(maps))
        change = maps.change[0]  # (batch,)
        away = (maps.total[0] - change).abs() / change.abs().clamp(min=1.0)
        found.append(away.cpu().numpy())
    return np.concatenate(found, axis=1), failed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("/tmp/completeness"))
    parser.add_argument("--only", nargs="+", choices=list(TASKS), default=list(TASKS))
    parser.add_argument("--dtypes", nargs="+", default=["float32"])
    parser.add_argument("--limit", type=int, help="examples of each task, all by default")
    parser.add_argument("--threads", type=int)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    if options.threads:
        torch.set_num_threads(options.threads)
    print("| data | precision | examples | median distance | 99 % | largest | to the path rule |")
    print("|---|---|---|---|---|---|---|")
    for name in options.only:
        model = model_of(name, TASKS[name], options.folder)
        for dtype in options.dtypes:
            away, failed = distances(model, TASKS[name].data, dtype, options.limit)
            worst = away.max(0)
            print(
                f"| {name} | {dtype} | {worst.size} | {np.median(worst):.1e} | "
                f"{np.quantile(worst, 0.99):.1e} | {worst.max():.1e} | {failed} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
