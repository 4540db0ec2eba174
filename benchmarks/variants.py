"""Variants of the saliency at the same cost: grids of the path, and maps joined.

    python -m benchmarks.variants --case sst2 --examples 300

prints the comprehensiveness of each at some layers on the same examples, its paired difference to
the grid of the method with the standard error, and how far the scores are from adding up to the
change of the target. The examples are none of those that `benchmarks.faithfulness` scores: what
is chosen here is reported there. `--reported` takes those instead.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.polynomial import legendre

from benchmarks.cases import CASES, CHOICE_EXAMPLES, classifier_of, sample
from saliency_core.evaluation.faithfulness import faithfulness
from saliency_core.model.classifier import Classifier, Encoding, token_batches
from saliency_core.saliency.attributor import Attributor
from saliency_core.saliency.path import path_nodes

STEPS = 4
POWERS = (1.25, 2)
REPORTED = 500
"""Examples of the tables of `benchmarks.faithfulness`."""
PIECE = 50
Maps = list[np.ndarray]


@dataclass(frozen=True)
class Values:
    """What one variant is worth."""

    comprehensiveness: np.ndarray
    """(layer, example)."""
    explained: np.ndarray | None
    """(layer, example) sum of the scores over the change of the target."""


def even(steps: int) -> np.ndarray:
    return np.arange(1, steps + 1) / steps


def gauss_radau(steps: int) -> np.ndarray:
    """Return Gauss-Radau's nodes on [0, 1] with 1 among them (roots of P_m - P_{m-1}, 2 t - 1)."""
    difference = np.zeros(steps + 1)
    difference[-2:] = -1, 1
    return (np.sort(legendre.legroots(difference)) + 1) / 2


def exponential(steps: int, base: float) -> np.ndarray:
    """Return nodes whose intervals grow by base^(1/m)."""
    return (base ** even(steps) - 1) / (base - 1)


def grids() -> dict[str, np.ndarray]:
    """Return the nodes of every grid: the method's first, then others, last those of more steps."""
    return {
        f"{STEPS} steps of the method": path_nodes(STEPS),
        f"{STEPS} even steps": even(STEPS),
        **{f"{STEPS} steps at (k/{STEPS})^{power}": even(STEPS) ** power for power in POWERS},
        f"{STEPS} steps, each 8^(1/{STEPS}) times the one before": exponential(STEPS, 8),
        f"{STEPS} steps at Gauss-Radau's nodes": gauss_radau(STEPS),
        "8 even steps": even(8),
        "20 even steps": even(20),
    }


def mean_of(maps: list[Maps]) -> Maps:
    """Return the mean of maps, each example's scaled to length one."""
    scaled = [[scores / max(np.abs(scores).sum(), 1e-9) for scores in own] for own in maps]
    return [np.mean(scores, axis=0) for scores in zip(*scaled, strict=True)]


def maps_by_grid(
    classifier: Classifier, encodings: list[Encoding]
) -> Iterator[tuple[str, list[Maps], np.ndarray]]:
    """Yield (name, (layer, example) maps, (layer, example) explained part) of every grid."""
    order = np.argsort([len(encoding.input_ids) for encoding in encodings], kind="stable")
    lengths = [len(encodings[row].input_ids) for row in order]
    attributor = Attributor(classifier)
    layers = range(classifier.info.layers + 1)
    for name, nodes in grids().items():
        attributor.nodes = nodes
        maps: list[Maps] = [[np.empty(0)] * len(encodings) for _ in layers]
        explained = np.empty((len(layers), len(encodings)))
        for places in token_batches(lengths, classifier.default_batch_tokens):
            rows = order[list(places)]
            found = attributor.maps([encodings[row] for row in rows], [None] * len(rows))
            explained[:, rows] = found.explained[0].numpy()
            for layer in layers:
                for place, row in enumerate(rows):
                    maps[layer][row] = found.saliency[0, layer, place, found.own[place]].numpy()
        yield name, maps, explained


def joined_maps(
    classifier: Classifier, encodings: list[Encoding]
) -> Iterator[tuple[str, list[Maps], None]]:
    """Yield (name, (layer, example) maps, None) of the method's map, then of maps joined."""
    attributor = Attributor(classifier, steps=STEPS, variants=True)
    found = attributor.layer_maps(encodings, classifier.default_batch_tokens)
    saliency = found["saliency"]
    yield "saliency", saliency, None
    yield "undecoded", found["local"], None
    with_pooled = [mean_of(list(pair)) for pair in zip(saliency, found["pooled"], strict=True)]
    yield "mean with the pooled map", with_pooled, None
    yield "mean of all layers but the last", [mean_of(saliency[:-1])] * len(saliency), None


def measured(
    classifier: Classifier, encodings: list[Encoding], layers: list[int], joined: bool
) -> dict[str, Values]:
    """Return what every variant is worth on some examples at some layers."""
    maps: list[Maps] = []
    parts: dict[str, np.ndarray | None] = {}
    found = joined_maps(classifier, encodings) if joined else maps_by_grid(classifier, encodings)
    for name, of_layers, explained in found:
        maps += [of_layers[layer] for layer in layers]
        parts[name] = None if explained is None else explained[layers]
    values = [own.comprehensiveness for own in faithfulness(classifier, encodings, maps)]
    by_layer = np.array(values).reshape(len(parts), len(layers), len(encodings))
    return {
        name: Values(own, explained)
        for (name, explained), own in zip(parts.items(), by_layer, strict=True)
    }


def examples_of(case: str, classifier: Classifier, count: int, reported: bool) -> list[Encoding]:
    """Return those the tables report, or as many others, the ones that choose a layer first."""
    choosing, others = sample(CASES[case], classifier, REPORTED + count)
    if reported:
        return others.encodings[:count]
    return [*choosing.encodings, *others.encodings[REPORTED : REPORTED + count - CHOICE_EXAMPLES]]


def print_table(case: str, layers: list[int], found: dict[str, Values]) -> None:
    """Print a row a variant."""
    first = next(iter(found.values())).comprehensiveness
    heads = [f"layer {layer} | the method's minus it" for layer in layers]
    print(
        f"\n| {case}, n = {first.shape[1]} | {' | '.join(heads)} | away from adding up |\n"
        f"|{'---|' * (2 + 2 * len(layers))}"
    )
    for name, values in found.items():
        own = values.comprehensiveness
        cells = [name]
        for place in range(len(layers)):
            cells += [f"{own[place].mean():.3f}", with_error(first[place] - own[place])]
        cells.append("" if values.explained is None else away(values.explained))
        print(f"| {' | '.join(cells)} |")


def with_error(difference: np.ndarray) -> str:
    """Return the mean over examples and its standard error."""
    error = difference.std() / np.sqrt(len(difference))
    return f"{difference.mean():+.3f} ± {error:.3f}"


def away(explained: np.ndarray) -> str:
    """Return the median distance of the explained part from 1, layer by layer."""
    return " ".join(f"{part:.0%}" for part in np.median(np.abs(explained - 1), axis=1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", choices=list(CASES), default="sst2")
    parser.add_argument("--examples", type=int, default=300)
    parser.add_argument("--layers", type=int, nargs="+", default=[0, 3, 5])
    parser.add_argument("--joined", action="store_true", help="maps joined instead of grids")
    parser.add_argument("--reported", action="store_true", help="those the tables report")
    options = parser.parse_args()
    torch.set_num_threads(1)
    classifier = classifier_of(CASES[options.case])
    encodings = examples_of(options.case, classifier, options.examples, options.reported)
    pieces = [
        measured(classifier, encodings[start : start + PIECE], options.layers, options.joined)
        for start in range(0, len(encodings), PIECE)
    ]
    found = {name: _joined([own[name] for own in pieces]) for name in pieces[0]}
    print_table(options.case, options.layers, found)


def _joined(parts: list[Values]) -> Values:
    explained = None
    if parts[0].explained is not None:
        explained = np.concatenate([part.explained for part in parts], axis=1)
    return Values(np.concatenate([part.comprehensiveness for part in parts], axis=1), explained)


if __name__ == "__main__":
    main()
