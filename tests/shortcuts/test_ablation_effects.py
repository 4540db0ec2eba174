"""What deleting a word does, recounted by hand on a model whose words are known."""

import numpy as np
import pytest
from scipy import stats

from saliency_core.shortcuts.ablation_effects import (
    EFFECT_COLUMNS,
    keep_effects,
    p_of_gain,
    with_effects,
    with_kept_effects,
)
from saliency_core.shortcuts.suspects import suspects
from saliency_core.stats import wilson
from saliency_core.store import open_store
from tests.support.word_model import BIASED_TO, LABELS, SHORTCUT, WordModel, audited_store, examples

SOME = {"examples": 40, "candidates": 6}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("effects") / "a.sqlite"
    audited_store(path, WordModel(4.0), examples(400, dict.fromkeys(LABELS, 0.3)))
    return path


@pytest.fixture(scope="module")
def measured(path):
    store = open_store(path)
    return with_effects(
        store.run(), suspects(store.run())[0], WordModel(4.0), words=[SHORTCUT], **SOME
    )


def effect_of(table, feature=SHORTCUT, label=BIASED_TO):
    return table[(table["feature"] == feature) & (table["class"] == label)].iloc[0]


def test_deleting_the_planted_word_flips_what_it_decided_and_the_control_word_nothing(measured):
    row = effect_of(measured)
    assert row["effect_n"] == 40 and row["flips"] == row["flip_rate"] * 40
    assert row["flip_rate"] > 0.4 and row["control_flip_rate"] <= 0.05
    assert (row["flip_low"], row["flip_high"]) == pytest.approx(wilson(int(row["flips"]), 40))
    assert row["mean_drop"] > 0.4 and abs(row["control_mean_drop"]) < 0.05
    assert row["masked_flip_rate"] == row["flip_rate"], "this model takes a mask for no word"
    assert row["p_effect"] < 1e-5


def test_effects_are_those_of_texts_edited_by_hand(path):
    store, model = open_store(path), WordModel(4.0)
    where = f"word:{SHORTCUT} predicted:{BIASED_TO}"
    texts = store.run().filter(where).examples(limit=1000)["text"]
    table = with_effects(
        store.run(), suspects(store.run())[0], model, words=[SHORTCUT], examples=1000, candidates=1
    )
    row = effect_of(table)
    before = model.probabilities(model.logits(list(texts)))[:, LABELS.index(BIASED_TO)]
    edited = [" ".join(w for w in t.split() if w.strip(".").lower() != SHORTCUT) for t in texts]
    probabilities = model.probabilities(model.logits(edited))
    drops = before - probabilities[:, LABELS.index(BIASED_TO)]
    assert row["effect_n"] == len(texts)
    assert row["flips"] == (probabilities.argmax(1) != LABELS.index(BIASED_TO)).sum()
    assert row["mean_drop"] == pytest.approx(drops.mean())


def test_the_p_of_an_effect_is_wilcoxons_against_the_control():
    draw = np.random.default_rng(0)
    gain = draw.normal(0.1, 0.3, 50)
    naive = stats.wilcoxon(gain, alternative="greater", zero_method="zsplit").pvalue
    assert p_of_gain(gain) == naive < 0.05
    assert p_of_gain(np.zeros(9)) == 1.0 and p_of_gain(np.zeros(0)) == 1.0


def test_the_same_seed_measures_the_same_whatever_else_is_tested(path, measured):
    store = open_store(path)
    table = suspects(store.run())[0]
    few = with_effects(
        store.run(), table, WordModel(4.0), words=[SHORTCUT], examples=40, candidates=1
    )
    one, other = (effect_of(found)[list(EFFECT_COLUMNS)] for found in (few, measured))
    assert one.astype(float).equals(other.astype(float))
    assert few["effect_n"].notna().sum() < measured["effect_n"].notna().sum()


def test_what_was_measured_is_never_measured_again(path, measured):
    keep_effects(open_store(path).run(1), measured, examples=40)
    store, model = open_store(path), WordModel(4.0)
    table = suspects(store.run())[0]
    again = with_effects(store.run(), table, model, words=[SHORTCUT], **SOME)
    assert model.read == 0
    assert again.equals(measured)
    more = with_effects(store.run(), table, model, words=[SHORTCUT, "ban"], **SOME)
    assert 0 < model.read <= 3 * 4 * 40
    assert more["effect_n"].notna().sum() > measured["effect_n"].notna().sum()
    other_seed = WordModel(4.0)
    with_effects(store.run(), table, other_seed, words=[SHORTCUT], seed=1, **SOME)
    assert other_seed.read > 0


def test_without_the_model_kept_effects_stay(path, measured):
    store = open_store(path)
    keep_effects(open_store(path).run(1), measured, examples=40)
    assert with_kept_effects(store.run(1), suspects(store.run())[0]).equals(measured)


def test_a_feature_that_is_no_word_is_deleted_with_the_words_that_carry_it(path):
    store = open_store(path)
    name = f"ends with “{SHORTCUT}”"
    table = with_effects(
        store.run(), suspects(store.run())[0], WordModel(4.0), words=[name.upper()], candidates=1
    )
    row = effect_of(table, name)
    where = f'predicted:{BIASED_TO} "{SHORTCUT}"'
    ends = [
        t
        for t in store.run().filter(where).examples(limit=1000)["text"]
        if t.endswith(f"{SHORTCUT}.")
    ]
    assert row["effect_n"] == len(ends) >= 5 and row["flip_rate"] > 0


def test_progress_is_told(path):
    store, told = open_store(path), []
    table = suspects(store.run())[0]
    with_effects(
        store.run(),
        table,
        WordModel(4.0),
        examples=5,
        candidates=3,
        progress=lambda *s: told.append(s),
    )
    assert told[0][1] == 0 and told[-1][1] == told[-1][2] == len(told) - 1
