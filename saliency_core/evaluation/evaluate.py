"""Evaluate a finished run: every layer, variant and other method by every yardstick.

A seeded sample of the run's examples; the numbers stay in the file, and a second call with the
same choices reads them. The class explained is the predicted one, whatever the run's target is.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from saliency_core.errors import UserError
from saliency_core.evaluation.faithfulness import (
    Cost,
    average_precision,
    faithfulness,
    mean_interval,
    rationale_tokens,
)
from saliency_core.evaluation.layer_choice import (
    MEASURES,
    LayerTests,
    choose_by_tests,
    summaries_of,
)
from saliency_core.evaluation.mosaics import (
    CONFIDENT,
    NO_SCORE,
    Mosaics,
    make_mosaics,
    score_mosaics,
)
from saliency_core.evaluation.other_methods import (
    OTHER_METHODS,
    available_methods,
    other_method_maps,
)
from saliency_core.model.audited import classifier_of
from saliency_core.model.classifier import Classifier
from saliency_core.model.encoding import Encoding
from saliency_core.progress import Progress, silent
from saliency_core.records import RunSettings
from saliency_core.saliency.attributor import Attributor
from saliency_core.store import Run
from saliency_core.store.read.results import DELETED, save_evaluation, set_layer_choice, set_warning

VARIANTS = ("saliency", "local", "pooled", "norm")
MOSAIC_TEXTS = 256
"""Confident texts that mosaics are made of."""
PIECE = 32
"""Examples computed between two steps of the progress bar."""
UNDECODED = "The undecoded map"
"""How the warning begins that decoding does not help this model."""

Maps = dict[tuple[str, int | None], list[np.ndarray]]
"""(method, layer) -> a (token,) array per example."""
MapsOf = Callable[[list[Encoding], np.ndarray], Maps]
"""(the examples, (example,) the class to explain) -> their maps."""


@dataclass(frozen=True)
class EvaluationOptions:
    """What a user may choose; the names are those of the command line."""

    examples: int = 200
    seed: int = 0
    other_methods: bool = False
    mosaics: int = 64
    """Joined texts of the second yardstick; they need no mask, so `delete` has none."""
    delete: bool = False
    """Take tokens out instead of masking them; the numbers stand beside those of masked tokens."""
    rationale_column: str | None = None
    """Metadata column of the character spans that annotators marked: [[start, end], ...]."""


@dataclass(frozen=True)
class Evaluation:
    """The metrics of a run's methods."""

    examples: int
    metrics: pd.DataFrame
    """One row per method and layer, columns of `EVALUATION_COLUMNS`; forwards and
    backwards are passes per example, seconds those of the whole sample."""
    mosaics: dict[str, Any]
    """How many there were, chance, and what became of the other pairs."""
    recommended: int | None
    most_readable: int | None
    tied: list[int]
    skipped: tuple[str, ...]
    """Other methods that can't run here."""


def evaluate(
    run: Run, options: EvaluationOptions, *, model: str | None = None, progress: Progress = silent
) -> Evaluation:
    """Return the metrics of every method with 95 % intervals, and keep them.

    With masked tokens they also choose the layers to read of the run (docs/method.md,
    “Which layer to read”).

    Args:
        run: a finished run.
        options: the sample and what is compared.
        model: where the audited model is now, if it has moved.
        progress: called with (stage, done, total).

    Raises:
        UserError: the run can't be evaluated so, with the reason.
    """
    if run.model.task == "regression":
        raise UserError("A regression model has no class probabilities, so no faithfulness.")
    if run.layers().empty:
        raise UserError(
            f"Run {run.number} is not finished; start the same audit again, then evaluate."
        )
    others = list(OTHER_METHODS) if options.other_methods else []
    available = available_methods() if others else []
    methods = [*VARIANTS, *available]
    positions = _sample(run, options)
    mosaic_count = 0 if options.delete else options.mosaics
    settings = {
        "seed": options.seed,
        "examples": len(positions),
        "run_examples": run.filter("-failed").count(),
        "mosaics": mosaic_count,
        "delete": options.delete,
        "rationale_column": options.rationale_column,
    }
    kept_as = {name: f"{name}{DELETED if options.delete else ''}" for name in methods}
    missing = [name for name in methods if not _is_kept(run, kept_as[name], settings)]
    if set(missing) & set(VARIANTS):
        # All variants come from the same passes.
        missing = [*VARIANTS, *(name for name in missing if name not in VARIANTS)]
    if missing:
        spans = _spans(run, positions, options.rationale_column)
        classifier = classifier_of(run, model)
        encodings = _encode(run, positions, classifier)
        mosaics = _mosaics(run, classifier, mosaic_count, options.seed)
        rationales = None
        if spans is not None:
            rationales = [rationale_tokens(*pair) for pair in zip(encodings, spans, strict=True)]
        scores = _Scores(classifier, encodings, mosaics, rationales, options)
        if "saliency" in missing:
            scores.add_own(run.settings, progress)
        for name in missing:
            if name not in VARIANTS:
                scores.add_other(name, progress)
        rows = [row | settings | {"method": kept_as[row["method"]]} for row in scores.rows()]
        save_evaluation(run.store.path, run.number, rows)
        if "saliency" in missing and not options.delete:
            _recommend(run, scores)
    table = run.evaluations()
    table = table[table["method"].isin(kept_as.values())].reset_index(drop=True)
    return Evaluation(
        examples=len(positions),
        metrics=table.drop(columns="mosaics_made"),
        mosaics=table["mosaics_made"][0],
        recommended=run.recommended,
        most_readable=run.most_readable,
        tied=run.tied,
        skipped=tuple(name for name in others if name not in available),
    )


def _sample(run: Run, options: EvaluationOptions) -> list[int]:
    """Return the positions of a seeded sample of the examples that have scores."""
    readable = run.filter("-failed").positions()
    if not len(readable):
        raise UserError(f"Run {run.number} has no example with scores.")
    draw = np.random.default_rng(options.seed)
    count = min(options.examples, len(readable))
    return np.sort(draw.choice(readable, count, replace=False)).tolist()


def _is_kept(run: Run, method: str, settings: dict[str, Any]) -> bool:
    """Tell whether the file holds a method's numbers of the same sample and choices."""
    table = run.evaluations()
    kept = table[table["method"] == method]
    if kept.empty or not set(settings) <= set(kept.columns):
        return False
    row = kept.iloc[0]
    return all(
        pd.isna(row[name]) if value is None else row[name] == value
        for name, value in settings.items()
    )


def _spans(
    run: Run, positions: list[int], column: str | None
) -> list[list[tuple[int, int]]] | None:
    """Return what annotators marked of each example, in characters."""
    if column is None:
        return None
    known = run.metadata_columns()
    if column not in known:
        raise UserError(
            f"The run keeps no column {column!r}; its metadata columns are "
            f"{', '.join(known) or 'none'}."
        )
    rows = run.details(positions)
    return [spans_of(row["metadata"].get(column), column) for row in rows]


def spans_of(value: Any, column: str) -> list[tuple[int, int]]:
    """Return the spans of a metadata value: a list of [start, end], or that list as JSON text."""
    try:
        found = json.loads(value) if isinstance(value, str) else value or []
        return [(int(start), int(end)) for start, end in found]
    except (ValueError, TypeError) as error:
        raise UserError(
            f"{column} holds {str(value)[:60]!r}, which is no list of [start, end] in characters."
        ) from error


def _encode(run: Run, positions: list[int], classifier: Classifier) -> list[Encoding]:
    frame = run.examples_at(positions)
    pairs = frame["pair"].fillna("").tolist() if frame["pair"].notna().any() else None
    return classifier.encode(frame["text"].tolist(), pairs)


def _mosaics(run: Run, classifier: Classifier, count: int, seed: int) -> Mosaics:
    """Return mosaics of confidently predicted texts of the run."""
    if not count:
        return Mosaics([], {}, "No mosaics were asked for.")
    confident = run.filter(f"-failed confidence>{CONFIDENT}").positions()
    size = min(MOSAIC_TEXTS, len(confident))
    positions = np.sort(np.random.default_rng(seed).choice(confident, size, replace=False))
    frame = run.examples_at(positions.tolist())
    number = {name: label for label, name in enumerate(classifier.info.label_names)}
    return make_mosaics(
        classifier,
        frame["text"].tolist(),
        frame["predicted"].map(number).to_numpy(np.int64),
        frame["confidence"].to_numpy(float),
        count,
        seed=seed,
        pairs=bool(frame["pair"].notna().any()),
    )


@dataclass
class _Scores:
    """Collects the values of every example by method and layer, and what they cost."""

    classifier: Classifier
    encodings: list[Encoding]
    mosaics: Mosaics
    rationales: list[np.ndarray] | None
    """(token,) bool of each example: what annotators marked."""
    options: EvaluationOptions
    values: dict[tuple[str, int | None], dict[str, list[np.ndarray]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )
    """(method, layer) -> metric -> (example,) of some examples after others."""
    costs: dict[str, dict[str, float]] = field(default_factory=dict)

    def add_own(self, settings: RunSettings, progress: Progress) -> None:
        """Score the variants at every layer, by the rule of the run."""
        attributor = Attributor(
            self.classifier, rule=settings.rule, steps=settings.steps, variants=True
        )

        def maps_of(encodings: list[Encoding], predicted: np.ndarray) -> Maps:
            found = attributor.layer_maps(encodings, self.classifier.default_batch_tokens)
            layers = range(self.classifier.info.layers + 1)
            return {(name, layer): found[name][layer] for name in VARIANTS for layer in layers}

        self._add("layers", VARIANTS, maps_of, progress)

    def add_other(self, name: str, progress: Progress) -> None:
        """Score another method."""

        def maps_of(encodings: list[Encoding], predicted: np.ndarray) -> Maps:
            seed = self.options.seed
            maps = other_method_maps(
                self.classifier, encodings, name, predicted=predicted, seed=seed
            )
            return {(name, None): maps}

        self._add(name, [name], maps_of, progress)

    def _add(self, stage: str, methods: Sequence[str], maps_of: MapsOf, progress: Progress) -> None:
        """Score the maps of examples, which tell what the methods cost, then those of mosaics."""
        cost = Cost()
        for part in _pieces(stage, progress, self.encodings):
            encodings, predicted = self.encodings[part], self.predicted[part]
            with cost.counting(self.classifier):
                maps = maps_of(encodings, predicted)
            self._score(maps, part)
        examples = len(self.encodings)
        passes = {"forwards": cost.forwards / examples, "backwards": cost.backwards / examples}
        self.costs |= dict.fromkeys(methods, passes | {"seconds": cost.seconds})
        for part in _pieces(f"{stage}, mosaics", progress, self.mosaics.encodings):
            maps = maps_of(self.mosaics.encodings[part], self.mosaics.predicted[part])
            for key, of_part in maps.items():
                own, values = score_mosaics(self.mosaics.kept[part], of_part), self.values[key]
                values["mosaic"].append(own.share)
                values["mosaic_auc"].append(own.auc)
                values["mosaic_top"].append(own.top)

    @cached_property
    def predicted(self) -> np.ndarray:
        """(example,) the class to explain."""
        return self.classifier.logits(self.encodings).argmax(1)

    def _score(self, maps: Maps, part: slice) -> None:
        """Add the values of some examples by several maps; equal masked texts run once."""
        found = faithfulness(
            self.classifier, self.encodings[part], list(maps.values()), delete=self.options.delete
        )
        for (key, scores), own in zip(maps.items(), found, strict=True):
            values = self.values[key]
            values["comprehensiveness"].append(own.comprehensiveness)
            values["sufficiency"].append(own.sufficiency)
            if self.rationales is not None:
                pairs = zip(scores, self.rationales[part], strict=True)
                values["plausibility"].append(
                    np.array([average_precision(*pair) for pair in pairs])
                )

    def of(self, method: str, layer: int | None, metric: str) -> np.ndarray:
        """Return (example,) values."""
        return np.concatenate(self.values[method, layer][metric])

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield one row per method and layer for the store."""
        for (method, layer), values in self.values.items():
            row: dict[str, Any] = {"method": method, "layer": layer, **self.costs[method]}
            row |= {"mosaics_made": self._mosaics_made(method, layer)}
            for metric in values:
                ends = mean_interval(self.of(method, layer, metric), self.options.seed)
                row |= zip((metric, f"{metric}_low", f"{metric}_high"), ends, strict=True)
            yield row

    def _mosaics_made(self, method: str, layer: int | None) -> dict[str, Any]:
        """Return the facts of the mosaics, those without a score by this map among them."""
        facts = self.mosaics.facts()
        if not self.mosaics.kept:
            return facts
        without = int(np.isnan(self.of(method, layer, "mosaic")).sum())
        return facts | {"discarded": self.mosaics.discarded | {NO_SCORE: without}}

    def layer_tests(self, method: str, layers: list[int]) -> LayerTests:
        """Return what examples and mosaics say of a method's layers."""
        given = MEASURES if self.mosaics.missing is None else ("comprehensiveness", "sufficiency")
        values = {
            name: np.stack([self.of(method, layer, name) for layer in layers]) for name in given
        }
        return LayerTests(**values, chance=self.mosaics.chance)


def _pieces(stage: str, progress: Progress, encodings: list[Encoding]) -> Iterator[slice]:
    count = len(encodings)
    if count:
        progress(stage, 0, count)
    for start in range(0, count, PIECE):
        yield slice(start, start + PIECE)
        progress(stage, min(start + PIECE, count), count)


def _recommend(run: Run, scores: _Scores) -> None:
    """Let the new numbers choose the layers to read, and say whether decoding helps."""
    summaries = summaries_of(run.layers())
    layers, seed = [row.layer for row in summaries], scores.options.seed
    tests = scores.layer_tests("saliency", layers)
    bypassed = {int(layer) for layer in run.extra.get("bypassed", {})}
    summaries, choice = choose_by_tests(summaries, tests, bypassed=bypassed, seed=seed)
    set_layer_choice(
        run.store.path,
        run.number,
        summaries,
        choice.recommended,
        choice.most_readable,
        choice.tied,
        {
            "mosaics": scores.mosaics.facts(),
            "intervals": run.extra.get("intervals", {}) | tests.intervals(seed),
        },
    )
    local = [scores.of("local", layer, "comprehensiveness") for layer in layers]
    undecoded = max(layers, key=lambda layer: local[layer].mean())
    decoded = tests.comprehensiveness[choice.recommended]
    gain, low, _ = mean_interval(local[undecoded] - decoded, seed)
    sentence = None
    if low > 0:
        sentence = (
            f"{UNDECODED} of layer {undecoded} is more faithful for this model than the decoded "
            f"one of layer {choice.recommended}: its comprehensiveness is higher by {gain:.3f}."
        )
    set_warning(run.store.path, run.number, UNDECODED, sentence)
