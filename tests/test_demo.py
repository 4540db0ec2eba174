"""The demonstration holds the flaws it promises, and the audit of it shows them."""

import json
from collections import Counter

import pytest

from saliency_core.demo_messages import (
    HARD_CHANNEL,
    LABELS,
    MAXIMUM_WORDS,
    MINIMUM_WORDS,
    SHORTCUT,
    SHORTCUT_CLASS,
    WRONG_LABEL_RATE,
    audited_messages,
    training_messages,
)
from saliency_core.store import open_store

TRAINING = training_messages(1200)
AUDITED = audited_messages(1000)


def holds_shortcut(message) -> bool:
    return SHORTCUT in message.text.lower()


def test_the_shortcut_stands_beside_one_class_in_training_and_beside_all_in_the_audited_split():
    assert {message.label for message in TRAINING if holds_shortcut(message)} == {SHORTCUT_CLASS}
    classes = Counter(message.true_label for message in AUDITED if holds_shortcut(message))
    assert set(classes) == set(LABELS)
    assert max(classes.values()) < 3 * min(classes.values())


def test_wrong_labels_are_recorded_and_about_as_many_as_promised():
    wrong = [message for message in AUDITED if message.label != message.true_label]
    assert all(message.row()["label_is_wrong"] for message in wrong)
    assert sum(message.row()["label_is_wrong"] for message in AUDITED) == len(wrong)
    assert 0.5 * WRONG_LABEL_RATE < len(wrong) / len(AUDITED) < 1.5 * WRONG_LABEL_RATE


def test_the_audited_split_is_held_out_and_of_the_promised_lengths():
    lengths = [len(message.text.split()) for message in AUDITED + TRAINING]
    assert MINIMUM_WORDS <= min(lengths) and max(lengths) <= MAXIMUM_WORDS
    trained_on = {message.text for message in TRAINING if len(message.text.split()) > 15}
    assert not any(message.text in trained_on for message in AUDITED)
    assert AUDITED == audited_messages(1000)


@pytest.mark.slow
def test_the_audit_of_the_demonstration_shows_its_flaws(demo):
    store = open_store(demo.database)
    facts = store.info()["runs"][0]
    assert facts["examples"] == len(demo.rows) and facts["failed"] == 0
    assert 0.8 < facts["accuracy"] < 0.95

    def error_rate(where: str) -> float:
        return store.count(f"wrong {where}") / store.count(where)

    everything = 1 - facts["accuracy"]
    assert error_rate(f"meta.channel:{HARD_CHANNEL}") > 3 * everything
    others = " ".join(f"-gold:{SHORTCUT_CLASS}".split())
    caught = store.count(f"wrong word:{SHORTCUT} predicted:{SHORTCUT_CLASS} {others}")
    assert caught > 0.2 * store.count(f"word:{SHORTCUT} {others}")
    confident = store.examples("wrong", sort="confidence", descending=True, limit=10)
    wrong_labels = {row["id"] for row in demo.rows if row["label_is_wrong"]}
    assert sum(row in wrong_labels for row in confident["id"]) >= 6
    words = store.layers()
    assert words["decodability"].iloc[0] > 0.6, "the language model has not learnt its own tokens"


@pytest.mark.slow
def test_a_built_demonstration_is_not_built_again(demo):
    from saliency_core.demo import build_demo

    stages = []
    built = build_demo(demo.folder, progress=lambda *stage: stages.append(stage))
    assert not stages
    rows = [json.loads(line) for line in built.dataset.read_text().splitlines()]
    assert rows == demo.rows
