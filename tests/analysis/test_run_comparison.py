"""Two runs over one dataset: which is better, where, and in words."""

import numpy as np
import pytest

from saliency_core.analysis.run_comparison import by_group, compare, names_of, verdict
from saliency_core.errors import UserError
from saliency_core.store import save_slice
from tests.support.word_model import compared_store, of_kind


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    store = compared_store(tmp_path_factory.mktemp("compared") / "a.sqlite")
    return store.run(1), store.run(2)


def test_kinds_are_those_of_a_plain_count(runs):
    before, after = runs
    found = compare(before, after)
    right = [set(run.filter("right").positions().tolist()) for run in runs]
    wrong = [set(run.filter("wrong").positions().tolist()) for run in runs]
    assert set(of_kind(found, "fixed")) == wrong[0] & right[1]
    assert set(of_kind(found, "broken")) == right[0] & wrong[1]
    assert len(of_kind(found, "fixed")) > len(of_kind(found, "broken"))
    test = found.difference
    assert test["before"] == pytest.approx(before.accuracy)
    assert test["after"] == pytest.approx(after.accuracy)
    assert test["low"] < test["difference"] < test["high"] and test["p"] < 0.05


def test_swapped_runs_turn_every_sign(runs):
    one, other = compare(*runs).difference, compare(*reversed(runs)).difference
    assert (one["fixed"], one["broken"]) == (other["broken"], other["fixed"])
    assert one["difference"] == -other["difference"] and one["p"] == other["p"]


def test_a_filter_is_that_of_the_run_after(runs):
    before, after = runs
    found = compare(before, after, "wrong word:kindly")
    assert set(found.positions) == set(after.filter("wrong word:kindly").positions())
    assert set(found.counts.query("examples > 0")["kind"]) <= {"broken", "wrong in both"}


@pytest.mark.parametrize(
    ("kind", "where"),
    [
        ("fixed", "right wrong_in:1"),
        ("broken", "wrong right_in:1"),
        ("right in both", "right_in:1 right_in:2"),
    ],
)
def test_each_kind_is_a_filter_of_the_run_after(runs, kind, where):
    found = of_kind(compare(*runs), kind)
    assert runs[1].filter(where).positions().tolist() == found.tolist()


def test_a_filter_of_a_run_over_another_dataset_is_refused(runs):
    with pytest.raises(
        UserError, match=r"3.* is not a run over this dataset; the runs are 1 and 2"
    ):
        runs[1].filter("wrong_in:3").count()


def test_each_group_is_the_comparison_of_its_filter(runs):
    before, after = runs
    save_slice(after.store.path, "with kindly", "word:kindly")
    table = by_group(before, after)
    assert {"class", "slice", "channel", "year"} == set(table["part"])
    for row in table.itertuples():
        test = compare(before, after, row.filter).difference
        for name in ("n", "fixed", "broken", "difference", "low", "high", "p"):
            assert getattr(row, name) == pytest.approx(test[name]), (row.filter, name)
    assert table["p"].is_monotonic_increasing
    assert table["filter"].iloc[0] == 'slice:"with kindly"'
    assert table["q"].iloc[0] < 0.05


def test_the_verdict_names_the_better_run_or_nobody(runs):
    before, after = names_of(*runs)
    found = compare(*runs)
    assert (before, after) == ("biased", "control")
    assert verdict(found, before, after).startswith(f"{after} is better. {before} ")
    assert verdict(compare(*reversed(runs)), after, before).startswith(f"{after} is better.")
    rarely = verdict(compare(*runs, "word:bland"), before, after)
    assert "right on the same" in rarely or "too few to call (McNemar p = " in rarely
    assert names_of(runs[0], runs[0])[0] == "biased (run 1)"


def test_where_they_differ_is_told_by_the_names_of_the_classes(runs):
    found = compare(*runs)
    predicted = [run.examples_at(found.positions)["predicted"] for run in runs]
    np.testing.assert_array_equal(found.differs, predicted[0] != predicted[1])
