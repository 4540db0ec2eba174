"""Ours and every other method by all yardsticks on the same examples.

    python -m benchmarks.faithfulness --output cache/faithfulness

prints tables of every case. Each piece of work (a case, a method, 50 examples or mosaics) is a
small file in the folder with a value for every example: the same command goes on where it was
stopped, several can work side by side, and a new method leaves the others alone. `--only agnews
--methods "LIME;KernelSHAP" --minutes 9` does a part; `--table` only prints what is there;
`--charts FOLDER` also draws comprehensiveness against passes.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks.cases import (
    CASES,
    CHOICE_EXAMPLES,
    SEED,
    Sample,
    classifier_of,
    mosaics_of,
    sample,
)
from benchmarks.paper_regime import METHODS as PAPER
from benchmarks.paper_regime import paper_maps
from saliency_core.errors import UserError
from saliency_core.evaluation.faithfulness import Cost, average_precision, faithfulness
from saliency_core.evaluation.mosaics import Mosaics, score_mosaics
from saliency_core.evaluation.other_methods import OTHER_METHODS, other_method_maps
from saliency_core.model.classifier import Classifier
from saliency_core.model.encoding import Encoding
from saliency_core.saliency.attributor import Attributor
from saliency_core.saliency.decodability import decodability

OURS: dict[str, tuple[str, int]] = {
    "secant": ("secant", 1),
    "path, 4 steps": ("path", 4),
    "path, 1 step": ("path", 1),
}
"""Name -> rule, steps."""
LAYERED = (*OURS, *PAPER)
"""Methods with a map for every layer."""
ALL = (*LAYERED, *OTHER_METHODS)
PIECE = 50
FOLDER = Path("cache/faithfulness")
DESCRIPTION = "layers.json"
"""What is known of a case's layers whatever the method."""


@dataclass(frozen=True)
class Piece:
    """A method on some examples or mosaics of a case."""

    method: str
    kind: str
    """`choice`, `examples`, `choice mosaics` or `mosaics`."""
    start: int
    stop: int
    of: int
    """Mosaics depend on the examples that they are made of."""

    def path(self, folder: Path, case: str) -> Path:
        """Return the file of the piece."""
        made = f" of {self.of}" if self.kind == "mosaics" else ""
        return folder / case / f"{self.method} {self.kind}{made} {self.start}-{self.stop}.json"


def main() -> None:
    from benchmarks.faithfulness_tables import Results, draw_charts, print_case, print_ranks

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=FOLDER, help="folder of the results")
    parser.add_argument("--examples", type=int, default=500)
    parser.add_argument("--mosaics", type=int, default=200)
    parser.add_argument("--only", help="cases, comma separated")
    parser.add_argument("--methods", help="methods, separated by semicolons")
    parser.add_argument("--minutes", type=float, help="stop after the piece at this time")
    parser.add_argument("--table", action="store_true", help="compute nothing")
    parser.add_argument("--charts", type=Path, help="folder of the charts")
    options = parser.parse_args()
    cases = options.only.split(",") if options.only else list(CASES)
    methods = options.methods.split(";") if options.methods else list(ALL)
    if unknown := [name for name in methods if name not in ALL]:
        parser.error(f"no method {unknown[0]!r}; there are {'; '.join(ALL)}")
    if not options.table:
        end = time.monotonic() + 60 * (options.minutes or 1e6)
        for case in cases:
            compute(case, methods, options.examples, options.mosaics, options.output, end)
    found = {
        case: Results(case, options.output, options.examples, options.mosaics) for case in cases
    }
    for results in found.values():
        print_case(results)
    print_ranks(found)
    if options.charts is not None:
        draw_charts(found, options.charts)


def compute(
    case: str, methods: list[str], examples: int, mosaics: int, folder: Path, end: float
) -> None:
    """Compute the missing pieces of a case until the time is over."""
    wanted = [piece for method in methods for piece in pieces(method, examples, mosaics)]
    missing = [piece for piece in wanted if not piece.path(folder, case).exists()]
    described = folder / case / DESCRIPTION
    if described.exists() and not missing:
        return
    torch.set_num_threads(1)
    classifier = classifier_of(CASES[case])
    choice, scored = sample(CASES[case], classifier, examples)
    if not described.exists():
        own = decodability(classifier, choice.encodings, SEED).own
        write(described, {"decodability": own.tolist()})
    texts = {"choice mosaics": (choice.texts, CHOICE_EXAMPLES), "mosaics": (scored.texts, mosaics)}
    kinds = {piece.kind for piece in missing}
    joined = {kind: mosaics_of(classifier, *texts[kind]) for kind in texts if kind in kinds}
    for kind, made in joined.items():
        print(f"{case}, {kind}: {made.facts()}", flush=True)
    for piece in missing:
        path = piece.path(folder, case)
        if path.exists():
            continue
        try:
            if piece.kind in joined:
                value = measure_mosaics(classifier, joined[piece.kind], piece)
            else:
                part = (choice if piece.kind == "choice" else scored).part(piece.start, piece.stop)
                if not part.texts:  # the case has fewer examples
                    continue
                value = measure(classifier, part, piece.method)
        except UserError as error:
            print(f"{case}, {piece.method}: {error}")
            continue
        write(path, value)
        if time.monotonic() > end:
            return


def pieces(method: str, examples: int, mosaics: int) -> Iterator[Piece]:
    """Yield all pieces of a method; those that choose its layers first."""
    if method in LAYERED:
        yield Piece(method, "choice", 0, CHOICE_EXAMPLES, CHOICE_EXAMPLES)
        yield Piece(method, "choice mosaics", 0, CHOICE_EXAMPLES, CHOICE_EXAMPLES)
    for kind, count in (("examples", examples), ("mosaics", mosaics)):
        for start in range(0, count, PIECE):
            yield Piece(method, kind, start, min(start + PIECE, count), examples)


def attributor_of(classifier: Classifier, method: str) -> Attributor | None:
    """Return what computes a method of ours, None for another one."""
    if method not in OURS:
        return None
    rule, steps = OURS[method]
    return Attributor(classifier, rule=rule, steps=steps)


def maps_of(
    classifier: Classifier,
    encodings: list[Encoding],
    method: str,
    predicted: np.ndarray,
    attributor: Attributor | None,
) -> list[list[np.ndarray]]:
    """Return (layer, example) maps, one layer where a method has none."""
    budget = classifier.default_batch_tokens
    if method in OURS:
        return attributor.layer_maps(encodings, budget)["saliency"]
    if method in PAPER:
        return paper_maps(classifier, encodings, method, budget)
    return [other_method_maps(classifier, encodings, method, predicted=predicted, seed=SEED)]


def measure(classifier: Classifier, part: Sample, method: str) -> dict:
    """Return the numbers of every example by one method, for every layer that it has."""
    predicted = classifier.logits(part.encodings, classifier.default_batch_tokens).argmax(1)
    # It tries its rule on dummy texts: once a model, no part of an example's cost.
    attributor = attributor_of(classifier, method)
    cost = Cost()
    with cost.counting(classifier):
        maps = maps_of(classifier, part.encodings, method, predicted, attributor)
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


def measure_mosaics(classifier: Classifier, made: Mosaics, piece: Piece) -> dict:
    """Return the numbers of some mosaics by one method, for every layer that it has."""
    rows = slice(piece.start, piece.stop)
    kept = made.kept[rows]
    if not kept:
        return {"mosaic": [], "mosaic_auc": [], "mosaic_top": [], "chance": []}
    encodings = made.encodings[rows]
    attributor = attributor_of(classifier, piece.method)
    maps = maps_of(classifier, encodings, piece.method, made.predicted[rows], attributor)
    found = [score_mosaics(kept, own) for own in maps]
    return {
        "mosaic": [own.share.tolist() for own in found],
        "mosaic_auc": [own.auc.tolist() for own in found],
        "mosaic_top": [own.top.tolist() for own in found],
        "chance": made.chance[rows].tolist(),
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


if __name__ == "__main__":
    main()
