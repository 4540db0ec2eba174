"""Variants of the saliency at the same cost: grids of the path, and maps joined.

    python -m benchmarks.variants --case sst2

prints the comprehensiveness of each on the same examples, and its paired difference to even steps
at the same layer with the standard error.
"""

from __future__ import annotations

import argparse
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from benchmarks.cases import CASES, classifier_of, sample
from saliency_core.attribution import Attributor
from saliency_core.faithfulness import faithfulness
from saliency_core.models import Classifier, Encoding

STEPS = 4
POWERS = (1.25, 1.5, 1.75, 2.0)
Maps = list[np.ndarray]


@dataclass(frozen=True)
class Bent:
    """A place on the path, nearer to the blank than the one it is made of."""

    share: list[float]
    power: float

    def __getitem__(self, place: int) -> float:
        """Return t to the power."""
        return self.share[place] ** self.power


class BentAttributor(Attributor):
    """Walks the path at t = (k/m) to a power."""

    def __init__(self, classifier: Classifier, steps: int, power: float) -> None:
        """Keep the power; 1 is the even grid of the method."""
        super().__init__(classifier, steps=steps)
        self.power = power

    def _on_path(
        self, input_ids: Tensor, own: Tensor, share: list[float]
    ) -> AbstractContextManager[None]:
        return super()._on_path(input_ids, own, Bent(share, self.power))


def mean_of(maps: list[Maps]) -> Maps:
    """Return the mean of maps, each example's scaled to length one."""
    scaled = [[scores / max(np.abs(scores).sum(), 1e-9) for scores in own] for own in maps]
    return [np.mean(scores, axis=0) for scores in zip(*scaled, strict=True)]


def variants_of(classifier: Classifier, encodings: list[Encoding], layer: int) -> dict[str, Maps]:
    """Return the maps to compare, even steps first."""
    budget = classifier.default_batch_tokens
    whole = Attributor(classifier, steps=STEPS, variants=True).layer_maps(encodings, budget)
    saliency = whole["saliency"]
    found = {
        f"{STEPS} even steps": saliency[layer],
        f"{STEPS} even steps, undecoded": whole["local"][layer],
        f"{STEPS} even steps, mean of all layers but the last": mean_of(saliency[:-1]),
        f"{STEPS} even steps, mean with the pooled map": mean_of(
            [saliency[layer], whole["pooled"][layer]]
        ),
    }
    grids = [(STEPS, power) for power in POWERS] + [(2 * STEPS, 1.0), (4 * STEPS, 1.0)]
    for steps, power in grids:
        name = f"{steps} even steps" if power == 1 else f"{steps} steps at (k/{steps})^{power:g}"
        attributor = BentAttributor(classifier, steps, power)
        found[name] = attributor.layer_maps(encodings, budget)["saliency"][layer]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", choices=list(CASES), default="sst2")
    parser.add_argument("--examples", type=int, default=50)
    parser.add_argument("--layer", type=int, default=0)
    parser.add_argument("--choosing", action="store_true", help="the examples that choose a layer")
    options = parser.parse_args()
    torch.set_num_threads(1)
    classifier = classifier_of(CASES[options.case])
    choosing, others = sample(CASES[options.case], classifier, options.examples)
    encodings = (choosing if options.choosing else others).encodings
    found = variants_of(classifier, encodings, options.layer)
    values = faithfulness(classifier, encodings, list(found.values()))
    first = values[0].comprehensiveness
    print(
        f"| {options.case}, layer {options.layer} | comprehensiveness | minus even steps |\n"
        "|---|---|---|"
    )
    for name, value in zip(found, values, strict=True):
        difference = value.comprehensiveness - first
        error = difference.std() / np.sqrt(len(difference))
        print(
            f"| {name} | {value.comprehensiveness.mean():.3f} | "
            f"{difference.mean():+.3f} ± {error:.3f} |"
        )


if __name__ == "__main__":
    main()
