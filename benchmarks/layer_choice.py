"""Which rule picks the layer to read (docs/method.md, “Which layer to read”)?

    python -m benchmarks.layer_choice --output cache/faithfulness

reads what `python -m benchmarks.faithfulness --methods "secant;path, 4 steps"` left there. A rule
picks a layer on one half of the examples and mosaics; the pick is scored on the other half, as
the part of the best layer's comprehensiveness and mosaic share that it reaches. Over 40 halves.
Rules that look at coherence alone need no evaluation; the others are the method's choice score, its
two yardsticks one by one, and other ways of joining them.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import rankdata

from benchmarks.cases import CASES
from benchmarks.faithfulness import FOLDER, LAYERED
from benchmarks.faithfulness_tables import Measured, Results, coherence_of, space
from saliency_core.evaluation.layer_choice import READABLE, mean_known, mean_ratio
from saliency_core.saliency.coherence import explanations
from saliency_core.saliency.to_records import top_tokens
from saliency_core.words import shares

HALVES = 40
Definition = Callable[[np.ndarray, list[np.ndarray], list[np.ndarray]], np.ndarray]
"""(directions, tokens of every example, scores of every example) -> (example, embedding)."""


def top(count: int) -> Definition:
    """Return the definition by the most salient tokens alike; the method's has three."""

    def of(directions: np.ndarray, tokens: list[np.ndarray], maps: list[np.ndarray]) -> np.ndarray:
        ids = [top_tokens(own[None], ids, count)[0] for ids, own in zip(tokens, maps, strict=True)]
        return explanations(directions, np.array(ids))

    return of


def by_share(
    directions: np.ndarray, tokens: list[np.ndarray], maps: list[np.ndarray]
) -> np.ndarray:
    """All tokens, each by its share."""
    sums = np.stack([shares(own) @ directions[ids] for ids, own in zip(tokens, maps, strict=True)])
    length = np.linalg.norm(sums, axis=1, keepdims=True)
    return np.divide(sums, length, out=np.zeros_like(sums), where=length > 0)


def top_three_by_share(
    directions: np.ndarray, tokens: list[np.ndarray], maps: list[np.ndarray]
) -> np.ndarray:
    """The three most salient tokens, each by its share."""
    kept = [np.where(own >= np.sort(own)[-3:][0], own, 0) for own in maps]
    return by_share(directions, tokens, kept)


DEFINITIONS: dict[str, Definition] = {
    "top one": top(1),
    "top three": top(3),
    "top five": top(5),
    "top ten": top(10),
    "top three by share": top_three_by_share,
    "all by share": by_share,
}
METHODS_DEFINITION = "top three"


@dataclass(frozen=True)
class Half:
    """What a rule sees of one half."""

    comprehensiveness: np.ndarray
    """(layer,)."""
    above_chance: np.ndarray
    """(layer,)."""
    coherences: dict[str, np.ndarray]
    """Definition -> (layer,)."""
    baseline: float
    decodability: np.ndarray
    """(layer,) of the whole case."""


def choice_score(half: Half) -> np.ndarray:
    return mean_ratio([half.comprehensiveness, half.above_chance])


def gated(half: Half) -> np.ndarray:
    """The method's: only layers more coherent than pointing at every word, if there are any."""
    above = half.coherences[METHODS_DEFINITION] > half.baseline
    return np.where(above if above.any() else True, choice_score(half), -1)


def product(half: Half) -> np.ndarray:
    return np.maximum(half.comprehensiveness, 0) * np.maximum(half.above_chance, 0)


def mean_rank(half: Half) -> np.ndarray:
    return rankdata(half.comprehensiveness) + rankdata(half.above_chance)


def worse_ratio(half: Half) -> np.ndarray:
    """The smaller of the two ratios."""
    return np.minimum(mean_ratio([half.comprehensiveness]), mean_ratio([half.above_chance]))


def most_readable(half: Half) -> np.ndarray:
    scores = choice_score(half)
    good = scores >= READABLE * scores.max()
    return np.where(good, half.coherences[METHODS_DEFINITION], -np.inf)


Rule = Callable[[Half], np.ndarray]
"""Half -> (layer,) values; the highest is picked."""


def rules() -> Iterator[tuple[str, Rule]]:
    """Yield name and rule, those that need an evaluation first."""
    yield "choice score, above the baseline (the method's)", gated
    yield "choice score", choice_score
    yield "comprehensiveness", lambda half: half.comprehensiveness
    yield "mosaics", lambda half: half.above_chance
    yield "product", product
    yield "mean rank", mean_rank
    yield "worse ratio", worse_ratio
    yield "most readable (the method's)", most_readable
    for name in DEFINITIONS:
        yield f"coherence: {name}", lambda half, name=name: half.coherences[name]
        yield f"coherence: {name}, last block left out", _without_last(name)
        yield f"coherence × decodability: {name}", _times_decodability(name)
    yield "always layer 0", lambda half: -np.arange(len(half.decodability))


def _without_last(name: str) -> Rule:
    return lambda half: np.append(half.coherences[name][:-1], -np.inf)


def _times_decodability(name: str) -> Rule:
    return lambda half: half.coherences[name] * half.decodability


@dataclass(frozen=True)
class Picks:
    """What a rule picked in every half."""

    layers: list[int]
    comprehensiveness: np.ndarray
    """(half,) part of the best layer's on the other half."""
    mosaic: np.ndarray


def picks(found: Measured, decodability: np.ndarray) -> dict[str, Picks]:
    """Return what every rule picks on halves of a case, scored on the other halves."""
    q = {
        name: np.stack([definition(space(), found.tokens, own) for own in found.maps])
        for name, definition in DEFINITIONS.items()
    }
    layers: dict[str, list[int]] = {name: [] for name, _ in rules()}
    reached: dict[str, list[tuple[float, float]]] = {name: [] for name in layers}
    for seed in range(HALVES):
        draw = np.random.default_rng(seed)
        examples = draw.permutation(len(found.predicted))
        mosaics = draw.permutation(len(found.chance))
        some, others = np.array_split(examples, 2)
        some_mosaics, other_mosaics = np.array_split(mosaics, 2)
        half = _half(found, q, decodability, some, some_mosaics)
        masked = mean_known(found.comprehensiveness[:, others])
        joined = _known(mean_known(found.mosaic[:, other_mosaics]))
        for name, rule in rules():
            values = np.nan_to_num(rule(half).astype(float), nan=-np.inf)
            layer = int(values.argmax())
            layers[name].append(layer)
            reached[name].append((masked[layer] / masked.max(), joined[layer] / joined.max()))
    return {name: Picks(layers[name], *np.array(reached[name]).reshape(-1, 2).T) for name in layers}


def _half(
    found: Measured,
    q: dict[str, np.ndarray],
    decodability: np.ndarray,
    examples: np.ndarray,
    mosaics: np.ndarray,
) -> Half:
    predicted = found.predicted[examples]
    return Half(
        comprehensiveness=mean_known(found.comprehensiveness[:, examples]),
        above_chance=_known(mean_known(found.mosaic[:, mosaics] - found.chance[mosaics])),
        coherences={
            name: np.array([coherence_of(own[examples], predicted) for own in of_layers])
            for name, of_layers in q.items()
        },
        baseline=found.uniform_baseline(space()),
        decodability=decodability,
    )


def _known(values: np.ndarray) -> np.ndarray:
    """Return values with 0 where a layer has none."""
    return np.nan_to_num(values, nan=0.0)


def interval(values: np.ndarray) -> str:
    """Return mean and 95 % of the halves."""
    if np.isnan(values).all():
        return ""
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return f"{np.nanmean(values):.2f} ({low:.2f} to {high:.2f})"


def counted(layers: list[int]) -> str:
    """Return the picked layers, the most frequent first."""
    return ", ".join(f"{layer} ({count})" for layer, count in Counter(layers).most_common(3))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=FOLDER, help="folder of the results")
    parser.add_argument("--examples", type=int, default=500)
    parser.add_argument("--mosaics", type=int, default=200)
    options = parser.parse_args()
    found = {}
    for case in CASES:
        results = Results(case, options.output, options.examples, options.mosaics)
        for method in LAYERED:
            if (whole := results.of(method)) is not None:
                found[case, method] = picks(whole, results.decodability)
    for (case, method), of_rules in found.items():
        print_case(f"{case}, {method}", of_rules)
    for method in LAYERED:
        print_worst(method, {case: own for (case, name), own in found.items() if name == method})


def print_case(title: str, of_rules: dict[str, Picks]) -> None:
    """Print what every rule reaches on one case."""
    print(
        f"\n{title}:\n\n| rule | layers picked (halves) | of the best comprehensiveness | "
        "of the best mosaic share |\n|---|---|---|---|"
    )
    for name, own in of_rules.items():
        cells = [counted(own.layers), interval(own.comprehensiveness), interval(own.mosaic)]
        print(f"| {name} | {' | '.join(cells)} |")


def print_worst(method: str, cases: dict[str, dict[str, Picks]]) -> None:
    """Print the case on which each rule does worst: 0.95 on every one is what is wanted."""
    if not cases:
        return
    print(
        f"\n{method}, the worst of {', '.join(cases)}:\n\n"
        "| rule | comprehensiveness | on | mosaic share | on |\n|---|---|---|---|---|"
    )
    for name, _ in rules():
        cells = []
        for metric in ("comprehensiveness", "mosaic"):
            means = {case: np.mean(getattr(own[name], metric)) for case, own in cases.items()}
            worst = min(means, key=lambda case: np.nan_to_num(means[case], nan=2.0))
            cells += [f"{means[worst]:.2f}", worst]
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
