"""Slices where the model errs more: the planted one is first, and there are none in noise."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from saliency_core.analysis.error_slices import (
    MINIMUM,
    discover,
    keep_discovered,
    kept_discovered,
)
from saliency_core.analysis.slice_comparison import compare_slices
from saliency_core.errors import UserError
from saliency_core.stats import wilson
from saliency_core.store import save_slice
from tests.support.word_model import LABELS, SHORTCUT, TOPICS, WordModel, audited_store, examples

HARD = "meta.channel:voicemail"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("discovery")


@pytest.fixture(scope="module")
def store(folder):
    return audited_store(folder / "a.sqlite", WordModel(0.0), examples(900, {}))


@pytest.fixture(scope="module")
def found(store):
    return discover(store.run())


def test_the_hard_slice_is_the_first(found):
    table, tried = found
    assert table["where"].iloc[0] == HARD
    assert tried > len(table) > 0
    assert table["explained"].is_monotonic_decreasing


def test_every_number_of_a_slice_is_a_count(store, found):
    judged, errors = (
        store.run().filter("right").count() + store.run().filter("wrong").count(),
        store.run().filter("wrong").count(),
    )
    for row in found[0].to_dict("records"):
        n, k = (
            store.run().filter(row["where"]).count(),
            store.run().filter(f"wrong {row['where']}").count(),
        )
        assert (row["examples"], row["errors"]) == (n, k) and n >= MINIMUM
        rest = (errors - k) / (judged - n)
        assert row["rest_error_rate"] == pytest.approx(rest)
        assert row["explained"] == pytest.approx(k - n * rest)
        assert (row["low"], row["high"]) == pytest.approx(wilson(k, n))
        table = [[k, n - k], [errors - k, judged - n - errors + k]]
        p = stats.fisher_exact(table, alternative="greater").pvalue
        assert row["p"] == pytest.approx(p) and row["p"] <= row["q"] <= 0.05


def test_a_slice_that_only_echoes_another_is_not_a_finding_of_its_own(folder):
    rows = [
        replace(row, metadata=row.metadata | {"year": "noisy" if v else "clear"})
        for row in examples(900, {})
        for v in [row.metadata["channel"] == "voicemail"]
    ]
    table, _ = discover(audited_store(folder / "echo.sqlite", WordModel(0.0), rows).run())
    named = table["where"].tolist()
    assert len({HARD, "meta.year:noisy"} & set(named)) == 1
    first = table.iloc[0]
    other = {HARD: "meta.year:noisy", "meta.year:noisy": HARD}[first["where"]]
    assert other in first["also"]


def test_a_planted_pair_is_found_as_a_pair(folder):
    draw = np.random.default_rng(5)
    rows = []
    for row in examples(1200, dict.fromkeys(LABELS, 0.4)):
        # The model errs on the shortcut, and one answer in five is wrong anyhow. In letters a
        # second topic word outweighs the shortcut, so it misleads in chat alone.
        channel = "chat" if row.metadata["channel"] == "chat" else "mail"
        topic = " ".join(draw.choice(TOPICS[row.label], 3)) if channel == "mail" else ""
        label = str(draw.choice(LABELS)) if draw.random() < 0.3 else row.label
        text = f"{row.text} {topic}"
        rows.append(replace(row, text=text, label=label, metadata={"channel": channel}))
    store = audited_store(folder / "pair.sqlite", WordModel(4.0), rows)
    table, _ = discover(store.run())
    assert set(table["where"].iloc[0].split()) == {f"word:{SHORTCUT}", "meta.channel:chat"}


def test_in_answers_that_are_wrong_at_random_nothing_is_found(folder):
    draw = np.random.default_rng(4)
    rows = [
        replace(row, label=str(draw.choice(LABELS))) if draw.random() < 0.3 else row
        for row in examples(900, {})
        if row.metadata["channel"] != "voicemail"
    ]
    table, tried = discover(audited_store(folder / "noise.sqlite", WordModel(0.0), rows).run())
    assert tried > 40
    # Where the answer is wrong depends on nothing but the labels themselves.
    assert [w for w in table["where"] if "gold:" not in w and "predicted:" not in w] == []


def test_options_and_missing_labels(store, folder):
    assert len(discover(store.run(), limit=1)[0]) == 1
    assert (discover(store.run(), minimum=100)[0]["examples"] >= 100).all()
    assert discover(store.run(), alpha=0)[0].empty
    rows = [replace(row, label=None) for row in examples(40, {})]
    unlabelled = audited_store(folder / "unlabelled.sqlite", WordModel(0.0), rows)
    with pytest.raises(UserError, match="no labels"):
        discover(unlabelled.run())


def test_discovered_slices_are_kept_and_every_one_can_be_saved(store, found):
    assert kept_discovered(store.run()) is None
    keep_discovered(store.run(), found[0])
    kept = kept_discovered(store.run())
    assert kept["where"].tolist() == found[0]["where"].tolist()
    for place, where in enumerate(kept["where"]):
        save_slice(store.path, f"found {place}", where)
        assert store.run().filter(f'slice:"found {place}"').count() == kept["examples"].iloc[place]


def test_two_slices_side_by_side(store):
    found = compare_slices(store.run().filter(HARD), store.run().filter(f"-{HARD}"), layer=1)
    a, b = found["a"], found["b"]
    assert a["examples"] + b["examples"] == store.run().filter().count()
    for side in (a, b):
        assert side["errors"] == store.run().filter(f"wrong {side['where']}").count()
        assert side["error_rate"] == side["errors"] / side["judged"]
        assert side["low"] <= side["error_rate"] <= side["high"]
    table = [[side["errors"], side["judged"] - side["errors"]] for side in (a, b)]
    assert found["p"] == pytest.approx(stats.fisher_exact(table).pvalue) and found["p"] < 1e-6
    assert found["layer"] == 1
    assert {"word", "difference", "z"} <= set(found["words"].columns) and len(found["words"])
    same = compare_slices(store.run().filter(HARD), store.run().filter(HARD))
    assert same["p"] is None and (same["words"]["difference"] == 0).all()
    assert same["shared"] == a["examples"] and found["shared"] == 0


def test_a_slice_that_cannot_be_read_is_named(store):
    with pytest.raises(UserError, match="nonsense"):
        compare_slices(store.run().filter("nonsense>"), store.run().filter("wrong"))
