"""Findings, calibration, agreement of layers and comparison of runs."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr
from store_made_up import DATASET, MODEL, audit, example, gold_of, write_all

from saliency_core.agreement import layer_agreement
from saliency_core.calibration import expected_calibration_error, reliability
from saliency_core.comparison import KINDS, compare
from saliency_core.demo_messages import HARD_CHANNEL, SHORTCUT
from saliency_core.errors import UserError
from saliency_core.findings import findings
from saliency_core.store import open_store, open_writer
from saliency_core.word_profile import word_profile
from saliency_core.words import word_scores

ROWS = [example(position) for position in range(60)]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("findings") / "a.sqlite"


@pytest.fixture(scope="module")
def store(path):
    with open_writer(path) as writer:
        write_all(writer, ROWS)
        write_all(writer, ROWS[10:], model=replace(MODEL, name="other", model_digest="other"))
        elsewhere = replace(DATASET, source="elsewhere.csv")
        write_all(writer, ROWS, dataset=elsewhere, model=replace(MODEL, model_digest="third"))
    return open_store(path)


def test_calibration_error_by_hand():
    confidence = np.array([0.95, 0.95, 0.95, 0.55])
    right = np.array([True, True, False, True])
    expected = 3 / 4 * abs(2 / 3 - 0.95) + 1 / 4 * abs(1 - 0.55)
    assert expected_calibration_error(confidence, right) == pytest.approx(expected)
    rows = reliability(confidence, right)
    assert rows["examples"].sum() == 4
    assert ((rows["from"] <= rows["confidence"]) & (rows["confidence"] <= rows["to"])).all()


def test_a_model_as_sure_as_it_is_right_has_no_calibration_error():
    draw = np.random.default_rng(0)
    confidence = draw.uniform(0.3, 1, 200_000)
    right = draw.random(len(confidence)) < confidence
    assert expected_calibration_error(confidence, right) < 0.01
    assert expected_calibration_error(confidence, ~right) > 0.2


def test_agreement_is_the_mean_of_scipys_rank_correlation(store):
    found = layer_agreement(store, "right", run=1)
    table = found.pivot(index="layer", columns="other", values="correlation").to_numpy()
    expected = []
    for position in store.ids("right", run=1):
        row = store.example(int(position), run=1)
        scores = row["saliency"]["predicted"]
        scores = word_scores(scores, row["word_of_token"], len(row["words"]))
        if scores.shape[1] >= 3:
            expected.append(spearmanr(scores, axis=1).statistic)
    assert found["examples"].iloc[0] == len(expected) > 5
    np.testing.assert_allclose(table, np.mean(expected, axis=0), atol=1e-6)


def test_agreement_of_nothing_is_empty(store):
    assert layer_agreement(store, "confidence>2", run=1).empty


def test_two_runs_are_matched_by_example(store):
    found = compare(store, 1, 2)
    naive = dict.fromkeys(KINDS, 0)
    for row in ROWS[10:]:
        first = audit(row, gold_of(row))
        if first.predicted is None or gold_of(row) is None:
            continue
        naive["right in both" if first.predicted == gold_of(row) else "wrong in both"] += 1
    assert dict(zip(found.counts["kind"], found.counts["examples"], strict=True)) == naive
    assert found.positions.tolist() == list(range(10, 60))


def test_only_runs_over_one_dataset_are_compared(store):
    with pytest.raises(UserError, match="itself"):
        compare(store, 1, 1)
    with pytest.raises(UserError, match=r"elsewhere\.csv"):
        compare(store, 1, 3)


def test_metadata_values_are_those_the_slices_see(store):
    values = pd.Series(store.metadata_values("region", run=1))
    for value, count in values[values != ""].value_counts().items():
        assert store.count(f'meta.region:"{value}"', run=1) == count
    assert set(store.metadata_values("odd key", run=1)) == {"true", "false"}


def test_every_finding_leads_to_examples(store):
    for finding in findings(store, 1):
        assert store.count(finding.where, run=1) > 0


@pytest.mark.slow
def test_the_planted_flaws_are_the_first_findings(demo):
    first, second, third, *_ = findings(open_store(demo.database))
    assert HARD_CHANNEL in first.where
    assert f"salient:{SHORTCUT}" in second.where
    assert "confidence>0.9" in third.where


def test_a_words_profile_counts_what_the_slices_count(store):
    profile = word_profile(store, "People", run=1)
    assert profile.examples == store.count("word:people", run=1)
    assert profile.judged_with + profile.judged_without == store.count(
        "right", run=1
    ) + store.count("wrong", run=1)
    assert profile.by_layer["layer"].tolist() == [0, 1, 2, 3]
    assert (profile.by_layer["low"] <= profile.by_layer["high"]).all()
    with pytest.raises(UserError, match="nowhere"):
        word_profile(store, "nowhere", run=1)
