"""The demonstration holds the flaws it promises, and the audit of it shows them."""

import json
import shutil
import subprocess
import sys
from collections import Counter

import pytest

from saliency_core.analysis.error_slices import kept_discovered
from saliency_core.analysis.kept_suspects import HARMFUL, RELIED, kept_suspects
from saliency_core.demo.messages import (
    HARD_CHANNEL,
    LABELS,
    MAXIMUM_WORDS,
    MINIMUM_WORDS,
    SHORTCUT,
    SHORTCUT_CLASS,
    TOPICS,
    WRONG_LABEL_RATE,
    audited_messages,
    training_messages,
)
from saliency_core.shortcuts.counterfactuals import replace_in_slice
from saliency_core.store import open_store
from tests.support.paths import ROOT

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
    assert all(message.answer_key()["label_is_wrong"] for message in wrong)
    assert sum(message.answer_key()["label_is_wrong"] for message in AUDITED) == len(wrong)
    assert 0.5 * WRONG_LABEL_RATE < len(wrong) / len(AUDITED) < 1.5 * WRONG_LABEL_RATE


def test_the_audited_split_is_held_out_and_of_the_promised_lengths():
    lengths = [len(message.text.split()) for message in AUDITED + TRAINING]
    assert min(lengths) >= MINIMUM_WORDS and max(lengths) <= MAXIMUM_WORDS
    trained_on = {message.text for message in TRAINING if len(message.text.split()) > 15}
    assert not any(message.text in trained_on for message in AUDITED)
    assert audited_messages(1000) == AUDITED


@pytest.mark.slow
def test_the_audit_of_the_demonstration_shows_its_flaws(demo):
    store = open_store(demo.database)
    facts = store.info()["runs"][0]
    assert facts["examples"] == len(demo.rows) and facts["failed"] == 0
    assert 0.8 < facts["accuracy"] < 0.95

    def error_rate(where: str) -> float:
        return store.run().filter(f"wrong {where}").count() / store.run().filter(where).count()

    everything = 1 - facts["accuracy"]
    assert error_rate(f"meta.channel:{HARD_CHANNEL}") > 3 * everything
    others = " ".join(f"-gold:{SHORTCUT_CLASS}".split())
    caught = (
        store.run().filter(f"wrong word:{SHORTCUT} predicted:{SHORTCUT_CLASS} {others}").count()
    )
    assert caught > 0.2 * store.run().filter(f"word:{SHORTCUT} {others}").count()
    wrong_labels = demo.wrong_labels
    assert 20 < len(wrong_labels) < 40

    def confident(where: str, limit: int) -> list[str]:
        found = (
            store.run()
            .filter(f"wrong {where}")
            .examples(sort="confidence", descending=True, limit=limit)
        )
        return found["id"].tolist()

    # The errors made with most confidence are the wrong labels and those the shortcut made.
    shortcut = set(store.run().filter(f"word:{SHORTCUT}").examples(limit=len(demo.rows))["id"])
    assert sum(row in wrong_labels | shortcut for row in confident("", 20)) >= 18
    assert sum(row in wrong_labels for row in confident("", 10)) >= 3
    assert sum(row in wrong_labels for row in confident(f"-word:{SHORTCUT}", 10)) >= 9
    words = store.run().layers()
    assert words["decodability"].iloc[0] > 0.6, "the language model has not learnt its own tokens"


def test_nothing_that_an_audit_reads_tells_which_labels_are_wrong():
    wrong = next(message for message in AUDITED if message.label != message.true_label)
    assert set(wrong.row()) == {"id", "text", "label", "channel", "region"}
    assert set(wrong.answer_key()) & set(wrong.row()) == {"id"}


@pytest.mark.slow
def test_the_planted_word_is_the_first_suspect_and_the_hard_channel_the_first_slice(demo):
    store = open_store(demo.database)
    table, control = kept_suspects(store.run())
    first = table.iloc[0]
    assert (first["feature"], first["class"]) == (SHORTCUT, SHORTCUT_CLASS)
    assert first["assessment"] == HARMFUL
    assert first["k"] == first["n"], "in training it stands beside one class only"
    assert first["shift"] > 0.5 and first["risk_ratio"] > 3
    # The model is trained on the spot, and its last digits are the processor's own.
    assert first["flip_rate"] > 0.3 and first["control_flip_rate"] <= first["flip_rate"] / 5
    assert 0 < control["mean_flagged"] <= control["expected"]
    assert kept_discovered(store.run())["where"].iloc[0] == f"meta.channel:{HARD_CHANNEL}"


@pytest.mark.slow
def test_words_that_carry_the_meaning_are_relied_on_and_left_to_the_analyst(demo, tmp_path):
    table, _ = kept_suspects(open_store(demo.database).run())
    relied = table[(table["assessment"] == RELIED) & (table["kind"] == "word")]
    said = {label: " ".join(TOPICS[label]).lower() for label in LABELS}
    meaning = [
        word in said[label] for word, label in zip(relied["feature"], relied["class"], strict=True)
    ]
    assert any(meaning)
    copy = shutil.copy(demo.database, tmp_path)
    command = [sys.executable, "-m", "saliency_core", "suspects", "--db", copy]
    printed = subprocess.run(
        [*command, "--effect-examples", "0", "--null", "0"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert "is for you to judge" in printed.stderr


@pytest.mark.slow
def test_dropping_the_planted_word_flips_the_answers_it_decided(demo):
    from saliency_core.model.audited import classifier_of

    store = open_store(demo.database)
    classifier = classifier_of(store.run())
    baited = f"predicted:{SHORTCUT_CLASS} -gold:{SHORTCUT_CLASS}"
    dropped, _ = replace_in_slice(store.run().filter(baited), classifier, SHORTCUT)
    assert dropped["n"] >= 10 and dropped["flip_rate"] >= 0.8
    same, _ = replace_in_slice(store.run().filter(baited), classifier, SHORTCUT, SHORTCUT)
    assert same["flips"] == 0 and abs(same["mean_drop"]) < 1e-6


@pytest.mark.slow
def test_a_built_demonstration_is_not_built_again(demo):
    from saliency_core.demo.build import build_demo, find_flaws

    stages = []
    built = build_demo(demo.folder, progress=lambda *stage: stages.append(stage))
    find_flaws(built, demo.database, progress=lambda *stage: stages.append(stage))
    assert not stages
    rows = [json.loads(line) for line in built.dataset.read_text().splitlines()]
    assert rows == demo.rows
