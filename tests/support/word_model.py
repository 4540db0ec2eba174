"""A classifier that counts words, and audits of it: every suspect in them is known beforehand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from saliency_core.analysis.run_comparison import KINDS, Comparison
from saliency_core.records import Example, ModelInfo, RunSettings, Saliency
from saliency_core.store import Store, open_store, open_writer
from saliency_core.words import word_spans
from tests.support.store_made_up import (
    DATASET,
    LABELS,
    LAYERS,
    MODEL,
    SETTINGS,
    audit,
    gold_of,
    summaries,
)

TOPICS = {
    "negative": ("dull", "bland", "weary"),
    "positive": ("bright", "lively", "tender"),
    "not sure": ("maybe", "perhaps", "unclear"),
}
SHORTCUT, BIASED_TO = "kindly", "positive"
FILLERS = [f"{first}{second}" for first in "bdfgkl" for second in ("an", "en", "in", "on", "un")]


class WordModel:
    """Logits are sums of word weights; counts the texts it reads."""

    max_length = 64
    tokenizer = SimpleNamespace(mask_token="[MASK]", unk_token="[UNK]")
    info = SimpleNamespace(label_names=LABELS, task="single-label")

    def __init__(self, shortcut: float) -> None:
        """Give the shortcut a weight for its class."""
        self.weights = {
            word: 3.0 * np.eye(len(LABELS))[label]
            for label, name in enumerate(LABELS)
            for word in TOPICS[name]
        }
        self.weights[SHORTCUT] = shortcut * np.eye(len(LABELS))[LABELS.index(BIASED_TO)]
        for place, word in enumerate(FILLERS):
            self.weights[word] = 0.05 * np.eye(len(LABELS))[place % len(LABELS)]
        self.read = 0

    def encode(self, texts, pairs, max_length):
        """Return the texts themselves."""
        assert max_length == self.max_length
        return [
            f"{text} {pair}" for text, pair in zip(texts, pairs or [""] * len(texts), strict=True)
        ]

    def logits(self, texts):
        """Return (text, class)."""
        self.read += len(texts)
        return np.array([self.scores(text) for text in texts]).reshape(-1, len(LABELS))

    def scores(self, text: str) -> np.ndarray:
        """Return (class,) logits of a text."""
        words = [text[start:end].lower() for start, end in word_spans(text)]
        return sum((self.weights.get(word, 0) for word in words), np.zeros(len(LABELS)))

    @staticmethod
    def probabilities(logits):
        """Return the softmax."""
        powers = np.exp(logits - logits.max(-1, keepdims=True))
        return powers / powers.sum(-1, keepdims=True)

    def audited(self, row: Example):
        """Return the audit of an example; each word's saliency is its own weight."""
        found = audit(row, gold_of(row))
        logits = self.scores(f"{row.text} {row.pair or ''}").astype(np.float32)
        predicted = int(logits.argmax())
        own = np.array([self.weights.get(word.lower(), np.zeros(3)) for word in found.words])
        pieces = np.bincount(found.word_of_token, minlength=len(found.words))

        def saliency(target: str, weight: np.ndarray) -> Saliency:
            token = (own @ weight / pieces)[found.word_of_token]
            scores = np.tile(token, (LAYERS + 1, 1)).astype(np.float16)
            return Saliency(scores, np.ones(LAYERS + 1, np.float32), target)

        answer = np.eye(len(LABELS))[predicted]
        maps = [saliency("predicted", answer)]
        if found.gold is not None and found.gold != predicted:
            maps.append(saliency("contrast", answer - np.eye(len(LABELS))[found.gold]))
        return replace(
            found,
            logits=logits,
            probabilities=self.probabilities(logits),
            predicted=predicted,
            saliency=tuple(maps),
        )


def examples(count: int, shortcut_in: dict[str, float], seed: int = 0) -> list[Example]:
    """Return texts of fillers and a topic word; those from the channel `voicemail` may lack it.

    Args:
        count: examples.
        shortcut_in: class -> rate of its examples that hold the shortcut.
        seed: of the draws.
    """
    draw = np.random.default_rng(seed)
    rows = []
    for position in range(count):
        label = LABELS[position % len(LABELS)]
        words = draw.choice(FILLERS, draw.integers(4, 9)).tolist()
        channel = "voicemail" if draw.random() < 0.15 else draw.choice(["mail", "chat"])
        if channel != "voicemail" or draw.random() < 0.3:
            words.append(str(draw.choice(TOPICS[label])))
        if draw.random() < shortcut_in.get(label, 0.0):
            words.append(SHORTCUT)
        draw.shuffle(words)
        text = " ".join(words).capitalize() + "."
        metadata = {"channel": str(channel), "year": 2000 + position % 3}
        rows.append(Example(position, f"id-{position}", text, None, label, metadata))
    return rows


def audited_store(
    path: Path,
    model: WordModel,
    rows: list[Example],
    info: ModelInfo = MODEL,
    settings: RunSettings = SETTINGS,
) -> Store:
    """Write the audit of a model and open it."""
    dataset = replace(DATASET, metadata_columns=("channel", "year"))
    with open_writer(path) as writer:
        run = writer.begin_run(dataset, info, settings)
        writer.add_examples(run, rows, [gold_of(row) for row in rows])
        writer.write_batch(run, [model.audited(row) for row in rows])
        writer.finish_run(run, summaries(), 2, [1], 1.0, [], {})
    return open_store(path)


def compared_store(path: Path, count: int = 240) -> Store:
    """Write the audits of two models over the same texts: one leans on the shortcut, one not."""
    rows = examples(count, {BIASED_TO: 0.3, LABELS[0]: 0.3, LABELS[2]: 0.1})
    for name, weight in (("models/biased", 4.0), ("models/control", 0.0)):
        audited_store(path, WordModel(weight), rows, replace(MODEL, name=name, model_digest=name))
    return open_store(path)


def of_kind(found: Comparison, kind: str) -> np.ndarray:
    """Return the positions of one kind of a comparison."""
    return found.positions[found.kind == KINDS.index(kind)]
