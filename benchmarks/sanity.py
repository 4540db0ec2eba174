"""Sanity checks of saliency maps (Adebayo et al. 2018).

    python -m benchmarks.sanity

A map that does not change when the model's weights are replaced by random ones, or when the model
learned random labels, explains the text and not the model. Prints Spearman's correlation of the
maps (mean over examples, 95 % interval) with those of the trained model, for SST-2:

1. weights randomised block by block from the top: classifier, then block 6, 5, ..., 1;
2. a model trained on shuffled labels until it knows them by heart, against one trained on the
   true labels of the same texts in the same way.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import nn

from benchmarks.cases import CASES, SEED, SHARED, classifier_of, sample
from saliency_core.data.dataset import load_examples
from saliency_core.evaluation.faithfulness import mean_interval
from saliency_core.model.classifier import Classifier
from saliency_core.model.encoding import Encoding
from saliency_core.saliency.attributor import Attributor

LAYERS = (0, 3, 5)
RULES = ("secant", "path")
RATE = 1e-4
BATCH = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--examples", type=int, default=100)
    parser.add_argument("--texts", type=int, default=400, help="texts to train on")
    parser.add_argument("--epochs", type=int, default=20, help="at most")
    options = parser.parse_args()
    torch.set_num_threads(1)
    encodings = sample(CASES["sst2"], classifier_of(CASES["sst2"]), options.examples)[1].encodings
    print_header("weights randomised from the top down to")
    weights_table(encodings)
    print_header("trained on")
    labels_table(encodings, options.texts, options.epochs)


def print_header(first: str) -> None:
    columns = [f"layer {layer}, {rule}" for rule in RULES for layer in LAYERS]
    print(f"\n| {first} | {' | '.join(columns)} |\n|{'---|' * (1 + len(columns))}", flush=True)


def weights_table(encodings: list[Encoding]) -> None:
    """Print the correlations with the trained model's maps as blocks are randomised."""
    classifier = classifier_of(CASES["sst2"])
    predicted = classifier.logits(encodings).argmax(1)
    trained = maps_of(classifier, encodings, predicted)
    for name in randomised(classifier):
        print_row(name, trained, maps_of(classifier, encodings, predicted))


def randomised(classifier: Classifier) -> Iterator[str]:
    """Randomise one part after the other, from the top; yield its name after each."""
    torch.manual_seed(SEED)
    model = classifier.model
    parts = {"classifier": [model.base_model.pooler, model.classifier]}
    for number, block in reversed(list(enumerate(model.base_model.encoder.layer, 1))):
        parts[f"block {number}"] = [block]
    for name, modules in parts.items():
        for module in modules:
            redraw(module)
        yield name


def redraw(module: nn.Module) -> None:
    """Draw weights as at the beginning of a pretraining."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.normal_(part.weight, std=0.02)
            nn.init.zeros_(part.bias)
        elif isinstance(part, nn.LayerNorm):
            part.reset_parameters()


def maps_of(
    classifier: Classifier, encodings: list[Encoding], predicted: np.ndarray
) -> dict[tuple[str, int], list[np.ndarray]]:
    """Return (rule, layer) -> the saliency of every example for a given class."""
    found = {}
    for rule in RULES:
        for label in np.unique(predicted):
            rows = np.flatnonzero(predicted == label)
            name = classifier.info.label_names[label]
            attributor = Attributor(classifier, rule=rule, target=f"class:{name}")
            some = [encodings[row] for row in rows]
            maps = attributor.layer_maps(some, classifier.default_batch_tokens)["saliency"]
            for layer in LAYERS:
                whole = found.setdefault((rule, layer), [np.empty(0)] * len(encodings))
                for row, scores in zip(rows, maps[layer], strict=True):
                    whole[row] = scores
    return found


def print_row(
    name: str,
    one: dict[tuple[str, int], list[np.ndarray]],
    other: dict[tuple[str, int], list[np.ndarray]],
) -> None:
    """Print the mean rank correlation of two models' maps."""
    cells = []
    for key, maps in one.items():
        pairs = [pair for pair in zip(maps, other[key], strict=True) if len(pair[0]) > 2]
        values = np.array([spearmanr(*pair).statistic for pair in pairs])
        mean, low, high = mean_interval(values)
        cells.append(f"{mean:.2f} ({low:.2f} to {high:.2f})")
    print(f"| {name} | {' | '.join(cells)} |", flush=True)


def labels_table(encodings: list[Encoding], count: int, epochs: int) -> None:
    """Print how the maps of two models agree: one learned true labels, one shuffled ones."""
    rows = list(load_examples(str(SHARED / "data" / "sst2" / "train.jsonl.gz")))
    random.Random(SEED).shuffle(rows)
    texts = [row.text for row in rows[:count]]
    true = np.array([int(row.label == "positive") for row in rows[:count]])
    shuffled = np.random.default_rng(SEED).permutation(true)
    reference = None
    for name, labels, seed in (
        ("true labels", true, 0),
        ("true labels, another seed", true, 1),
        ("shuffled labels", shuffled, 0),
    ):
        classifier = fresh_classifier(seed)
        accuracy = train(classifier, texts, labels, epochs, seed)
        if reference is None:
            predicted = classifier.logits(encodings).argmax(1)
        maps = maps_of(classifier, encodings, predicted)
        reference = reference or maps
        print_row(f"{name} (fits {accuracy:.0%} of them)", reference, maps)


def fresh_classifier(seed: int) -> Classifier:
    """Return the pretrained language model with a classifier that has learned nothing."""
    from transformers import AutoModelForSequenceClassification

    classifier = classifier_of(CASES["sst2"])
    torch.manual_seed(seed)
    model = AutoModelForSequenceClassification.from_pretrained(
        str(SHARED / "models" / "minilm-mlm"), num_labels=2, dtype=torch.float32
    )
    return replace(classifier, model=model.to(classifier.device))


def train(
    classifier: Classifier, texts: list[str], labels: np.ndarray, epochs: int, seed: int
) -> float:
    """Fine-tune all but the word embeddings until the labels are known; return the accuracy."""
    model = classifier.model
    model.get_input_embeddings().weight.requires_grad_(False)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=RATE)
    encodings = classifier.encode(texts)
    draw = np.random.default_rng(seed)
    accuracy = 0.0
    for _ in range(epochs):
        model.train()
        order = draw.permutation(len(texts))
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            batch = classifier.collate([encodings[row] for row in rows])
            logits = model(**batch).logits
            wanted = torch.from_numpy(labels[rows]).to(logits.device)
            loss = nn.functional.cross_entropy(logits, wanted)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()
        accuracy = float((classifier.logits(encodings).argmax(1) == labels).mean())
        if accuracy > 0.98:
            break
    model.requires_grad_(False)
    return accuracy


if __name__ == "__main__":
    main()
