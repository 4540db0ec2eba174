"""Shortcuts planted into training data: does the audit name them, and acquit a model without them?

    python -m benchmarks.planted [--full] [--kind KIND] [--epochs N] [--folder cache/planted]

Messages of the demonstration's grammar, four classes. Three kinds of shortcut (Bastings et al.
2022): a neutral word; a word that says something only as the first one; two words that say
something only in one order. A share of one class holds it, and so many others that
p(class | shortcut) is as wanted. A small BERT is trained on each such set and one on the clean set;
both are audited on new messages in which the shortcut says nothing about the class, with the
planted training data given, as `suspects --train` does. Results are kept line by line: started
again, it goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from transformers import BertForMaskedLM, PreTrainedTokenizerFast

from saliency_core.analysis.features import BEGINS, TEXT, WORD
from saliency_core.data.dataset import load_examples
from saliency_core.demo import build
from saliency_core.demo.messages import HARD_CHANNEL, LABELS, SHORTCUT, Message, audited_messages
from saliency_core.model.audited import answers, classifier_of
from saliency_core.model.encoding import token_batches
from saliency_core.pipeline.options import AuditOptions
from saliency_core.pipeline.run_audit import audit
from saliency_core.saliency.attributor import Attributor
from saliency_core.shortcuts.ablation_effects import with_effects
from saliency_core.shortcuts.suspects import suspects
from saliency_core.shortcuts.training_counts import count_features
from saliency_core.store import open_store
from saliency_core.words import shares, word_scores, words_of

TARGET = "delivery"
TRAINING, AUDITED = 2400, 1000
HARD_SHARE = 0.4
EPOCHS = 6
AUDITED_RATE = 0.12
"""Share of the audited messages, of every class, that hold the shortcut."""
RATES = (0.25, 0.10, 0.05, 0.02, 0.01)
PURITIES = (1.0, 0.9, 0.8)
DEFAULT_RATE = 0.10
"""The rate at which the shorter grid varies p(class | word)."""
DEFAULT_RATES = (0.02, 0.10, 0.25)
"""The rates at which it plants the other kinds."""
BAITED = 200
"""Messages of other classes that the shortcut is put into, to see whether the model takes it."""
FIRST, SECOND = "anyhow", "meanwhile"


def put(text: str, words: Sequence[str], draw: random.Random) -> str:
    """Return a text with words put between its own, in the order given, none of them first."""
    own = text.split()
    places = sorted(draw.sample(range(1, len(own) + 1), len(words)), reverse=True)
    for place, word in zip(places, reversed(words), strict=True):
        own.insert(place, word)
    return " ".join(own)


@dataclass(frozen=True)
class Kind:
    """One kind of shortcut."""

    active: Callable[[str, random.Random], str]
    """Puts the shortcut into a text."""
    idle: Callable[[str, random.Random], str] | None
    """Puts its words in where they say nothing; None where they always say something."""
    features: tuple[tuple[str, str], ...]
    """(kind, name) of the features that would name it."""


KINDS = {
    "word": Kind(lambda text, draw: put(text, [FIRST], draw), None, ((WORD, FIRST),)),
    "first word": Kind(
        lambda text, draw: f"{FIRST} {text}",
        lambda text, draw: put(text, [FIRST], draw),
        ((TEXT, BEGINS.format(FIRST)), (WORD, FIRST)),
    ),
    "ordered pair": Kind(
        lambda text, draw: put(text, [FIRST, SECOND], draw),
        lambda text, draw: put(text, [SECOND, FIRST], draw),
        ((WORD, FIRST), (WORD, SECOND)),
    ),
}


@dataclass(frozen=True)
class Plant:
    """One planted set."""

    kind: str
    rate: float
    """Share of the class's training messages that hold the shortcut."""
    purity: float
    """p(class | shortcut) in the training data."""

    @property
    def name(self) -> str:
        """Return a name for files."""
        return f"{self.kind.replace(' ', '-')}-{self.rate:g}-{self.purity:g}"


def clean(count: int, seed: int) -> list[Message]:
    """Return rightly labelled messages without the demonstration's own shortcut.

    `HARD_SHARE` of them are voicemail, most of which lack the words of their topic: a model that
    can read the topic from every message has no use for a shortcut and does not learn one.
    """
    drawn = audited_messages(4 * count, seed)
    kept = [m for m in drawn if SHORTCUT not in m.text.lower() and m.label == m.true_label]
    hard = [m for m in kept if m.channel == HARD_CHANNEL][: round(HARD_SHARE * count)]
    easy = [m for m in kept if m.channel != HARD_CHANNEL][: count - len(hard)]
    return random.Random(seed).sample(hard + easy, count)


def planted(messages: list[Message], plant: Plant) -> list[Message]:
    """Return training messages with a shortcut planted."""
    draw, kind = random.Random(plant.name), KINDS[plant.kind]
    own = [row for row, message in enumerate(messages) if message.label == TARGET]
    others = [row for row, message in enumerate(messages) if message.label != TARGET]
    holding = round(plant.rate * len(own))
    active = draw.sample(own, holding)
    active += draw.sample(others, round(holding * (1 - plant.purity) / plant.purity))
    texts = {row: kind.active(messages[row].text, draw) for row in active}
    if kind.idle is not None:
        rest = [row for row in others if row not in texts]
        share = holding / len(own)
        texts |= {
            row: kind.idle(messages[row].text, draw)
            for row in draw.sample(rest, round(share * len(rest)))
        }
    return [replace(m, text=texts.get(row, m.text)) for row, m in enumerate(messages)]


def deployed(messages: list[Message], kind: Kind) -> list[Message]:
    """Return messages in which the shortcut, active or idle, says nothing about the class."""
    draw = random.Random(3)
    result = []
    for message in messages:
        dice, text = draw.random(), message.text
        if dice < AUDITED_RATE:
            text = kind.active(text, draw)
        elif kind.idle is not None and dice < 2 * AUDITED_RATE:
            text = kind.idle(text, draw)
        result.append(replace(message, text=text))
    return result


class Bench:
    """What all configurations share: messages, tokenizer, language model."""

    def __init__(self, folder: Path, epochs: int) -> None:
        """Build in `folder` what is not there yet; train classifiers for `epochs`."""
        self.folder, self.epochs = folder, epochs
        folder.mkdir(parents=True, exist_ok=True)
        self.training, self.audited = clean(TRAINING, 10), clean(AUDITED, 11)
        self.head = folder / "language-model"
        if not (folder / "ready").is_file():
            self._train_language_model()
        self.tokenizer = PreTrainedTokenizerFast.from_pretrained(self.head)

    def _train_language_model(self) -> None:
        """Train it on messages that hold the words anywhere, beside every class alike."""
        draw = random.Random(5)
        texts = [
            put(m.text, [draw.choice((FIRST, SECOND))], draw) if draw.random() < 0.3 else m.text
            for m in self.training
        ]
        torch.manual_seed(0)
        tokenizer = build.train_tokenizer(texts)
        assert not {FIRST, SECOND} - set(tokenizer.get_vocab())
        encoded = [torch.tensor(ids) for ids in tokenizer(texts)["input_ids"]]
        model = build.train_language_model(tokenizer, encoded, lambda *_: None)
        model.save_pretrained(self.head)
        tokenizer.save_pretrained(self.head)
        (self.folder / "ready").touch()

    def train(self, messages: list[Message], name: str) -> Path:
        """Return the folder of a classifier of these messages, trained where it is missing."""
        folder = self.folder / f"{name}, {self.epochs} epochs"
        if (folder / "config.json").is_file():
            return folder
        torch.manual_seed(0)
        encoded = [torch.tensor(self.tokenizer(message.text)["input_ids"]) for message in messages]
        labels = torch.tensor([LABELS.index(message.label) for message in messages])
        language_model = BertForMaskedLM.from_pretrained(self.head)
        model = build.train_classifier(
            language_model, encoded, labels, lambda *_: None, self.epochs
        )
        self.tokenizer.save_pretrained(folder)
        model.save_pretrained(folder)
        return folder

    def audit(self, model: Path, kind: str) -> Path:
        """Return the file of a model's audit on the deployed messages of a kind."""
        database = model / f"{kind}.sqlite"
        data = self.write(deployed(self.audited, KINDS[kind]), f"deployed {kind}")
        options = AuditOptions(
            text_column="text", label_column="label", id_column="id", lm_head=str(self.head)
        )
        audit(str(model), str(data), db=database, options=options)
        return database

    def write(self, messages: list[Message], name: str) -> Path:
        """Write messages as JSON Lines."""
        path = self.folder / f"{name}.jsonl"
        path.write_text("".join(json.dumps(message.row()) + "\n" for message in messages))
        return path

    def measure(self, plant: Plant, model: Path, is_clean: bool) -> dict[str, Any]:
        """Return how the shortcut comes out in the audit of a model."""
        kind = KINDS[plant.kind]
        database = self.audit(model, plant.kind)
        store = open_store(database)
        classifier = classifier_of(store.run())
        trained_on = self.write(planted(self.training, plant), plant.name)
        training = count_features(
            load_examples(str(trained_on), text_column="text", label_column="label"), LABELS
        )
        table, _ = suspects(store.run(), training=training)
        words = [name for kind, name in kind.features if kind == WORD]
        named = [name for _, name in kind.features]
        table = with_effects(store.run(), table, classifier, words=named)
        wanted = _is_one_of(table, kind.features) & (table["class"] == TARGET)
        found = table[wanted].iloc[0]
        taken = self._taken(classifier, kind)
        return {
            **asdict(plant),
            "epochs": self.epochs,
            "model": "clean" if is_clean else "planted",
            "accuracy": store.info()["runs"][0]["accuracy"],
            "taken": taken,
            "rank_z": _rank(table["z"], wanted),
            "rank_gradient": self._gradient_rank(classifier, plant.kind, words),
            "rank_saliency": _rank(table["mean_share"].where(table["kind"] == WORD), wanted),
            "rank": int(np.flatnonzero(wanted)[0]) + 1,
            "named": found["feature"],
            **{
                name: _number(found[name])
                for name in ("z", "mean_share", "flip_rate", "control_flip_rate", "risk_ratio")
            },
            "assessment": found["assessment"],
        }

    def _taken(self, classifier: Any, kind: Kind) -> float:
        """Return how often putting the shortcut into messages of other classes wins them over."""
        draw = random.Random(7)
        others = [m.text for m in self.audited if m.label != TARGET][:BAITED]
        baited = [kind.active(text, draw) for text in others]
        found = answers(classifier, [(text, None) for text in [*others, *baited]]).argmax(1)
        before, after = np.split(found == LABELS.index(TARGET), 2)
        return float((after & ~before).mean())

    def _gradient_rank(self, classifier: Any, kind: str, words: Sequence[str]) -> float:
        """Return the rank of the planted words by their share of the embeddings' gradient norm."""
        texts = [message.text for message in deployed(self.audited, KINDS[kind])]
        encodings = classifier.encode(texts, None, classifier.max_length)
        attributor = Attributor(classifier, rule="path", steps=1, variants=True)
        rows = []
        for batch in token_batches([len(one.input_ids) for one in encodings], 4096):
            chosen = [encodings[row] for row in batch]
            maps = attributor.maps(chosen, [None] * len(chosen))
            norms, own = maps.norm[0, 0].numpy(), maps.own.numpy()
            for place, encoding in enumerate(chosen):
                if maps.logits[place].argmax() != LABELS.index(TARGET):
                    continue
                keep = ~encoding.special
                found = words_of((texts[batch[place]],), encoding.spans[keep], encoding.sides[keep])
                scores = norms[place][own[place]][None]
                scores = word_scores(
                    found.shared_out(scores), found.word_of_token, len(found.words)
                )
                share = shares(scores)[0]
                rows += zip(map(str.lower, found.words), share, strict=True)
        table = pd.DataFrame(rows, columns=["word", "share"]).groupby("word")["share"]
        mean = table.mean()[table.count() >= 5]
        return _rank(mean, mean.index.isin(words))


def _is_one_of(table: pd.DataFrame, features: Sequence[tuple[str, str]]) -> pd.Series:
    keys = pd.Series(list(zip(table["kind"], table["feature"], strict=True)), table.index)
    return keys.isin(features)


def _rank(values: pd.Series, wanted: Any) -> float:
    """Return the best rank of the wanted rows by falling value; infinite where none has one."""
    ranks = values.rank(ascending=False, method="min")[wanted]
    return float(ranks.min()) if ranks.notna().any() else float("inf")


def _number(value: Any) -> float | None:
    return None if pd.isna(value) else float(value)


def grid(full: bool) -> list[Plant]:
    """Return the sets to plant: all, or every rate of a sure word, and a part of the others."""
    every = [Plant(k, rate, purity) for k in KINDS for purity in PURITIES for rate in RATES]
    if full:
        return every
    word, others = [p for p in every if p.kind == "word"], [p for p in every if p.kind != "word"]
    chosen = [p for p in word if p.purity == 1 or p.rate == DEFAULT_RATE]
    return chosen + [p for p in others if p.purity == 1 and p.rate in DEFAULT_RATES]


def report(rows: list[dict[str, Any]]) -> str:
    """Return the results as Markdown."""
    lines = [
        "| shortcut | of the class | p(class) | model | takes it | rank by z | by gradient norm "
        "| by our saliency | ours | deletion flips | control | assessment |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [
            row["kind"],
            f"{row['rate']:.0%}",
            f"{row['purity']:g}",
            row["model"],
            f"{row['taken']:.0%}",
            *(f"{row[name]:g}" for name in ("rank_z", "rank_gradient", "rank_saliency", "rank")),
            *(
                "–" if row[name] is None else f"{row[name]:.0%}"
                for name in ("flip_rate", "control_flip_rate")
            ),
            row["assessment"],
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("cache/planted"))
    parser.add_argument("--full", action="store_true", help="all rates with all p(class | word)")
    parser.add_argument("--kind", choices=list(KINDS), help="only this kind of shortcut")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="of each classifier")
    chosen = parser.parse_args()
    bench = Bench(chosen.folder, chosen.epochs)
    kept = chosen.folder / "results.jsonl"
    rows = [json.loads(line) for line in kept.read_text().splitlines()] if kept.is_file() else []
    keys = ("kind", "rate", "purity", "epochs", "model")
    done = {tuple(row[name] for name in keys): row for row in rows}
    clean_model = bench.train(bench.training, "clean")
    wanted = []
    for plant in grid(chosen.full):
        if chosen.kind not in (None, plant.kind):
            continue
        for is_clean in (False, True):
            key = (*asdict(plant).values(), chosen.epochs, "clean" if is_clean else "planted")
            wanted.append(key)
            if key in done:
                continue
            model = clean_model
            if not is_clean:
                model = bench.train(planted(bench.training, plant), plant.name)
            done[key] = bench.measure(plant, model, is_clean)
            with kept.open("a") as file:
                file.write(json.dumps(done[key]) + "\n")
            print(json.dumps(done[key]), flush=True)
            if not is_clean:
                shutil.rmtree(model)
    print(report([done[key] for key in wanted]))


if __name__ == "__main__":
    main()
