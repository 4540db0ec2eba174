"""What a finished run says about its layers: coherence, decodability, the one to read first.

A seeded sample of its examples, and mosaics made of them, choose that layer.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from saliency_core.evaluation.faithfulness import faithfulness
from saliency_core.evaluation.layer_choice import (
    LayerTests,
    choose_by_tests,
    choose_layer,
    interval_columns,
    with_values,
)
from saliency_core.evaluation.mosaics import Mosaics, make_mosaics, score_mosaics
from saliency_core.jsonable import plain
from saliency_core.model.classifier import Classifier
from saliency_core.model.encoding import Encoding
from saliency_core.pipeline.batching import answered, encode_examples
from saliency_core.pipeline.options import EVALUATING
from saliency_core.progress import Progress, silent
from saliency_core.records import Example, LayerSummary
from saliency_core.saliency.attributor import Attributor
from saliency_core.saliency.coherence import (
    CoherenceSums,
    bootstrap_interval,
    explanations,
    token_directions,
    unit,
)
from saliency_core.saliency.decodability import decodability
from saliency_core.saliency.logit_lens import class_meanings
from saliency_core.store.read.token_directions import set_token_directions

if TYPE_CHECKING:
    from saliency_core.store import StoreWriter

BOOTSTRAP_EXAMPLES = 2000
"""Examples the interval is drawn from; that of more examples is narrower by the root law."""
TESTS = 3
"""Steps of the evaluation: maps of the sample, masked texts, mosaics."""
EVALUATION_SAMPLE = 64
"""Examples, and mosaics, whose scores choose the layer to read (docs/method.md)."""
COMPLETENESS_SAMPLE = 2000
"""Examples whose median completeness stands for a layer."""


class LayerCoherence:
    """Coherence of every layer of a run, streamed over its stored explanations."""

    def __init__(self, classifier: Classifier, classes: int, seed: int) -> None:
        """Prepare the language model's own space."""
        embeddings = classifier.head.embeddings.float().cpu().numpy()
        self.directions = token_directions(embeddings)
        self.classes = classes
        self.layers = classifier.info.layers + 1
        self.seed = seed
        size = self.directions.shape[1]
        self.sums = [CoherenceSums(classes, size) for _ in range(self.layers)]
        self.kept: list[tuple[np.ndarray, np.ndarray]] = []
        self.examples = 0
        self.used = np.zeros(len(self.directions), bool)
        """(vocab,) tokens that stand in an explanation."""

    def add(self, predicted: np.ndarray, tokens: np.ndarray) -> None:
        """Add (example,) predicted classes and (layer, example, 3) most salient vocabulary ids."""
        known = predicted >= 0
        predicted, tokens = predicted[known], tokens[:, known]
        self.used[tokens[tokens >= 0]] = True
        for layer in range(self.layers):
            self.sums[layer].add(explanations(self.directions, tokens[layer]), predicted)
        self.examples += len(predicted)
        room = BOOTSTRAP_EXAMPLES - sum(len(kept) for kept, _ in self.kept)
        if room > 0:
            self.kept.append((predicted[:room], tokens[:, :room]))

    def summaries(self) -> list[LayerSummary]:
        """Return coherence with its 95 % interval for every layer."""
        if not self.kept:
            return [LayerSummary(layer) for layer in range(self.layers)]
        predicted = np.concatenate([kept for kept, _ in self.kept])
        tokens = np.concatenate([kept for _, kept in self.kept], axis=1)
        narrower = np.sqrt(len(predicted) / max(self.examples, 1))
        found = []
        for layer in range(self.layers):
            value = self.sums[layer].coherence()
            low = high = None
            if value is not None:
                q = explanations(self.directions, tokens[layer])
                low, high = bootstrap_interval(q, predicted, self.classes, seed=self.seed)
                if low is not None and high is not None and len(predicted) < self.examples:
                    middle = (low + high) / 2
                    low = value - (middle - low) * narrower
                    high = value + (high - middle) * narrower
            found.append(LayerSummary(layer, value, low, high))
        return found

    def of_examples(
        self, rows: Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield (positions, (layer, example) coherence) for the store."""
        for positions, predicted, tokens in rows:
            values = np.full((self.layers, len(positions)), np.nan, np.float32)
            known = predicted >= 0
            for layer in range(self.layers):
                q = explanations(self.directions, tokens[layer, known])
                values[layer, known] = self.sums[layer].of_examples(q, predicted[known])
            yield positions, values

    def uniform_baseline(
        self, encodings: Sequence[Encoding], predicted: np.ndarray
    ) -> float | None:
        """Return the coherence of pointing at every token alike, on a sample; None of no text."""
        if not encodings:
            return None
        tokens = [np.array(encoding.input_ids)[~encoding.special] for encoding in encodings]
        sums = CoherenceSums(self.classes, self.directions.shape[1])
        sums.add(unit(np.stack([self.directions[ids].sum(0) for ids in tokens])), predicted)
        return sums.coherence()


def median_completeness(parts: np.ndarray) -> np.ndarray:
    """Return (layer,) medians of (layer, example) completeness; NaN where none is known.

    A text whose target is that of its reference has nothing to add up to: infinite or NaN.
    """
    known = np.isfinite(parts).all(0)
    return np.median(parts[:, known], axis=1) if known.any() else np.full(len(parts), np.nan)


def summarise_run(
    writer: StoreWriter,
    run: int,
    classifier: Classifier,
    survey: Sequence[Example],
    attributor: Attributor | None,
    *,
    seed: int,
    batch_tokens: int,
    seconds: float,
    warnings: Sequence[str],
    progress: Progress,
    bypassed: Mapping[int, float],
) -> None:
    """Summarise the layers of a run, choose the ones to read, and mark the run as finished.

    `survey` is a seeded sample of the dataset. The attributor evaluates the layers, where there is
    one. `bypassed` are the layers that information flows around, with the part that they carry:
    never recommended.
    """
    survey, read, logits = answered(classifier, [row for row in survey if row.text.strip()])
    sample = random.Random(seed).sample(range(len(survey)), min(EVALUATION_SAMPLE, len(survey)))
    encodings = [read[row] for row in sample]
    coherence = LayerCoherence(classifier, len(classifier.info.label_names), seed)
    for _, classes, tokens in writer.explanations(run):
        coherence.add(classes, tokens)
    decoded = decodability(classifier, encodings, seed)
    layers = with_values(
        coherence.summaries(),
        uniform_baseline=[coherence.uniform_baseline(read, logits.argmax(1))] * coherence.layers,
        decodability=decoded.own,
        completeness=median_completeness(writer.completeness(run, COMPLETENESS_SAMPLE)),
    )
    window = classifier.max_length - classifier.tokenizer.num_special_tokens_to_add()
    extra: dict[str, Any] = {
        "incomplete": writer.count_incomplete(run),
        "windowed": writer.count_longer(run, window),
        "intervals": interval_columns("decodability", decoded.of_texts, seed, decoded.positions),
    }
    if bypassed:
        extra["bypassed"] = plain(bypassed)
    if decoded.following is not None:
        extra["next_decodability"] = plain(decoded.following)
    readable = [encoding for encoding in encodings if not encoding.special.all()]
    if attributor is None or not readable:
        choice = choose_layer(layers, None, bypassed)
    else:
        mosaics = survey_mosaics(classifier, survey, logits, seed)
        tests = layer_tests(classifier, attributor, readable, mosaics, batch_tokens, progress)
        layers, choice = choose_by_tests(layers, tests, bypassed=bypassed, seed=seed)
        extra["mosaics"] = mosaics.facts()
        extra["intervals"] |= tests.intervals(seed)
    writer.set_coherence(run, coherence.of_examples(writer.explanations(run)))
    tokens = np.flatnonzero(coherence.used)
    texts = [classifier.tokenizer.decode([token]).strip() for token in tokens.tolist()]
    set_token_directions(writer, run, tokens, texts, coherence.directions[tokens])
    writer.finish_run(
        run,
        layers,
        choice.recommended,
        choice.tied,
        seconds,
        [*warnings, *([choice.warning] if choice.warning else [])],
        extra,
        choice.most_readable,
    )


def survey_mosaics(
    classifier: Classifier, survey: Sequence[Example], logits: np.ndarray, seed: int
) -> Mosaics:
    """Return the mosaics of a sample of examples, at most as many as an audit evaluates.

    `logits` are the sample's, (example, class).
    """
    probabilities = classifier.probabilities(logits)
    return make_mosaics(
        classifier,
        [example.text for example in survey],
        probabilities.argmax(1),
        probabilities.max(1),
        EVALUATION_SAMPLE,
        seed=seed,
        pairs=survey[0].pair is not None,
    )


def layer_tests(
    classifier: Classifier,
    attributor: Attributor,
    encodings: Sequence[Encoding],
    mosaics: Mosaics,
    batch_tokens: int,
    progress: Progress = silent,
) -> LayerTests:
    """Return what examples and mosaics say of the saliency of every layer.

    The attributor explains the predicted class. Each of the encodings needs a token that is not
    special; the mosaics may be too few for a test.
    """
    progress(EVALUATING, 0, TESTS)
    maps = attributor.layer_maps(encodings, batch_tokens)["saliency"]  # (layer, example)
    progress(EVALUATING, 1, TESTS)
    masked = faithfulness(classifier, encodings, maps)
    progress(EVALUATING, 2, TESTS)
    tests = LayerTests(
        comprehensiveness=np.stack([of_layer.comprehensiveness for of_layer in masked]),
        sufficiency=np.stack([of_layer.sufficiency for of_layer in masked]),
    )
    if mosaics.missing is not None:
        progress(EVALUATING, TESTS, TESTS)
        return tests
    maps = attributor.layer_maps(mosaics.encodings, batch_tokens)["saliency"]
    scores = [score_mosaics(mosaics.kept, of_layer) for of_layer in maps]
    progress(EVALUATING, TESTS, TESTS)
    return replace(
        tests,
        mosaic=np.stack([of_layer.share for of_layer in scores]),
        mosaic_auc=np.stack([of_layer.auc for of_layer in scores]),
        mosaic_top=np.stack([of_layer.top for of_layer in scores]),
        chance=mosaics.chance,
    )


def sample_meanings(classifier: Classifier, survey: Sequence[Example]) -> pd.DataFrame:
    """Return the words that classes mean, on a sample of the dataset."""
    encodings = encode_examples(classifier, [example for example in survey if example.text.strip()])
    return class_meanings(
        classifier, [encoding for encoding in encodings if not encoding.special.all()]
    )
