"""Edited texts: nothing changes without an edit, and what changes is what the words say."""

import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from saliency_core.errors import UserError
from saliency_core.model.audited import answers, classifier_of, edit_of, replace_word, without_spans
from saliency_core.shortcuts.counterfactuals import (
    aligned_words,
    edit_text,
    edits,
    most_changed_first,
    replace_in_slice,
    whole_slice,
)
from saliency_core.stats import wilson
from saliency_core.store import open_store
from saliency_core.words import word_spans
from tests.support.small_audit import write_csv
from tests.support.store_made_up import MODEL, SETTINGS
from tests.support.tiny_bert import save_tiny_bert
from tests.support.tiny_models import save_tiny
from tests.support.word_model import BIASED_TO, LABELS, SHORTCUT, WordModel, audited_store, examples

HELD = f"word:{SHORTCUT} predicted:{BIASED_TO} -gold:{BIASED_TO}"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    rows = examples(300, dict.fromkeys(LABELS, 0.3))
    return audited_store(tmp_path_factory.mktemp("what_if") / "a.sqlite", WordModel(4.0), rows)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    from saliency_core.model.loading import load_classifier

    model, head = save_tiny("bert", tmp_path_factory.mktemp("tiny"))
    return load_classifier(model, lm_head=head)


def test_a_word_replaced_by_itself_changes_nothing(store):
    summary, frame = replace_in_slice(store.run().filter(), WordModel(4.0), SHORTCUT, SHORTCUT)
    assert summary["n"] == store.run().filter(f"word:{SHORTCUT}").count() == len(frame) > 50
    assert summary["flips"] == 0 and summary["mean_drop"] == 0
    assert summary["right_before"] == summary["right_after"]


def test_dropping_the_planted_word_flips_its_rows_and_a_control_word_does_not(store):
    summary, frame = replace_in_slice(store.run().filter(HELD), WordModel(4.0), SHORTCUT)
    assert summary["n"] == store.run().filter(HELD).count() > 20
    assert summary["flips"] == (frame["before"] != frame["after"]).sum()
    assert summary["flip_rate"] >= 0.8
    interval = wilson(summary["flips"], summary["n"])
    assert (summary["low"], summary["high"]) == pytest.approx(interval)
    assert summary["right_before"] == 0 < summary["right_after"]
    assert summary["mean_drop"] == pytest.approx(frame["drop"].mean())
    control, _ = replace_in_slice(
        store.run().filter(f"-word:{SHORTCUT} right"), WordModel(4.0), "ban"
    )
    assert control["n"] > 20 and control["flip_rate"] <= 0.05


def test_the_accuracy_of_the_whole_slice_counts_what_was_not_edited(store):
    where = f"predicted:{BIASED_TO}"
    summary, frame = replace_in_slice(store.run().filter(where), WordModel(4.0), SHORTCUT)
    found = whole_slice(store.run().filter(where), frame)
    assert found["judged"] == store.run().filter(where).count()
    assert found["right_before"] == store.run().filter(f"{where} right").count()
    gained = summary["right_after"] - summary["right_before"]
    assert found["right_after"] - found["right_before"] == gained


def test_a_limit_draws_examples_by_seed(store):
    one, two, other = (
        replace_in_slice(store.run().filter(), WordModel(4.0), SHORTCUT, limit=20, seed=seed)[1][
            "id"
        ].tolist()
        for seed in (0, 0, 1)
    )
    assert len(one) == 20 and one == two != other


def test_a_word_that_is_nowhere_is_named(store):
    with pytest.raises(UserError, match="'nowhere'"):
        replace_in_slice(store.run().filter(), WordModel(4.0), "nowhere")


@pytest.mark.parametrize(
    ("text", "word", "new", "result"),
    [
        ("Kindly reply, please.", "kindly", "", "reply, please."),
        ("Please kindly reply", "KINDLY", "", "Please reply"),
        ("kindly", "kindly", "", ""),
        ("Kindly, kindly reply", "kindly", "", ", reply"),
        ("Unkindly said", "kindly", "", "Unkindly said"),
        ("it's kindly meant", "kindly", "[MASK]", "it's [MASK] meant"),
        ("a b", "b", "x y", "a x y"),
        ("0 \u0e31", "0", "", " \u0e31"),
    ],
)
def test_words_are_replaced_on_their_own_characters(text, word, new, result):
    assert replace_word(text, word, new) == result


@given(st.text(max_size=60), st.data())
def test_text_outside_the_edited_words_stays(text, data):
    spans = word_spans(text)
    chosen = [span for span in spans if data.draw(st.booleans())]
    edited = without_spans(text, chosen, "\x00")
    assert edited.count("\x00") == len(chosen) + sum(
        text[a:b].count("\x00") for a, b in spans if (a, b) not in chosen
    )
    kept = "".join(text[a:b] for a, b in spans if (a, b) not in chosen)
    deleted = without_spans(text, chosen)
    left = "".join(deleted[a:b] for a, b in word_spans(deleted))
    assert sorted(left) == sorted(kept), "deleting takes white space along, nothing else"


def test_the_effect_of_an_edit_counts_answers_of_the_class_only():
    before = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
    after = np.array([[0.3, 0.7], [0.9, 0.1], [0.7, 0.3]])
    edit = edit_of(before, after, 0)
    assert (edit.n, edit.flips) == (3, 1)
    assert edit.drops == pytest.approx([0.6, -0.7, -0.1])
    assert edit.mean_drop == pytest.approx(-0.2 / 3)


def test_equal_texts_run_once():
    model = WordModel(4.0)
    found = answers(model, [("dull", None), ("bright", None), ("dull", None)])
    assert model.read == 2
    assert (found[0] == found[2]).all() and (found[0] != found[1]).any()


def test_the_same_text_has_the_same_saliency_and_every_word_its_partner(classifier):
    text = ("the film was good, the plot was dull.", None)
    found = edit_text(classifier, text, text)
    assert found["before"] == found["after"]
    assert found["aligned"] == [[place, place] for place in range(10)]
    for layer in range(classifier.info.layers + 1):
        assert (aligned_words(found, layer)["difference"] == 0).all()
        words = found["before"]["layers"][str(layer)]
        assert [text[0][w["start"] : w["end"]] for w in words] == [w["word"] for w in words]
    assert sum(found["before"]["probabilities"].values()) == pytest.approx(1)


def test_an_edited_text_is_aligned_word_by_word(classifier):
    found = edit_text(
        classifier, ("the film was good.", None), ("the film was not bad at all.", None)
    )
    words = aligned_words(found, 1)
    assert list(zip(words["before"].fillna(""), words["after"], strict=True)) == [
        ("the", "the"),
        ("film", "film"),
        ("was", "was"),
        ("good", "not"),
        ("", "bad"),
        ("", "at"),
        ("", "all"),
        (".", "."),
    ]
    assert words["difference"].abs().sum() > 0
    assert words["score_before"].isna().sum() == 3


def test_a_pair_keeps_its_sides(classifier):
    found = edit_text(classifier, ("a film", "good plot"), ("a film", "bad plot"))
    sides = [w["side"] for w in found["after"]["layers"]["0"]]
    assert sides == [0, 0, 1, 1]
    assert found["after"]["pair"] == "bad plot"


def test_an_empty_text_is_refused(classifier):
    with pytest.raises(UserError, match="edited text"):
        edit_text(classifier, ("the film", None), ("", None))


def test_a_model_that_moved_is_asked_for(store, tmp_path):
    with pytest.raises(UserError, match="some/model"):
        classifier_of(store.run())
    model, _ = save_tiny("bert", tmp_path / "tiny")
    settings = replace(SETTINGS, max_length=64)
    tied = replace(MODEL, lm_head_is_fallback=True)
    other = audited_store(tmp_path / "a.sqlite", WordModel(4.0), examples(9, {}), tied, settings)
    with pytest.raises(UserError, match="not those that run 1 audited"):
        classifier_of(other.run(), model=model)


def test_model_and_head_that_moved_together_are_found(tmp_path, monkeypatch):
    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir()
    save_tiny_bert(before)
    write_csv(before / "reviews.csv")
    monkeypatch.chdir(before)
    from saliency_core import audit

    audit("model", "reviews.csv", db="a.sqlite", lm_head="lm", evaluate=False, limit=3)
    monkeypatch.chdir(tmp_path)
    classifier_of(open_store(before / "a.sqlite").run())  # named by its whole path
    before.rename(after)
    store = open_store(after / "a.sqlite")
    assert classifier_of(store.run(), model=str(after / "model")).info.lm_head == str(after / "lm")
    shutil.rmtree(after / "lm")
    shutil.copytree(save_tiny("bert", tmp_path / "tiny")[1], after / "lm")
    with pytest.raises(UserError, match="head"):
        classifier_of(store.run(), model=str(after / "model"))


def test_the_model_of_a_bfloat16_run_is_loaded_as_the_run_computed(tmp_path):
    from saliency_core import audit

    model, head = save_tiny("bert", tmp_path)
    write_csv(tmp_path / "reviews.csv")
    database = tmp_path / "a.sqlite"
    choices = {"dtype": "bfloat16", "lm_head": head, "evaluate": False, "limit": 3}
    audit(model, tmp_path / "reviews.csv", db=database, trust_labels=True, **choices)
    store = open_store(database)
    loaded = classifier_of(store.run())
    assert loaded.dtype == "bfloat16"
    texts = [(text, None) for text in store.run().filter().examples()["text"]]
    assert answers(loaded, texts).argmax(1).tolist() == store.run().column("predicted").tolist()


def test_what_an_edit_changed_is_said_in_words():
    assert edits("I kindly ask you", "I please ask") == ["“kindly” → “please”", "“you” removed"]
    assert edits("good", "very good") == ["“very” added"]
    assert edits("a b", "a b") == []


def test_edited_words_come_first_then_those_that_differ_most():
    words = pd.DataFrame(
        {
            "before": ["a", "kindly", "b", "c"],
            "after": ["A", "please", "b", None],
            "difference": [0.1, 0.0, -0.9, -0.3],
        }
    )
    assert most_changed_first(words).index.tolist() == [3, 1, 2, 0]
