"""Dataset labels meet the model's: by name, id or map; another order is found out and named."""

import gzip
import json
import re
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from saliency_core.data.labels.mapping import check_label_order, check_label_sets, map_labels
from saliency_core.data.labels.matching import label_id, label_set
from saliency_core.errors import UserError
from saliency_core.pipeline.run_audit import audit
from saliency_core.store import open_store

NAMES = ["entailment", "neutral", "contradiction"]


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        (["Entailment", "NEUTRAL"], [0, 1]),
        (["0", "2"], [0, 2]),
        (["1.0", "2.00"], [1, 2]),
        (["LABEL_2", "label_0"], [2, 0]),
        (["true", "False"], [1, 0]),
    ],
)
def test_labels_match_by_name_or_id(labels, found):
    assert list(map_labels(labels, NAMES).values()) == found


def test_a_label_map_wins_over_names():
    given = {"neutral": "contradiction", "contradiction": "1"}
    assert map_labels(NAMES, NAMES, given) == {"entailment": 0, "neutral": 2, "contradiction": 1}


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        (["good", "bad"], '--label-map "bad=entailment,good=neutral"'),
        (["1", "2", "3"], "The ids count from 1"),
        (["0", "7"], "0, 7"),
        (["entailment", "maybe"], "those of the model (entailment, neutral, contradiction)"),
    ],
)
def test_labels_the_model_does_not_know_name_the_map_that_repairs_them(labels, sentence):
    with pytest.raises(UserError) as error:
        map_labels(labels, NAMES)
    assert sentence in str(error.value)


def test_names_a_dataset_declares_are_shown():
    with pytest.raises(UserError, match="names its labels no, yes, maybe"):
        map_labels(["0", "5"], NAMES, None, ["no", "yes", "maybe"])


def test_a_map_to_a_label_the_model_has_not():
    with pytest.raises(UserError, match="no label 'maybe'; its labels are entailment"):
        map_labels(["x"], NAMES, {"x": "maybe"})


@given(st.text(max_size=8))
@settings(deadline=None)
def test_any_text_is_an_id_or_none(text):
    found = label_id(text)
    assert found is None or found >= 0


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ('["joy", "fear"]', ["joy", "fear"]),
        ("['joy', 'fear']", ["joy", "fear"]),
        ("joy; fear|anger", ["joy", "fear", "anger"]),
        ("[]", []),
        ("", []),
    ],
)
def test_label_sets(text, names):
    assert label_set(text) == names


def test_label_sets_with_a_label_the_model_has_not():
    check_label_sets(["0 , 1", "[]"], NAMES)
    check_label_sets(['["neutral"]', "Entailment|neutral"], NAMES)
    check_label_sets(["[1, 0, 1]"], NAMES)
    with pytest.raises(UserError, match="pride"):
        check_label_sets(['["neutral", "pride"]'], NAMES)


# Another order


def answers(accuracy, order=(0, 1, 2), examples=256, seed=0):
    """Return gold labels and the answers of a model of this accuracy; its classes are permuted."""
    draw = np.random.default_rng(seed)
    gold = draw.integers(0, 3, examples)
    right = draw.random(examples) < accuracy
    predicted = np.where(right, gold, (gold + draw.integers(1, 3, examples)) % 3)
    return gold, np.array(order)[predicted]


@pytest.mark.parametrize("order", [(1, 0, 2), (2, 1, 0), (1, 2, 0), (2, 0, 1)])
@pytest.mark.parametrize("accuracy", [0.6, 0.9])
def test_every_other_order_is_found_and_named(order, accuracy):
    with pytest.raises(UserError) as error:
        check_label_order(*answers(accuracy, order), NAMES)
    repair = ",".join(f"{NAMES[old]}={NAMES[new]}" for old, new in enumerate(order) if old != new)
    assert f'--label-map "{repair}"' in str(error.value)
    assert "--trust-labels" in str(error.value)


@pytest.mark.parametrize("accuracy", [0.34, 0.4, 0.5, 0.9])
def test_a_weak_but_right_model_is_not_accused(accuracy):
    for seed in range(50):
        check_label_order(*answers(accuracy, seed=seed), NAMES)


def test_a_model_of_chance_is_not_accused():
    for seed in range(200):
        draw = np.random.default_rng(seed)
        check_label_order(draw.integers(0, 3, 256), draw.integers(0, 3, 256), NAMES)


def test_a_model_that_always_says_the_same_is_not_accused():
    gold = np.repeat([0, 1, 2], [20, 60, 20])
    for answer in range(3):
        check_label_order(gold, np.full(100, answer), NAMES)


def test_a_model_that_favours_a_rare_class_is_not_accused():
    gold = np.repeat([0, 1, 2], [160, 50, 50])
    predicted = np.where(np.arange(260) % 4 > 0, 1, gold)  # says 1 mostly, else it is right
    check_label_order(gold, predicted, NAMES)


def test_a_rare_class_does_not_hide_another_order():
    gold = np.repeat([0, 1], [240, 16])
    with pytest.raises(UserError, match="no=yes,yes=no"):
        check_label_order(gold, 1 - gold, ["no", "yes"])


def test_a_handful_of_examples_accuses_nobody():
    check_label_order(np.array([0, 1, 2, 0]), np.array([1, 2, 0, 1]), NAMES)


# The same on real sentence pairs


def snli(shared):
    path = shared / "data/snli/dev.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def tokenizer_of(rows):
    """Return a tokenizer that knows the words the rows hold most often."""
    counts = Counter(word for row in rows for word in f"{row['text']} {row['text_pair']}".split())
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = special + [word for word, _ in counts.most_common(2000)]
    raw = Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, "[UNK]"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    raw.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=raw,
        pad_token="[PAD]",
        unk_token="[UNK]",
        mask_token="[MASK]",
        model_max_length=64,
    )


def train(folder, rows, id2label, steps):
    """Train a tiny BERT on SNLI pairs and save it with its tokenizer."""
    tokenizer = tokenizer_of(rows)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        max_position_embeddings=64,
        id2label=id2label,
        label2id={name: number for number, name in id2label.items()},
    )
    model = BertForSequenceClassification(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    draw = np.random.default_rng(0)
    model.train()
    for _ in range(steps):
        batch = [rows[row] for row in draw.integers(0, len(rows), 32)]
        encoded = tokenizer(
            [row["text"] for row in batch],
            [row["text_pair"] for row in batch],
            truncation=True,
            padding=True,
            return_tensors="pt",
        )
        labels = torch.tensor([NAMES.index(row["label"]) for row in batch])
        optimizer.zero_grad()
        model(**encoded, labels=labels).loss.backward()
        optimizer.step()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def permuted(shared, tmp_path_factory):
    """Return a model whose config names its classes in another order, and rows it never saw."""
    rows = snli(shared)
    folder = tmp_path_factory.mktemp("snli")
    wrong_names = {0: "neutral", 1: "contradiction", 2: "entailment"}
    model = train(folder / "model", rows[:8000], wrong_names, steps=900)
    data = folder / "snli.jsonl"
    data.write_text("\n".join(json.dumps(row) for row in rows[8000:8400]), encoding="utf-8")
    return model, data


def run(permuted, folder, **options):
    model, data = permuted
    return audit(model, data, db=folder / "a.sqlite", evaluate=False, max_length=64, **options)


MAP = {"entailment": "neutral", "neutral": "contradiction", "contradiction": "entailment"}


@pytest.mark.slow
def test_permuted_names_stop_an_audit_of_pairs_before_any_score(permuted, tmp_path):
    with pytest.raises(UserError) as error:
        run(permuted, tmp_path)
    named = re.search('--label-map "(.*)"', str(error.value)).group(1)
    assert dict(pair.split("=") for pair in named.split(",")) == MAP
    assert not (tmp_path / "a.sqlite").exists()


@pytest.mark.slow
def test_a_label_map_repairs_them_and_trust_overrides(permuted, tmp_path):
    run(permuted, tmp_path, label_map=MAP)
    repaired = open_store(tmp_path / "a.sqlite").run().filter("right").count()
    run(permuted, tmp_path, trust_labels=True)
    trusted = open_store(tmp_path / "a.sqlite").run(2).filter("right").count()
    assert repaired > 0.45 * 400  # of three classes, by a model trained for seconds
    assert trusted < 0.4 * 400


@pytest.mark.slow
def test_a_weak_model_whose_names_are_right_is_audited(shared, permuted, tmp_path):
    model = train(tmp_path / "weak", snli(shared)[:8000], dict(enumerate(NAMES)), steps=40)
    result = run((model, permuted[1]), tmp_path)
    assert (result.examples, result.failed) == (400, 0)
