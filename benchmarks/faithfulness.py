"""Faithfulness of ours and of every other method on the same examples (METHOD section 7).

    python -m benchmarks.faithfulness --output /tmp/faithfulness

prints a table a case. Each piece of work (a case, a method, 50 examples) is a small file in the
folder: the same command goes on where it was stopped, and several can work side by side. `--only
agnews --methods "LIME;KernelSHAP" --minutes 9` does a part; `--table` only prints what is there.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from benchmarks.cases import CASES, SEED, Sample, classifier_of, sample
from saliency_core.evaluation.faithfulness import (
    Cost,
    average_precision,
    faithfulness,
    mean_interval,
)
from saliency_core.evaluation.other_methods import BASELINES, baseline_maps
from saliency_core.model.classifier import Classifier
from saliency_core.model.encoding import Encoding
from saliency_core.saliency.attributor import Attributor

OURS = {"saliency, 4 steps": 4, "saliency, 1 step": 1}
PIECE = 50
CHOICE = "choice"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--examples", type=int, default=500)
    parser.add_argument("--only", help="cases, comma separated")
    parser.add_argument("--methods", help="methods, separated by semicolons")
    parser.add_argument("--minutes", type=float, help="stop after the piece at this time")
    parser.add_argument("--table", action="store_true", help="compute nothing")
    options = parser.parse_args()
    if options.examples % PIECE:
        parser.error(f"--examples must be a multiple of {PIECE}")
    cases = options.only.split(",") if options.only else list(CASES)
    if not options.table:
        methods = options.methods.split(";") if options.methods else [*OURS, *BASELINES]
        end = time.monotonic() + 60 * (options.minutes or 1e6)
        for case in cases:
            compute(case, methods, options.examples, options.output, end)
    for case in cases:
        print_table(case, options.output)


def compute(case: str, methods: list[str], count: int, folder: Path, end: float) -> None:
    """Compute the missing pieces of a case until the time is over."""
    missing = list(pieces(case, methods, count, folder))
    if not missing:
        return
    torch.set_num_threads(1)
    classifier = classifier_of(CASES[case])
    choice, scored = sample(CASES[case], classifier, count)
    for method, number, path in missing:
        if path.exists():
            continue
        part = choice if number == CHOICE else piece_of(scored, number)
        write(path, measure(classifier, part, method))
        if time.monotonic() > end:
            return


def pieces(
    case: str, methods: list[str], count: int, folder: Path
) -> Iterator[tuple[str, int | str, Path]]:
    """Yield (method, number, file) of every missing piece of a case."""
    for method in methods:
        numbers = list(range(-(-count // PIECE)))
        for number in [CHOICE, *numbers] if method in OURS else numbers:
            path = folder / case / f"{method} {number}.json"
            if not path.exists():
                yield method, number, path


def piece_of(examples: Sample, number: int) -> Sample:
    part = slice(number * PIECE, (number + 1) * PIECE)
    return Sample(examples.encodings[part], examples.rationales[part])


def measure(classifier: Classifier, part: Sample, method: str) -> dict:
    """Return the numbers of every example by one method; of ours, for every layer."""
    predicted = classifier.logits(part.encodings, classifier.default_batch_tokens).argmax(1)
    cost = Cost()
    with cost.counting(classifier):
        if method in OURS:
            attributor = Attributor(classifier, steps=OURS[method])
            budget = classifier.default_batch_tokens
            maps = attributor.layer_maps(part.encodings, budget)["saliency"]
        else:
            maps = [
                baseline_maps(classifier, part.encodings, method, predicted=predicted, seed=SEED)
            ]
    found = faithfulness(classifier, part.encodings, maps)
    return {
        "comprehensiveness": [row.comprehensiveness.tolist() for row in found],
        "sufficiency": [row.sufficiency.tolist() for row in found],
        "plausibility": [precisions(own, part.rationales) for own in maps],
        **asdict(cost),
        "predicted": predicted.tolist(),
        "tokens": [own_ids(encoding) for encoding in part.encodings],
        "maps": [[np.round(scores.astype(float), 5).tolist() for scores in own] for own in maps],
    }


def precisions(maps: list[np.ndarray], rationales: list[np.ndarray]) -> list[float]:
    if not rationales:
        return []
    return [average_precision(*pair) for pair in zip(maps, rationales, strict=True)]


def own_ids(encoding: Encoding) -> list[int]:
    return np.array(encoding.input_ids)[~encoding.special].tolist()


def write(path: Path, value: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(f".{os.getpid()}")
    beside.write_text(json.dumps(value), encoding="utf-8")
    beside.replace(path)


def read(case: str, method: str, folder: Path, number: int | str = "[0-9]*") -> list[dict]:
    """Return the pieces of a method that are there, in order."""
    found = (folder / case).glob(f"{method} {number}.json")
    files = sorted(found, key=lambda path: (len(path.name), path.name))
    return [json.loads(path.read_text(encoding="utf-8")) for path in files]


def joined(parts: list[dict], metric: str) -> np.ndarray:
    """Return (map, example) values of all pieces."""
    return np.concatenate([np.array(part[metric], float) for part in parts], axis=1)


def recommended(case: str, method: str, folder: Path) -> int:
    """Return the layer that an audit recommends: by a sample of its size, never scored here."""
    return int(joined(read(case, method, folder, CHOICE), "comprehensiveness").mean(1).argmax())


def print_table(case: str, folder: Path) -> None:
    """Print the table of a case in Markdown: every method against ours on the same examples."""
    ours = {}
    for method in OURS:
        parts = read(case, method, folder)
        if parts and read(case, method, folder, CHOICE):
            layer = recommended(case, method, folder)
            ours[method] = joined(parts, "comprehensiveness")[layer]
    print(
        f"\n{case}:\n\n| method | forward + backward | n | comprehensiveness | sufficiency | "
        f"plausibility | {' | '.join(f'{name} minus it' for name in ours)} | seconds |\n"
        f"|{'---|' * (7 + len(ours))}"
    )
    for method in [*OURS, *BASELINES]:
        parts = read(case, method, folder)
        if not parts or (method in OURS and method not in ours):
            continue
        layer = recommended(case, method, folder) if method in OURS else 0
        print(row(method, layer, parts, ours))


def row(method: str, layer: int, parts: list[dict], ours: dict[str, np.ndarray]) -> str:
    """Return the row of a method; of ours, at one layer."""
    own = joined(parts, "comprehensiveness")[layer]
    count = len(own)
    # A blank runs once a length, however many examples have it: no part of an example's cost.
    cost = (
        [OURS[method]] * 2
        if method in OURS
        else [sum(part[name] for part in parts) / count for name in ("forwards", "backwards")]
    )
    differences = [""] * len(ours)
    for place, scores in enumerate(ours.values()):
        common = min(count, len(scores))
        differences[place] = signed(mean_interval(scores[:common] - own[:common]))
    plausibility = joined(parts, "plausibility")[layer]
    cells = [
        f"{method}, layer {layer}" if method in OURS else method,
        f"{cost[0]:.0f} + {cost[1]:.0f}",
        str(count),
        with_interval(mean_interval(own)),
        f"{joined(parts, 'sufficiency')[layer].mean():.3f}",
        with_interval(mean_interval(plausibility)) if len(plausibility) else "",
        *differences,
        f"{sum(part['seconds'] for part in parts) / count * 100:.1f}",
    ]
    return f"| {' | '.join(cells)} |"


def with_interval(ends: tuple[float, float, float]) -> str:
    return "{:.3f} ({:.3f} to {:.3f})".format(*ends)


def signed(ends: tuple[float, float, float]) -> str:
    """Return a paired difference; a star where its interval leaves zero out."""
    mean, low, high = ends
    return f"{mean:+.3f} ± {(high - low) / 2:.3f}{'*' if low > 0 or high < 0 else ''}"


if __name__ == "__main__":
    main()
