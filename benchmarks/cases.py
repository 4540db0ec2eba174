"""The real models and datasets of the benchmarks, as cases with a name."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from saliency_core.data.dataset import load_examples
from saliency_core.evaluation.faithfulness import rationale_tokens
from saliency_core.evaluation.mosaics import Mosaics, make_mosaics
from saliency_core.model.classifier import Classifier
from saliency_core.model.encoding import Encoding
from saliency_core.model.loading import load_classifier
from saliency_core.saliency.coherence import token_directions

SHARED = Path(__file__).parents[2] / "shared"
LM_HEAD = SHARED / "models" / "minilm-mlm"
SEED = 0
CHOICE_EXAMPLES = 64
"""Examples that choose the layers to read, as many as an audit takes; never scored."""
MAX_POSITIONS = 512
"""Tokens that the models of all cases read."""


@dataclass(frozen=True)
class Case:
    """One model on one dataset."""

    model: str
    """Folder among the shared models, or a path."""
    data: str
    """File among the shared data."""
    max_length: int = 80
    rationales: bool = False
    """The dataset marks the words that made humans decide."""


CASES = {
    "sst2": Case("minilm-sst2", "sst2/dev.jsonl"),
    "agnews": Case("minilm-agnews", "agnews/dev.jsonl"),
    "jigsaw": Case("minilm-jigsaw-control", "jigsaw_people/test_biased.jsonl", 96),
    "movies": Case("minilm-sst2", "movie_rationales_sent/val.jsonl", rationales=True),
    "imdb": Case("minilm-sst2", "cad_imdb/dev.jsonl"),
}


@dataclass(frozen=True)
class Sample:
    """Examples of a case as its model reads them."""

    texts: list[str]
    """Cut where the model stops reading."""
    encodings: list[Encoding]
    rationales: list[np.ndarray]
    """(token,) bool where annotators marked the token; empty where there are none."""

    def part(self, start: int, stop: int) -> Sample:
        """Return some examples."""
        rows = slice(start, stop)
        return Sample(self.texts[rows], self.encodings[rows], self.rationales[rows])


def classifier_of(case: Case) -> Classifier:
    """Load the model of a case with the language-model head of all."""
    folder = SHARED / "models" / case.model
    return load_classifier(str(folder), lm_head=str(LM_HEAD), max_length=case.max_length)


def sample(case: Case, classifier: Classifier, count: int) -> tuple[Sample, Sample]:
    """Return the examples that choose a layer and `count` other ones, drawn with a fixed seed."""
    rows = [row for row in load_examples(str(SHARED / "data" / case.data)) if row.text.strip()]
    random.Random(SEED).shuffle(rows)
    rows = rows[: CHOICE_EXAMPLES + count]
    encodings = classifier.encode([row.text for row in rows])
    marked = []
    if case.rationales:
        spans = [json.loads(row.metadata["rationale"]) for row in rows]
        marked = [rationale_tokens(*pair) for pair in zip(encodings, spans, strict=True)]
    texts = [row.text[: own.chars_seen] for row, own in zip(rows, encodings, strict=True)]
    whole = Sample(texts, encodings, marked)
    return whole.part(0, CHOICE_EXAMPLES), whole.part(CHOICE_EXAMPLES, len(rows))


def mosaics_of(classifier: Classifier, texts: list[str], count: int) -> Mosaics:
    """Return mosaics of the texts of a case, each part as long as the case reads it."""
    probabilities = classifier.probabilities(classifier.logits(classifier.encode(texts)))
    return make_mosaics(
        classifier,
        texts,
        probabilities.argmax(1),
        probabilities.max(1),
        count,
        seed=SEED,
        max_length=min(2 * classifier.max_length, MAX_POSITIONS),
    )


def directions() -> np.ndarray:
    """Return (vocab, embedding) where tokens lie in the space of the language-model head."""
    from transformers import AutoModelForMaskedLM

    head = AutoModelForMaskedLM.from_pretrained(str(LM_HEAD))
    return token_directions(head.get_output_embeddings().weight.detach().float().numpy())
