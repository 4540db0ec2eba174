"""Does coherence pick the right layer (METHOD section 4)?

    python -m benchmarks.layer_choice --output /tmp/faithfulness

reads the maps that `python -m benchmarks.faithfulness --output /tmp/faithfulness --methods
"saliency, 4 steps;saliency, 1 step"` left there and prints, for every case and number of steps,
comprehensiveness and coherence by layer, their rank correlation, and how near the picked layer
comes to the best one. Intervals are over samples: halves of the examples drawn with 40 seeds.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from benchmarks.cases import CASES, CHOICE_EXAMPLES, LM_HEAD
from benchmarks.faithfulness import OURS, joined, read, recommended
from saliency_core.saliency.attributor import top_tokens
from saliency_core.saliency.coherence import CoherenceSums, explanations, token_directions
from saliency_core.words import shares

SEEDS = 40
Definition = Callable[[np.ndarray, list[np.ndarray], list[np.ndarray]], np.ndarray]
"""(directions, tokens of every example, scores of every example) -> (example, embedding)."""


def top_three(
    directions: np.ndarray, tokens: list[np.ndarray], maps: list[np.ndarray]
) -> np.ndarray:
    """METHOD's: the three most salient tokens alike."""
    ids = [top_tokens(own[None], ids)[0] for ids, own in zip(tokens, maps, strict=True)]
    return explanations(directions, np.array(ids))


def weighted_three(
    directions: np.ndarray, tokens: list[np.ndarray], maps: list[np.ndarray]
) -> np.ndarray:
    """The three most salient tokens, each by its share."""
    kept = []
    for own in maps:
        third = np.sort(own)[-3:][0]
        kept.append(np.where(own >= third, own, 0))
    return weighted(directions, tokens, kept)


def weighted(
    directions: np.ndarray, tokens: list[np.ndarray], maps: list[np.ndarray]
) -> np.ndarray:
    """All tokens, each by its share."""
    sums = np.stack([shares(own) @ directions[ids] for ids, own in zip(tokens, maps, strict=True)])
    length = np.linalg.norm(sums, axis=1, keepdims=True)
    return np.divide(sums, length, out=np.zeros_like(sums), where=length > 0)


DEFINITIONS: dict[str, Definition] = {
    "top three": top_three,
    "top three by share": weighted_three,
    "all by share": weighted,
}


@dataclass(frozen=True)
class Measured:
    """The maps of a case, and what they are worth."""

    tokens: list[np.ndarray]
    predicted: np.ndarray
    maps: list[list[np.ndarray]]
    """(layer, example)."""
    comprehensiveness: np.ndarray
    """(layer, example)."""


def measured(case: str, method: str, folder: Path) -> Measured | None:
    parts = read(case, method, folder)
    if not parts:
        return None
    layers = range(len(parts[0]["maps"]))
    return Measured(
        tokens=[np.array(ids, np.int32) for part in parts for ids in part["tokens"]],
        predicted=np.concatenate([part["predicted"] for part in parts]).astype(int),
        maps=[[np.array(own) for part in parts for own in part["maps"][layer]] for layer in layers],
        comprehensiveness=joined(parts, "comprehensiveness"),
    )


def coherence_of(q: np.ndarray, predicted: np.ndarray) -> float:
    sums = CoherenceSums(int(predicted.max()) + 1, q.shape[1])
    sums.add(q, predicted)
    value = sums.coherence()
    return float("nan") if value is None else value


def picked(coherence: np.ndarray, last: bool) -> int:
    """Return the most coherent layer, the last block taking part or not."""
    return int(np.nanargmax(coherence if last else coherence[:-1]))


def ratios(q: np.ndarray, found: Measured, last: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return (seed,) picked/best comprehensiveness and (seed,) rank correlation over halves.

    Args:
        q: (layer, example, embedding) explanations.
        found: the case.
        last: whether the last block takes part.
    """
    count = len(found.predicted)
    near, correlation = [], []
    for seed in range(SEEDS):
        rows = np.random.default_rng(seed).choice(count, count // 2, replace=False)
        means = found.comprehensiveness[:, rows].mean(1)
        values = np.array([coherence_of(own[rows], found.predicted[rows]) for own in q])
        near.append(means[picked(values, last)] / means.max())
        correlation.append(spearmanr(values, means, nan_policy="omit").statistic)
    return np.array(near), np.array(correlation)


def interval(values: np.ndarray) -> str:
    low, high = np.percentile(values, [2.5, 97.5])
    return f"{values.mean():.2f} ({low:.2f} to {high:.2f})"


def layer_list(values: np.ndarray) -> str:
    return " ".join(f"{value:.3f}".replace("0.", ".") for value in values)


def directions() -> np.ndarray:
    from transformers import AutoModelForMaskedLM

    head = AutoModelForMaskedLM.from_pretrained(str(LM_HEAD))
    return token_directions(head.get_output_embeddings().weight.detach().float().numpy())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, help="folder of the measurements")
    folder = parser.parse_args().output
    space = directions()
    found = {
        (case, method): whole
        for case in CASES
        for method in OURS
        if (whole := measured(case, method, folder)) is not None
    }
    evaluated_table(found, folder)
    for name, definition in DEFINITIONS.items():
        coherence_table(name, definition, found, space)


def evaluated_table(found: dict[tuple[str, str], Measured], folder: Path) -> None:
    """Print what an audit recommends after evaluating its sample, against the best layer."""
    print(
        f"\nThe layer that {CHOICE_EXAMPLES} other examples recommend, against the best one:\n\n"
        "| case | map | n | comprehensiveness by layer | recommended | of the best |\n"
        "|---|---|---|---|---|---|"
    )
    for (case, method), whole in found.items():
        means = whole.comprehensiveness.mean(1)
        layer = recommended(case, method, folder)
        print(
            f"| {case} | {method} | {len(whole.predicted)} | {layer_list(means)} | {layer} | "
            f"{means[layer] / means.max():.2f} |"
        )


def coherence_table(
    name: str, definition: Definition, found: dict[tuple[str, str], Measured], space: np.ndarray
) -> None:
    """Print what coherence alone picks under one definition."""
    print(
        f"\nCoherence alone, {name}:\n\n| case | map | coherence by layer | picked | of the best | "
        "over samples | without the last block | rank correlation |\n"
        "|---|---|---|---|---|---|---|---|"
    )
    for (case, method), whole in found.items():
        q = np.stack([definition(space, whole.tokens, own) for own in whole.maps])
        values = np.array([coherence_of(own, whole.predicted) for own in q])
        means = whole.comprehensiveness.mean(1)
        layer = picked(values, last=True)
        near, correlation = ratios(q, whole, last=True)
        without, _ = ratios(q, whole, last=False)
        print(
            f"| {case} | {method} | {layer_list(values)} | {layer} | "
            f"{means[layer] / means.max():.2f} | {interval(near)} | {interval(without)} | "
            f"{interval(correlation)} |"
        )


if __name__ == "__main__":
    main()
