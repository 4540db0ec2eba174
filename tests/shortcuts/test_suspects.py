"""Suspects of a model whose words are known: evidence recounted, assessed, and shuffled."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from saliency_core.analysis.features import LENGTH, METADATA, WORD
from saliency_core.analysis.kept_suspects import (
    DATA,
    HARMFUL,
    NONE,
    RELIED,
    UNTESTED,
    keep_suspects,
    kept_suspects,
)
from saliency_core.errors import UserError
from saliency_core.shortcuts.ablation_effects import with_effects
from saliency_core.shortcuts.presentation import companion, grouped, with_judgements
from saliency_core.shortcuts.suspects import Thresholds, TrainingCounts, assessments, suspects
from tests.support.word_model import (
    BIASED_TO,
    LABELS,
    SHORTCUT,
    TOPICS,
    WordModel,
    audited_store,
    examples,
)

ONLY_THERE = {BIASED_TO: 0.5, "negative": 0.02, "not sure": 0.02}
EVERYWHERE = dict.fromkeys(LABELS, 0.25)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("suspects")


@pytest.fixture(scope="module")
def store(folder):
    return audited_store(folder / "a.sqlite", WordModel(4.0), examples(600, EVERYWHERE))


@pytest.fixture(scope="module")
def table(store):
    return suspects(store.run())[0]


def row_of(table, feature=SHORTCUT, label=BIASED_TO):
    return table[(table["feature"] == feature) & (table["class"] == label)].iloc[0]


def test_the_evidence_of_words_is_what_a_reader_would_count(store, table):
    everything = store.run().filter().examples(limit=1000)
    words = store.run().top_words(everything["example"].tolist(), 2)
    gold, predicted = everything["gold"], everything["predicted"]
    checked = table[table["kind"] == WORD]
    assert len(checked) > 90
    for row in checked.to_dict("records"):
        held = [[w for w in found if w["word"].lower() == row["feature"]] for found in words]
        has = np.array([bool(own) for own in held])
        own = has & (predicted == row["class"]).to_numpy()
        assert row["n"] == row["examples"] == has.sum()
        assert row["k"] == (has & (gold == row["class"])).sum()
        assert row["predictions"] == row["errors_n"] == own.sum()
        assert row["errors_k"] == (own & (gold != predicted)).sum()
        if not own.any():
            assert np.isnan(row["mean_share"])
            continue
        shares = [sum(w["share"] for w in held[place]) for place in np.flatnonzero(own)]
        scores = [sum(w["score"] for w in held[place]) for place in np.flatnonzero(own)]
        assert row["mean_share"] == pytest.approx(np.mean(shares), abs=1e-4)
        assert row["mean_score"] == pytest.approx(np.mean(scores), abs=1e-3)


def test_reliance_is_welchs_t_against_words_of_like_frequency(store, table):
    # The vocabulary has fewer words than the control takes, so it is all of them.
    words = table[(table["kind"] == WORD) & (table["class"] == BIASED_TO)]
    control = words["mean_share"].dropna()
    assert len(control) < 100
    place = store.run().filter(f"word:{SHORTCUT} predicted:{BIASED_TO}").positions()
    shares = [
        sum(w["share"] for w in found if w["word"].lower() == SHORTCUT)
        for found in store.run().top_words(place.tolist(), 2)
    ]
    row = row_of(table)
    assert row["control_share"] == pytest.approx(control.mean(), abs=1e-4)
    expected = stats.ttest_ind_from_stats(
        np.mean(shares),
        np.std(shares, ddof=1),
        len(shares),
        control.mean(),
        # The spread of the control words is taken over all of them, not over a sample.
        control.std(ddof=0) * np.sqrt(len(control) / (len(control) - 1)),
        len(control),
        equal_var=False,
        alternative="greater",
    )
    assert np.log(row["p_reliance"]) == pytest.approx(np.log(expected.pvalue), rel=1e-2)


def test_other_features_are_counted_as_the_slice_language_counts_them(store, table):
    named = table[(table["where"] != "") & table["kind"].isin([LENGTH, METADATA])]
    assert {"channel = voicemail", "year = 2001"} <= set(named["feature"])
    assert (named["kind"] == LENGTH).any()
    for row in named.to_dict("records"):
        assert row["examples"] == store.run().filter(row["where"]).count()
        assert row["k"] == store.run().filter(f'{row["where"]} gold:"{row["class"]}"').count()
        assert (
            row["errors_k"]
            == store.run().filter(f'wrong {row["where"]} predicted:"{row["class"]}"').count()
        )
        assert np.isnan(row["mean_share"]) and row["assessment"] in (DATA, NONE)


def test_without_the_model_a_salient_word_is_said_to_be_unmeasured(table):
    assert row_of(table)["assessment"] == UNTESTED
    for label, words in TOPICS.items():
        assert {row_of(table, word, label)["assessment"] for word in words} == {UNTESTED}


@pytest.mark.parametrize(
    ("weight", "where", "assessment"),
    [
        (4.0, EVERYWHERE, HARMFUL),
        (4.0, ONLY_THERE, RELIED),
        (0.0, ONLY_THERE, DATA),
        (0.0, EVERYWHERE, NONE),
    ],
)
def test_the_planted_word_gets_the_assessment_it_deserves(folder, weight, where, assessment):
    model = WordModel(weight)
    name = f"{weight}-{where[BIASED_TO]}.sqlite"
    found = audited_store(folder / name, model, examples(600, where))
    table = with_effects(
        found.run(),
        suspects(found.run())[0],
        model,
        words=[SHORTCUT, "bright"],
        examples=60,
        candidates=12,
    )
    row = row_of(table)
    assert row["assessment"] == assessment
    if assessment == HARMFUL:
        assert table.iloc[0]["feature"] == SHORTCUT, "the harmful word is the first of the table"
    # A word that carries the meaning is relied on as well: telling them apart is for a person.
    assert row_of(table, "bright")["assessment"] in (RELIED, HARMFUL)


def test_association_is_taken_from_the_training_data_where_they_are_given(store):
    rows = {(WORD, SHORTCUT): 0, (WORD, "ban"): 1}
    counts = np.array([[1, 97, 2], [30, 30, 40]])
    training = TrainingCounts(rows, counts, np.array([400, 300, 300]))
    table, _ = suspects(store.run(), training=training)
    row = row_of(table)
    assert (row["n"], row["k"], row["base_rate"]) == (100, 97, 0.3)
    p = stats.binomtest(97, 100, 0.3, alternative="greater").pvalue
    assert row["p_association"] == pytest.approx(p)
    audited = (
        store.run().filter(f"word:{SHORTCUT} gold:{BIASED_TO}").count()
        / store.run().filter(f"word:{SHORTCUT}").count()
    )
    assert row["shift"] == pytest.approx(0.97 - audited)
    unseen = row_of(table, "bright")
    assert unseen["n"] == 0 and np.isnan(unseen["p_association"]) and np.isnan(unseen["shift"])
    metadata = row_of(table, "channel = mail")
    assert metadata["n"] == store.run().filter("meta.channel:mail").count() and np.isnan(
        metadata["shift"]
    )


def test_shuffled_labels_flag_no_more_than_alpha_of_the_tests(store):
    _, control = suspects(store.run(), null_repeats=20)
    assert control["repeats"] == 20 and control["tests"] > 150
    assert 0 < control["mean_flagged"] <= control["expected"]
    assert control["mean_discovered"] < 1
    strict = suspects(store.run(), null_repeats=20, thresholds=Thresholds(alpha=0.01))[1]
    assert strict["mean_flagged"] <= strict["expected"] < control["expected"]


def test_every_threshold_changes_the_assessment_it_guards():
    row = {
        "q_reliance": 0.01,
        "mean_score": 1.0,
        "mean_share": 0.3,
        "control_share": 0.1,
        "effect_n": 50.0,
        "q_effect": 0.01,
        "flip_rate": 0.2,
        "control_flip_rate": 0.02,
        "mean_drop": 0.01,
        "control_mean_drop": 0.0,
        "q_errors": 0.01,
        "risk_ratio": 3.0,
        "q_association": 0.01,
    }

    def assessment(thresholds=None, **changes):
        return assessments(pd.DataFrame([row | changes]), thresholds or Thresholds())[0]

    assert assessment() == HARMFUL
    assert assessment(q_errors=0.2) == RELIED
    assert assessment(risk_ratio=0.5) == RELIED
    assert assessment(q_effect=0.2) == DATA
    assert assessment(flip_rate=0.03) == DATA
    assert assessment(flip_rate=0.03, mean_drop=0.1) == HARMFUL
    assert assessment(mean_score=-1.0) == DATA
    assert assessment(q_reliance=0.2, q_association=0.2) == NONE
    assert assessment(effect_n=np.nan, q_effect=np.nan) == UNTESTED
    assert assessment(Thresholds(reliance_ratio=4)) == DATA
    assert assessment(Thresholds(flip_excess=0.3)) == DATA
    assert assessment(Thresholds(alpha=0.001)) == NONE


def test_rare_features_are_left_out(store):
    few = suspects(store.run(), thresholds=Thresholds(minimum=60))[0]
    assert few["examples"].min() >= 60
    assert len(few) < len(suspects(store.run())[0])


def test_a_kept_table_comes_back_as_it_was(folder, store, table):
    assert kept_suspects(store.run()) is None
    keep_suspects(store.run(), table, {"repeats": 0, "tests": 7})
    kept, control = kept_suspects(store.run())
    pd.testing.assert_frame_equal(kept, table, check_dtype=False)
    assert control["tests"] == 7


def test_data_without_labels_have_reliance_only(folder):
    from dataclasses import replace

    rows = [replace(row, label=None) for row in examples(200, EVERYWHERE)]
    table, control = suspects(
        audited_store(folder / "unlabelled.sqlite", WordModel(4.0), rows).run(), null_repeats=2
    )
    assert table["p_association"].isna().all() and table["p_errors"].isna().all()
    assert row_of(table)["assessment"] == UNTESTED
    assert control["tests"] == 0 and control["mean_flagged"] == 0


def test_a_run_that_is_no_classifier_is_refused(folder):
    from dataclasses import replace

    from saliency_core.store import open_store, open_writer
    from tests.support.store_made_up import DATASET, MODEL, SETTINGS

    with open_writer(folder / "regression.sqlite") as writer:
        writer.begin_run(DATASET, replace(MODEL, task="regression"), SETTINGS)
    with pytest.raises(UserError, match="one label per example"):
        suspects(open_store(folder / "regression.sqlite").run())


def test_a_feature_that_never_occurs_without_another_names_it(folder):
    rows = examples(600, EVERYWHERE)
    rows = [
        replace(row, text=f"{row.text} check") if SHORTCUT in row.text and place % 3 == 0 else row
        for place, row in enumerate(rows)
    ]
    together = sum("check" in row.text for row in rows)
    store = audited_store(folder / "companion.sqlite", WordModel(4.0), rows)
    found = suspects(store.run())[0]
    check = row_of(found, "check")
    assert (check["leader"], check["leader_kind"], check["leader_of"]) == (SHORTCUT, WORD, "texts")
    assert check["leader_n"] == check["leader_k"] == together
    assert (
        companion(check)
        == f"All {together} texts with it also contain “kindly”, which may explain the errors."
    )
    assert not row_of(found)["leader"]
    topics = found[found["feature"].isin([word for words in TOPICS.values() for word in words])]
    assert (topics["leader_of"] != "texts").all()
    order = grouped(with_judgements(found, store.run().verdicts()))
    places = [row_of(order, word).name for word in (SHORTCUT, "check")]
    assert order["is_follower"][places[1]]
    between = order.iloc[places[0] + 1 : places[1]]
    assert between["is_follower"].all()
