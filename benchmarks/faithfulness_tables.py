"""The tables and charts of what `benchmarks.faithfulness` left in its folder."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.cases import directions
from benchmarks.faithfulness import ALL, DESCRIPTION, LAYERED, OURS, Piece, pieces
from saliency_core.evaluation.faithfulness import mean_interval
from saliency_core.evaluation.layer_choice import (
    Choice,
    LayerTests,
    choose_by_tests,
    mean_known,
)
from saliency_core.evaluation.mosaics import MINIMUM
from saliency_core.records import LayerSummary
from saliency_core.saliency.coherence import CoherenceSums, explanations
from saliency_core.saliency.to_records import top_tokens

CHART_WIDTH = 640


@dataclass(frozen=True)
class Measured:
    """One method on a case, a value for every example or mosaic at every layer that it has."""

    comprehensiveness: np.ndarray
    """(layer, example)."""
    sufficiency: np.ndarray
    plausibility: np.ndarray
    """(layer, example); no column where the case has no rationales."""
    tokens: list[np.ndarray]
    predicted: np.ndarray
    maps: list[list[np.ndarray]]
    """(layer, example)."""
    passes: tuple[float, float]
    """Forwards and backwards of one example."""
    seconds: float
    """Of one example."""
    mosaic: np.ndarray
    """(layer, mosaic) share of positive score on the right part."""
    mosaic_auc: np.ndarray
    mosaic_top: np.ndarray
    chance: np.ndarray
    """(mosaic,)."""

    @property
    def layers(self) -> int:
        """Number of layers; one of a method that has none."""
        return len(self.comprehensiveness)

    def tests(self) -> LayerTests:
        """Return what an audit would choose a layer by."""
        tests = LayerTests(self.comprehensiveness, self.sufficiency)
        if len(self.chance) < MINIMUM:
            return tests
        return LayerTests(
            self.comprehensiveness,
            self.sufficiency,
            self.mosaic,
            self.mosaic_auc,
            self.mosaic_top,
            self.chance,
        )

    def explanations(self, space: np.ndarray) -> np.ndarray:
        """Return (layer, example, embedding) where the three most salient tokens lie."""
        return np.stack(
            [
                explanations(
                    space,
                    np.array(
                        [
                            top_tokens(scores[None], ids)[0]
                            for ids, scores in zip(self.tokens, own, strict=True)
                        ]
                    ),
                )
                for own in self.maps
            ]
        )

    def coherences(self, space: np.ndarray) -> np.ndarray:
        """Return the (layer,) coherence, NaN where one class is predicted."""
        return np.array([coherence_of(q, self.predicted) for q in self.explanations(space)])

    def uniform_baseline(self, space: np.ndarray) -> float:
        """Return the coherence of pointing at every token alike."""
        sums = np.stack([space[ids].sum(0) for ids in self.tokens])
        length = np.linalg.norm(sums, axis=1, keepdims=True)
        q = np.divide(sums, length, out=np.zeros_like(sums), where=length > 0)
        return coherence_of(q, self.predicted)


def coherence_of(q: np.ndarray, predicted: np.ndarray) -> float:
    sums = CoherenceSums(int(predicted.max()) + 1, q.shape[1])
    sums.add(q, predicted)
    value = sums.coherence()
    return float("nan") if value is None else value


space = cache(directions)


class Results:
    """What is there of a case."""

    def __init__(self, case: str, folder: Path, examples: int, mosaics: int) -> None:
        """Read a case where `benchmarks.faithfulness` left it."""
        self.case, self.folder, self.examples, self.mosaics = case, folder, examples, mosaics
        self._known: dict[tuple[str, bool], Measured | None] = {}

    @cached_property
    def decodability(self) -> np.ndarray:
        """(layer,)."""
        text = (self.folder / self.case / DESCRIPTION).read_text(encoding="utf-8")
        return np.array(json.loads(text)["decodability"], float)

    def methods(self) -> list[str]:
        """Return the methods that were scored."""
        return [name for name in ALL if self.of(name) is not None]

    def of(self, method: str, choosing: bool = False) -> Measured | None:
        """Return a method on the scored examples, or on those that choose its layers."""
        key = method, choosing
        if key not in self._known:
            self._known[key] = self._read(method, "choice" if choosing else "examples")
        return self._known[key]

    def _read(self, method: str, kind: str) -> Measured | None:
        parts = list(self._pieces(method, kind))
        if not parts:
            return None
        joined = "choice mosaics" if kind == "choice" else "mosaics"
        mosaics = [part for part in self._pieces(method, joined) if part["chance"]]
        count = sum(len(part["predicted"]) for part in parts)
        layers = range(len(parts[0]["maps"]))
        return Measured(
            **{
                name: _joined(parts, name, len(layers))
                for name in ("comprehensiveness", "sufficiency", "plausibility")
            },
            **{
                name: _joined(mosaics, name, len(layers))
                for name in ("mosaic", "mosaic_auc", "mosaic_top")
            },
            chance=np.array([value for part in mosaics for value in part["chance"]], float),
            tokens=[np.array(ids, np.int32) for part in parts for ids in part["tokens"]],
            predicted=np.concatenate([part["predicted"] for part in parts]).astype(int),
            maps=[
                [np.array(own, float) for part in parts for own in part["maps"][layer]]
                for layer in layers
            ],
            passes=tuple(sum(part[n] for part in parts) / count for n in ("forwards", "backwards")),
            seconds=sum(part["seconds"] for part in parts) / count,
        )

    def _pieces(self, method: str, kind: str) -> Iterator[dict]:
        for piece in pieces(method, self.examples, self.mosaics):
            if piece.kind == kind and (path := self._path(piece)).exists():
                yield json.loads(path.read_text(encoding="utf-8"))

    def _path(self, piece: Piece) -> Path:
        return piece.path(self.folder, self.case)

    def choice(self, method: str) -> Choice | None:
        """Return the layers that an audit chooses, on examples that are never scored."""
        found = self.of(method, choosing=True)
        if found is None:
            return None
        baseline = found.uniform_baseline(space())
        coherences = np.nan_to_num(found.coherences(space()), nan=-np.inf)
        layers = [
            LayerSummary(layer, float(value), None, None, baseline, None)
            for layer, value in enumerate(coherences)
        ]
        return choose_by_tests(layers, found.tests())[1]

    def most_comprehensive(self, method: str) -> int:
        """Return the layer of highest comprehensiveness on examples that are never scored."""
        return int(self.of(method, choosing=True).comprehensiveness.mean(1).argmax())

    def reading(self, method: str) -> dict[int, str]:
        """Return layer -> why it stands in the table; layer 0 of a method without layers."""
        choice = self.choice(method) if method in LAYERED else None
        if choice is None:
            return {} if method in LAYERED else {0: ""}
        reasons: dict[int, list[str]] = {choice.recommended: ["recommended"]}
        reasons.setdefault(self.most_comprehensive(method), []).append("most comprehensive")
        if choice.most_readable is not None:
            reasons.setdefault(choice.most_readable, []).append("most readable")
        return {layer: ", ".join(names) for layer, names in reasons.items()}

    def ours(self) -> str | None:
        """Return the method that the others are compared with: the first of ours."""
        return next((name for name in OURS if self.of(name) and self.choice(name)), None)


def _joined(parts: list[dict], name: str, layers: int) -> np.ndarray:
    """Return (layer, row) values of all parts."""
    if not parts:
        return np.zeros((layers, 0))
    return np.concatenate([np.array(part[name], float) for part in parts], axis=1)


# Tables


def print_case(results: Results) -> None:
    """Print the tables of a case in Markdown."""
    if not results.methods():
        return
    print_methods(results)
    for method in LAYERED:
        if (found := results.of(method)) is not None:
            print_layers(results, method, found)


def print_methods(results: Results) -> None:
    """Print every method, and ours minus it on the same examples.

    Ours is read at its most comprehensive layer for comprehensiveness, at the recommended one
    for mosaics and at the most readable one for plausibility: all chosen on other examples.
    """
    ours = results.ours()
    print(
        f"\n{results.case}; differences are {ours} minus the method, a star where the interval "
        "leaves zero out:\n\n"
        "| method | passes | n | comprehensiveness | difference | sufficiency | mosaics | share | "
        "difference | AUC | difference | top word | plausibility | difference | seconds |\n"
        f"|{'---|' * 15}"
    )
    for method in results.methods():
        for layer, reason in results.reading(method).items():
            name = f"{method}, layer {layer} ({reason})" if reason else method
            print(f"| {' | '.join([name, *_cells(results, method, layer)])} |")


def _cells(results: Results, method: str, layer: int) -> list[str]:
    own = results.of(method)
    plausibility = own.plausibility[layer]
    comprehensiveness = own.comprehensiveness[layer]
    return [
        "{:.0f} + {:.0f}".format(*own.passes),
        str(len(comprehensiveness)),
        with_interval(mean_interval(comprehensiveness)),
        _difference(results, "comprehensiveness", comprehensiveness),
        f"{own.sufficiency[layer].mean():.3f}",
        str(int((~np.isnan(own.mosaic[layer])).sum())),
        with_interval(mean_interval(own.mosaic[layer])),
        _difference(results, "mosaic", own.mosaic[layer]),
        _mean(own.mosaic_auc[layer]),
        _difference(results, "mosaic_auc", own.mosaic_auc[layer]),
        _mean(own.mosaic_top[layer]),
        with_interval(mean_interval(plausibility)),
        _difference(results, "plausibility", plausibility),
        f"{own.seconds:.3f}",
    ]


def _mean(values: np.ndarray) -> str:
    mean = mean_interval(values)[0]
    return "" if np.isnan(mean) else f"{mean:.3f}"


def _difference(results: Results, metric: str, own: np.ndarray) -> str:
    """Return ours minus a method's values, paired, at the layer that ours is read at for it."""
    ours = results.ours()
    if ours is None or not len(own):
        return ""
    choice = results.choice(ours)
    layer = choice.recommended
    if metric == "comprehensiveness":
        layer = results.most_comprehensive(ours)
    elif metric == "plausibility" and choice.most_readable is not None:
        layer = choice.most_readable
    values = getattr(results.of(ours), metric)[layer]
    common = min(len(values), len(own))
    return signed(mean_interval(values[:common] - own[:common]))


def print_layers(results: Results, method: str, found: Measured) -> None:
    """Print every measure of a method by layer."""
    choice = results.choice(method)
    chosen = {} if choice is None else {choice.recommended: "recommended"}
    if choice is not None and choice.most_readable is not None:
        both = choice.most_readable == choice.recommended
        chosen[choice.most_readable] = "recommended, most readable" if both else "most readable"
    measures = found.tests().means()
    if found.plausibility.size:
        measures["plausibility"] = mean_known(found.plausibility)
    measures["coherence"] = found.coherences(space())
    measures["decodability"] = results.decodability
    names = list(measures)
    baseline = found.uniform_baseline(space())
    chance = f"{found.chance.mean():.3f}" if len(found.chance) else "none"
    print(
        f"\n{results.case}, {method}, by layer (coherence of all words {baseline:.3f}, chance of "
        f"mosaics {chance}):\n\n| layer | {' | '.join(names)} | |\n|{'---|' * (len(names) + 2)}"
    )
    for layer in range(found.layers):
        cells = [f"{measures[name][layer]:.3f}" for name in names]
        print(f"| {layer} | {' | '.join(cells)} | {chosen.get(layer, '')} |")


def print_ranks(found: Mapping[str, Results]) -> None:
    """Print the rank of each method in comprehensiveness on every case, the cheapest first."""
    table = {case: _by_passes(results) for case, results in found.items() if results.methods()}
    if not table:
        return
    ranks = pd.DataFrame(
        {
            case: rows.set_index("name")["comprehensiveness"].rank(ascending=False)
            for case, rows in table.items()
        }
    )
    passes = pd.concat([rows.set_index("name")["passes"] for rows in table.values()])
    passes = passes.groupby(level=0).mean().reindex(ranks.index)
    print(
        "\nRank in comprehensiveness, ours at its most comprehensive layer, by passes of one "
        f"example:\n\n| method | passes | {' | '.join(ranks.columns)} | mean |\n"
        f"|{'---|' * (3 + len(ranks.columns))}"
    )
    for name in passes.sort_values(kind="stable").index:
        cells = ["" if np.isnan(rank) else f"{rank:.0f}" for rank in ranks.loc[name]]
        mean = ranks.loc[name].mean()
        print(f"| {name} | {passes[name]:.1f} | {' | '.join(cells)} | {mean:.1f} |")


def _by_passes(results: Results) -> pd.DataFrame:
    """Return the methods of a case as `charts.layers.by_passes` takes them."""
    rows = []
    for method in results.methods():
        if not results.reading(method):
            continue
        own = results.of(method)
        layer = results.most_comprehensive(method) if method in LAYERED else 0
        mean, low, high = mean_interval(own.comprehensiveness[layer])
        rows.append((method, sum(own.passes), mean, low, high, method in OURS))
    columns = ["name", "passes", "comprehensiveness", "low", "high", "ours"]
    return pd.DataFrame(rows, columns=columns)


def draw_charts(found: Mapping[str, Results], folder: Path) -> None:
    """Draw comprehensiveness against passes for every case."""
    from saliency_core.output.charts.layers import by_passes
    from saliency_core.output.charts.svg import draw

    folder.mkdir(parents=True, exist_ok=True)
    for case, results in found.items():
        rows = _by_passes(results)
        random = rows.loc[rows["name"] == "random", "comprehensiveness"]
        chart = by_passes(rows[rows["passes"] > 0], None if random.empty else float(random.iloc[0]))
        path = folder / f"methods-by-passes-{case}.svg"
        path.write_text(draw(chart, CHART_WIDTH), encoding="utf-8")


def with_interval(ends: tuple[float, float, float]) -> str:
    return "" if np.isnan(ends[0]) else "{:.3f} ({:.3f} to {:.3f})".format(*ends)


def signed(ends: tuple[float, float, float]) -> str:
    """Return a paired difference; a star where its interval leaves zero out."""
    mean, low, high = ends
    if np.isnan(mean):
        return ""
    return f"{mean:+.3f} ± {(high - low) / 2:.3f}{'*' if low > 0 or high < 0 else ''}"
