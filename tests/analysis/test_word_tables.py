"""Word tables and contrasts against the formulas applied to every word of every example."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saliency_core.analysis.word_tables import WORD_COLUMNS, contrast, log_odds, word_table
from saliency_core.store import open_store, open_writer
from saliency_core.store.read import word_sums, words
from saliency_core.store.read.word_sums import load_word_chunk
from tests.support.store_made_up import LABELS, LAYERS, example, write_all

N = 90


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("aggregate") / "a.sqlite"
    rows = [example(n) for n in range(N)]
    rows[4] = dataclasses.replace(rows[4], text="")
    rows[5] = dataclasses.replace(rows[5], text="nice nice NICE people", pair="bad nice")
    with open_writer(path) as writer:
        write_all(writer, rows)
    return open_store(path)


def by_example(store, layer, where):
    """Return a row an example and word: the sum of its places, whether one is in the top three."""
    found = store.run().filter(where).occurrences(layer)
    frame = pd.DataFrame(
        {
            "example": found.example,
            "word": [found.vocabulary[word] for word in found.word],
            "share": found.share.astype(float),
            "score": found.score.astype(float),
            "top3": found.top3,
        }
    )
    frame = frame.groupby(["example", "word"], as_index=False).agg(
        {"share": "sum", "score": "sum", "top3": "max"}
    )
    labels = store.run().filter(where).examples().set_index("example")["predicted"]
    frame["class"] = frame["example"].map(labels)
    return frame


def naive(store, layer, where, keys):
    frame = by_example(store, layer, where)
    groups = frame.groupby(keys)
    table = pd.DataFrame(
        {
            "examples": groups.size(),
            "mean_share": groups["share"].mean(),
            "mean_score": groups["score"].mean(),
            "top3_rate": groups["top3"].mean(),
            "sd_share": groups["share"].std().fillna(0),
            "sum": groups["share"].sum(),
        }
    )
    totals = frame.groupby("class")["share"].sum() if "class" in keys else frame["share"].sum()
    index = table.index.get_level_values("class") if "class" in keys else None
    table["total_share"] = table["sum"] / (totals if index is None else totals[index].to_numpy())
    return table


def test_a_vocabulary_too_large_for_one_table_gives_the_same(store, monkeypatch):
    dense = store.run().filter().word_sums(1)
    monkeypatch.setattr(word_sums, "DENSE_ROWS", 0)
    sparse = store.run().filter().word_sums(1)
    for field in dataclasses.fields(dense):
        np.testing.assert_allclose(getattr(sparse, field.name), getattr(dense, field.name))


def test_a_chunk_of_very_many_words_gives_the_same(store, monkeypatch):
    def wide(*place):
        chunk = load_word_chunk(*place)
        return dataclasses.replace(chunk, occurrences=chunk.occurrences.astype(np.uint32))

    narrow = store.run().filter().word_sums(1)
    monkeypatch.setattr(words, "load_word_chunk", wide)
    for field in dataclasses.fields(narrow):
        np.testing.assert_array_equal(
            getattr(store.run().filter().word_sums(1), field.name), getattr(narrow, field.name)
        )


@pytest.mark.parametrize("by_class", [True, False])
def test_the_most_of_a_table_are_its_first_rows_of_each_class(store, by_class):
    table = word_table(store.run().filter(), 1, by_class=by_class)
    some = word_table(store.run().filter(), 1, by_class=by_class, most=2)
    expected = table.groupby("class", dropna=False).head(2).reset_index(drop=True)
    assert len(some) < len(table)
    pd.testing.assert_frame_equal(some, expected)


def test_the_most_of_a_contrast_are_its_first_rows(store):
    both = contrast(store.run().filter("right"), store.run().filter("wrong"), 1, minimum=1)
    some = contrast(store.run().filter("right"), store.run().filter("wrong"), 1, minimum=1, most=3)
    pd.testing.assert_frame_equal(some, both.head(3))


SLICES = ["", "wrong", "right confidence>0.5", "word:nice", "salient:people", "id:id-5", "failed"]


@pytest.mark.parametrize("where", SLICES)
@pytest.mark.parametrize("layer", range(LAYERS + 1))
@pytest.mark.parametrize("by_class", [True, False])
def test_a_word_table_is_the_mean_over_examples(store, where, layer, by_class):
    table = word_table(store.run().filter(where), layer, by_class=by_class, minimum=1)
    assert table.columns.tolist() == WORD_COLUMNS
    if where == "failed":
        assert table.empty
        return
    keys = ["word", "class"] if by_class else ["word"]
    expected = naive(store, layer, where, keys)
    found = table.set_index(keys)
    assert set(found.index) == set(expected.index)
    expected = expected.loc[found.index]
    for name in ("examples", "mean_share", "mean_score", "top3_rate", "sd_share", "total_share"):
        # Squares of single-precision shares leave the root of their error in the spread.
        near = 5e-4 if name == "sd_share" else 1e-5
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-4, atol=near, err_msg=name)


def test_shares_stay_in_their_range_and_intervals_hold_the_mean(store):
    table = word_table(store.run().filter(), 1, minimum=1)
    assert table["mean_share"].between(0, 1 + 1e-6).all()
    assert (table["low"] <= table["mean_share"] + 1e-9).all()
    assert (table["high"] >= table["mean_share"] - 1e-9).all()
    assert table["low"].between(0, 1).all() and table["high"].between(0, 1).all()
    np.testing.assert_allclose(table.groupby("class")["total_share"].sum(), 1, rtol=1e-5)
    assert table["mean_share"].is_monotonic_decreasing


def test_minimum_leaves_rare_words_out(store):
    table = word_table(store.run().filter(), 1, minimum=1)
    some = word_table(store.run().filter(), 1, minimum=10)
    assert len(some) == (table["examples"] >= 10).sum() < len(table)
    assert some["examples"].min() >= 10


def test_an_interval_narrows_with_the_root_of_the_examples(store):
    table = word_table(store.run().filter(), 1, minimum=2)
    inner = table[(table["low"] > 0) & (table["high"] < 1)]
    half = (inner["high"] - inner["low"]) / 2
    np.testing.assert_allclose(
        half, 1.959964 * inner["sd_share"] / np.sqrt(inner["examples"]), rtol=1e-6
    )


# Contrast


def test_a_contrast_is_the_difference_of_the_two_tables(store):
    run = store.run()
    both = contrast(run.filter("right"), run.filter("wrong"), 2, minimum=1).set_index("word")
    right = word_table(store.run().filter("right"), 2, by_class=False, minimum=1).set_index("word")
    wrong = word_table(store.run().filter("wrong"), 2, by_class=False, minimum=1).set_index("word")
    assert set(both.index) == set(right.index) | set(wrong.index)
    for word, row in both.iterrows():
        a = right["mean_share"].get(word, np.nan)
        b = wrong["mean_share"].get(word, np.nan)
        assert (row["difference"] != row["difference"]) == (a != a or b != b)
        if a == a and b == b:
            assert row["difference"] == pytest.approx(a - b, abs=1e-6)


def test_a_slice_against_itself_shows_no_difference(store):
    both = contrast(store.run().filter("right"), store.run().filter("right"), 2, minimum=1)
    assert (both["difference"].abs() < 1e-12).all()
    assert (both["log_odds"].abs() < 1e-12).all()
    assert (both["z"].abs() < 1e-9).all()


def test_a_contrast_turned_round_is_the_negative(store):
    right, wrong = store.run().filter("right"), store.run().filter("wrong")
    one = contrast(right, wrong, 1, minimum=1).set_index("word")
    other = contrast(wrong, right, 1, minimum=1).set_index("word").loc[one.index]
    for name in ("difference", "log_odds", "z"):
        np.testing.assert_allclose(one[name], -other[name], atol=1e-9)


def test_a_contrast_with_nothing_is_empty_of_differences(store):
    both = contrast(store.run().filter("right"), store.run().filter("confidence>2"), 1, minimum=1)
    assert both["difference"].isna().all()
    assert (both["examples_b"] == 0).all()
    assert contrast(store.run().filter("confidence>2"), store.run().filter("failed"), 1).empty


COUNTS = st.lists(st.integers(0, 50), min_size=2, max_size=12)


@settings(deadline=None)
@given(COUNTS, st.randoms())
def test_log_odds_are_antisymmetric_finite_and_shrink_to_the_raw_ratio(a, shuffler):
    a = np.array(a)
    b = a.copy()
    shuffler.shuffle(b)
    delta, z = log_odds(a, b)
    back, z_back = log_odds(b, a)
    assert np.isfinite(delta).all() and np.isfinite(z).all()
    np.testing.assert_allclose(delta, -back, atol=1e-12)
    np.testing.assert_allclose(z, -z_back, atol=1e-12)
    if (a > 0).all() and (b > 0).all():
        raw = np.log(a / (a.sum() - a)) - np.log(b / (b.sum() - b))
        weak, _ = log_odds(a, b, prior_total=1e-9)
        np.testing.assert_allclose(weak, raw, atol=1e-6)
        assert (np.abs(delta) <= np.abs(raw) + 1e-9).all()


def test_log_odds_by_hand():
    # Two words, 30:10 against 10:30, prior of 8 in equal halves: (34/14) over (14/34).
    delta, z = log_odds(np.array([30, 10]), np.array([10, 30]), prior_total=8)
    assert delta == pytest.approx([2 * np.log(34 / 14), -2 * np.log(34 / 14)])
    assert z[0] == pytest.approx(2 * np.log(34 / 14) / np.sqrt(2 / 34 + 2 / 14))


def test_two_runs_are_compared_word_by_word(tmp_path):
    from tests.support.store_made_up import SETTINGS

    path = tmp_path / "two.sqlite"
    with open_writer(path) as writer:
        write_all(writer, [example(n) for n in range(30)])
        write_all(
            writer,
            [example(n) for n in range(15)],
            settings=dataclasses.replace(SETTINGS, steps=1),
        )
    store = open_store(path)
    both = contrast(store.run(1).filter(), store.run(2).filter(), 1, minimum=1)
    one = word_table(store.run(1).filter(), 1, by_class=False, minimum=1).set_index("word")[
        "examples"
    ]
    two = word_table(store.run(2).filter(), 1, by_class=False, minimum=1).set_index("word")[
        "examples"
    ]
    for row in both.itertuples():
        assert row.examples_a == one.get(row.word, 0)
        assert row.examples_b == two.get(row.word, 0)


def test_labels_name_the_classes(store):
    assert set(word_table(store.run().filter(), 1)["class"]) <= set(LABELS)
    recommended = word_table(store.run().filter(), store.run().recommended)
    assert word_table(store.run().filter()).equals(recommended)
