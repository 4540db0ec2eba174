"""Findings, calibration, agreement of layers and comparison of runs."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from saliency_core.analysis.calibration import (
    calibration,
    expected_calibration_error,
    reliability,
)
from saliency_core.analysis.example_detail import word_frame, word_scores_by_target, words_of_layer
from saliency_core.analysis.highlights import family, findings, headline
from saliency_core.analysis.kept_suspects import HARMFUL, keep_suspects
from saliency_core.analysis.layers.agreement import layer_agreement
from saliency_core.analysis.layers.group_coherence import (
    coherence_of_classes,
    coherence_of_runs,
    coherence_of_slices,
)
from saliency_core.analysis.run_comparison import KINDS, compare
from saliency_core.analysis.word_profile import word_profile
from saliency_core.analysis.word_tables import word_table
from saliency_core.demo.messages import HARD_CHANNEL, SHORTCUT
from saliency_core.errors import UserError
from saliency_core.output.charts.overview import SHOWN_CONFUSIONS, confusion_matrix
from saliency_core.output.highlighting import pieces_of
from saliency_core.records import SEVERITIES, Finding
from saliency_core.shortcuts.suspects import Thresholds, suspects
from saliency_core.store import open_store, open_writer
from saliency_core.store.query.terms import quote
from saliency_core.store.read.sampling import sampled
from saliency_core.words import word_scores
from tests.support.store_made_up import DATASET, MODEL, audit, example, gold_of, write_all

ROWS = [example(position) for position in range(60)]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("findings") / "a.sqlite"
    with open_writer(path) as writer:
        write_all(writer, ROWS)
        write_all(writer, ROWS[10:], model=replace(MODEL, name="other", model_digest="other"))
        elsewhere = replace(DATASET, source="elsewhere.csv")
        write_all(writer, ROWS, dataset=elsewhere, model=replace(MODEL, model_digest="third"))
    return path


@pytest.fixture(scope="module")
def store(path):
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


def test_the_filter_of_a_bar_names_the_examples_of_the_bar(store):
    run = store.run(1)
    found = calibration(run.filter())
    for table in (found["histogram"], found["bins"]):
        for row in table.itertuples():
            counted = run.filter(row.where).filter("right").count()
            counted += run.filter(row.where).filter("wrong").count()
            assert counted == row.examples
    assert found["histogram"]["examples"].sum() == found["bins"]["examples"].sum() > 0


def test_agreement_is_the_mean_of_scipys_rank_correlation(store):
    found = layer_agreement(store.run(1).filter("right"))
    table = found.pivot(index="layer", columns="other", values="correlation").to_numpy()
    expected = []
    for position in store.run(1).filter("right").positions():
        row = store.run(1).example(int(position))
        scores = row["saliency"]["predicted"]
        scores = word_scores(scores, row["word_of_token"], len(row["words"]))
        if scores.shape[1] >= 3:
            expected.append(spearmanr(scores, axis=1).statistic)
    assert found["examples"].iloc[0] == len(expected) > 5
    np.testing.assert_allclose(table, np.mean(expected, axis=0), atol=1e-6)


def test_agreement_of_nothing_is_empty(store):
    assert layer_agreement(store.run(1).filter("confidence>2")).empty


def test_two_runs_are_matched_by_example(store):
    found = compare(store.run(1), store.run(2))
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
        compare(store.run(1), store.run(1))
    with pytest.raises(UserError, match=r"elsewhere\.csv"):
        compare(store.run(1), store.run(3))


def test_metadata_values_are_those_the_slices_see(store):
    values = pd.Series(store.run(1).metadata_values("region"))
    for value, count in values[values != ""].value_counts().items():
        assert store.run(1).filter(f'meta.region:"{value}"').count() == count
    assert set(store.run(1).metadata_values("odd key")) == {"true", "false"}


def test_every_finding_leads_to_examples_the_worst_first(store):
    found = findings(store.run(1))
    for finding in found:
        assert store.run(1).filter(finding.where).count() > 0
        assert finding.sentence.startswith(finding.figure) and "{" not in finding.sentence
    ranks = [SEVERITIES.index(finding.severity) for finding in found]
    assert ranks == sorted(ranks)


def test_a_name_with_braces_or_stars_stays_a_name():
    finding = Finding("9% wrong", "where {} is {}: 1 of 11", ("{}", "**a {0}**"))
    assert finding.sentence == "9% wrong where {} is **a {0}**: 1 of 11"
    assert [text for text, strong in finding.parts if strong] == ["9% wrong", "{}", "**a {0}**"]


@pytest.mark.parametrize(
    ("architecture", "name"),
    [
        ("BertForSequenceClassification", "BERT"),
        ("XLMRobertaForSequenceClassification", "XLMRoBERTa"),
        ("DistilBertModel", "DistilBERT"),
        ("GPT2ForSequenceClassification", "GPT2"),
        ("Own", "Own"),
    ],
)
def test_a_model_is_called_what_people_call_it(architecture, name):
    assert family(architecture) == name


def test_the_headline_says_what_was_audited(store):
    assert headline(store.run(1)) == (
        "A 3-layer BERT classifier on 60 texts from the dataset “made up”: what it gets wrong and "
        "which words it relies on."
    )


@pytest.mark.slow
def test_the_planted_flaws_are_the_first_findings(demo):
    first, second, third, *_ = findings(open_store(demo.database).run())
    assert HARD_CHANNEL in first.where
    assert f"word:{SHORTCUT}" in second.where
    assert "confidence>0.9" in third.where


def test_a_words_profile_counts_what_the_slices_count(store):
    profile = word_profile(store.run(1).filter(), "People")
    assert profile.examples == store.run(1).filter("word:people").count()
    assert (
        profile.judged_with + profile.judged_without
        == store.run(1).filter("right").count() + store.run(1).filter("wrong").count()
    )
    assert profile.by_layer["layer"].tolist() == [0, 1, 2, 3]
    assert (profile.by_layer["low"] <= profile.by_layer["high"]).all()
    with pytest.raises(UserError, match="nowhere"):
        word_profile(store.run(1).filter(), "nowhere")


def test_a_sample_of_everything_holds_every_score(store):
    seen = 0
    for chunk in sampled(store.run(1).filter(), examples=1_000):
        starts = np.cumsum([0, *chunk.n_words])
        for row, position in enumerate(chunk.positions):
            found = store.run(1).example(int(position))
            expected = word_scores(
                found["saliency"]["predicted"], found["word_of_token"], len(found["words"])
            )
            own = chunk.scores[:, starts[row] : starts[row + 1]]
            np.testing.assert_allclose(own, expected, rtol=1e-5, atol=1e-5)
            seen += 1
    assert seen == store.run(1).filter("-failed").count()


def test_a_sample_is_seeded_and_within_its_slice(store):
    def drawn(seed):
        chunks = sampled(store.run(1).filter("right"), examples=5, seed=seed)
        return np.concatenate([chunk.positions for chunk in chunks])

    assert drawn(1).tolist() == drawn(1).tolist() != drawn(2).tolist()
    assert len(drawn(1)) == 5 and set(drawn(1)) <= set(store.run(1).filter("right").positions())


def test_a_words_shares_by_layer_are_those_of_the_word_table(store):
    profile = word_profile(store.run(1).filter("right"), "people")
    for row in profile.by_layer.itertuples():
        table = word_table(store.run(1).filter("right"), row.layer, by_class=False, minimum=1)
        expected = table.set_index("word").loc["people"]
        assert row.examples == expected["examples"] == profile.examples
        for name in ("mean_share", "mean_score", "top3_rate", "low", "high"):
            assert getattr(row, name) == pytest.approx(expected[name], abs=1e-5)


def test_a_words_classes_are_counted_among_gold_labels(store):
    profile = word_profile(store.run(1).filter(), "people")
    for row in profile.by_class.itertuples():
        assert row.examples == store.run(1).filter(f"word:people gold:{quote(row._1)}").count()
        total = store.run(1).filter("right").count() + store.run(1).filter("wrong").count()
        share = store.run(1).filter(f"gold:{quote(row._1)} -failed").count() / total
        assert row.base_rate == pytest.approx(share, abs=0.1)
    assert profile.by_class["share"].sum() == pytest.approx(1)


def test_groups_are_means_of_their_examples(store):
    found = coherence_of_classes(store.run(1).filter("right"))
    for row in found.itertuples():
        where = f"right predicted:{quote(row.group)}"
        values = store.run(1).filter(where).column(f"coherence:{row.layer}")
        assert row.coherence == pytest.approx(float(values.mean(dtype=float)), abs=1e-6)
        assert row.low <= row.coherence <= row.high and row.examples == len(values)
    slices = coherence_of_slices(store.run(1), ["", "wrong", ""])
    assert set(slices["group"]) <= {"all examples", "wrong"}
    assert coherence_of_runs(store.run(), [1, 2])["group"].unique().tolist() == ["run 1", "run 2"]


def test_very_many_groups_are_each_what_one_is(store):
    slices = [f"-id:id-{number}" for number in range(20)]
    found = coherence_of_slices(store.run(1), slices)
    alone = [coherence_of_slices(store.run(1), [where]) for where in slices]
    pd.testing.assert_frame_equal(found, pd.concat(alone, ignore_index=True))


def test_gold_is_predicted_minus_contrast(store):
    example_ = next(
        found
        for position in store.run(1).filter("wrong").positions()
        if "contrast" in (found := store.run(1).example(int(position)))["saliency"]
    )
    found = word_scores_by_target(example_)
    np.testing.assert_allclose(found["gold"] + found["contrast"], found["predicted"], atol=1e-5)
    for target in ("predicted", "contrast"):
        total = example_["saliency"][target].astype(float).sum(1)
        np.testing.assert_allclose(found[target].sum(1), total, rtol=1e-4, atol=1e-4)
    words = words_of_layer(example_, found["predicted"][1])
    table = word_frame(words)
    assert table["score"].is_monotonic_decreasing and len(table) == len(example_["words"])


@given(st.text(max_size=40), st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40))), st.data())
def test_painted_pieces_joined_are_the_text(text, spans, data):
    words = [{"start": min(a, b), "end": min(max(a, b), len(text)), "score": 1.0} for a, b in spans]
    seen = data.draw(st.none() | st.integers(0, 40))
    pieces = pieces_of(text, words, 1.0, seen)
    assert "".join(part for part, _, _ in pieces) == text
    cut = "".join(part for part, name, _ in pieces if name == "cut")
    assert text.endswith(cut) and (seen is not None or not cut)


def test_many_classes_are_shown_as_their_most_frequent_confusions():
    labels = [f"c{n}" for n in range(60)]
    counts = pd.DataFrame(
        [(a, b, n) for n, (a, b) in enumerate(zip(labels, reversed(labels), strict=True))],
        columns=["gold", "predicted", "count"],
    )
    spec = confusion_matrix(counts, labels).to_dict()
    rows = next(iter(spec["datasets"].values()))
    assert len(rows) == SHOWN_CONFUSIONS
    assert all(row["gold"] != row["predicted"] for row in rows)
    assert spec["params"][0]["select"]["fields"] == ["gold", "predicted"]


@pytest.mark.parametrize(("labels", "angle"), [("abcd", 0), (["a name that is long"] * 4, -40)])
def test_names_of_classes_stand_level_where_they_find_room(labels, angle):
    labels = [f"{label}{place}" for place, label in enumerate(labels)]
    counts = pd.DataFrame({"gold": labels, "predicted": labels, "count": 1})
    spec = confusion_matrix(counts, labels).to_dict()
    assert spec["layer"][0]["encoding"]["x"]["axis"]["labelAngle"] == angle
    assert spec["layer"][0]["encoding"]["tooltip"][0]["title"] == "label"


def test_a_strong_suspect_is_a_finding(path):
    assert not any(found.page == "suspects" for found in findings(open_store(path).run(2)))
    table, control = suspects(
        open_store(path).run(2), thresholds=Thresholds(minimum=1), null_repeats=1
    )
    table.loc[0, "assessment"] = HARMFUL
    keep_suspects(open_store(path).run(2), table, control)
    named = [found for found in findings(open_store(path).run(2)) if found.page == "suspects"]
    assert len(named) == 1 and table["feature"].iloc[0] in named[0].sentence


def test_word_sums_of_a_sample_are_part_of_all(tmp_path):
    with open_writer(tmp_path / "a.sqlite") as writer:
        write_all(writer, ROWS, finish=False)
        whole = open_store(tmp_path / "a.sqlite")
        everything, some = (
            whole.run().filter().word_sums(1),
            whole.run().filter().word_sums(1, chunks=3),
        )
        assert 0 < some.examples.sum() < everything.examples.sum()
        assert whole.run().filter().word_sums(1, chunks=3).share.tolist() == some.share.tolist()
        assert (
            whole.run().filter().word_sums(1, chunks=1_000).share.tolist()
            == everything.share.tolist()
        )
