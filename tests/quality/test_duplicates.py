"""Duplicates against a comparison of every text with every other."""

import dataclasses

import numpy as np
import pytest

from saliency_core.errors import UserError
from saliency_core.quality.duplicates import (
    accuracy_of,
    duplicate_groups,
    find_duplicates,
    kept_once,
)
from saliency_core.quality.text_sets import Bands, fold, fold_sides, jaccard, shingles
from saliency_core.store import open_store, open_writer, save_quality
from tests.support.store_made_up import LABELS, example, gold_of, write_all

WORDS = [f"word{n}" for n in range(400)]


def run_of(tmp_path, texts, pairs=None, labels=None):
    rows = [
        dataclasses.replace(
            example(n, text, pairs and pairs[n]), label=labels[n] if labels else LABELS[n % 3]
        )
        for n, text in enumerate(texts)
    ]
    with open_writer(tmp_path / "audit.sqlite") as writer:
        write_all(writer, rows)
    return open_store(tmp_path / "audit.sqlite").run()


def edited(draw, words, share):
    words = list(words)
    for place in draw.choice(len(words), round(share * len(words)), replace=False):
        words[place] = WORDS[draw.integers(len(WORDS))]
    return " ".join(words)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("The  Film\twas\ngood ", "the film was GOOD"),
        ("ﬁne", "Fine"),
        ("STRASSE", "straße"),
        ("caf\u00e9", "cafe\u0301"),
        ("ＡＢＣ", "abc"),
    ],
)
def test_folding_removes_form_case_and_white_space(a, b):
    assert fold(a) == fold(b)


def test_shingles_are_pairs_of_words_without_punctuation():
    def same(a, b):
        return set(shingles(fold(a)).tolist()) == set(shingles(fold(b)).tolist())

    assert same("Good, film; indeed!", "good film indeed")
    assert not same("good film indeed", "film good indeed")
    assert len(shingles("one")) == len(shingles("!!!")) == 1
    assert jaccard("a b c d", "a b c e") == pytest.approx(2 / 4)
    # A script without spaces is compared by its letters.
    assert 0.5 < jaccard(fold("今天天气很好我们去公园"), fold("今天天气很好我们去商店")) < 1


def test_a_pair_is_as_similar_as_its_less_similar_side():
    premise = " ".join(WORDS[:30])
    first, second = (fold_sides(premise, text) for text in ("a man sleeps", "nobody is there"))
    assert jaccard(first, second) == 0


def test_bands_find_texts_at_the_threshold():
    for threshold in (0.4, 0.6, 0.8, 0.95):
        bands = Bands(threshold)
        assert 1 - (1 - threshold**bands.rows) ** bands.count >= 0.97
    assert Bands(0.9).rows > Bands(0.6).rows


def test_groups_are_those_of_comparing_everything(tmp_path):
    draw = np.random.default_rng(0)
    originals = [draw.choice(WORDS, draw.integers(20, 40)) for _ in range(60)]
    texts = [" ".join(words) for words in originals]
    for share in (0.0, 0.03, 0.1, 0.3):
        texts += [edited(draw, words, share) for words in originals[:25]]
    texts += ["", " ", "?!", "Word1", "word1."]
    run = run_of(tmp_path, texts)
    found = find_duplicates(run, threshold=0.6)
    folded = [fold(text) for text in texts]
    parent = list(range(len(texts)))

    def root(n):
        return n if parent[n] == n else root(parent[n])

    for i, a in enumerate(folded):
        for j in range(i):
            if a and folded[j] and jaccard(a, folded[j]) >= 0.6:
                parent[root(i)] = root(j)
    roots = np.array([root(n) for n in range(len(texts))])
    together = (roots[:, None] == roots[None]) & ~np.eye(len(texts), dtype=bool)
    ours = (found.group[:, None] == found.group[None]) & (found.group >= 0)[:, None]
    np.fill_diagonal(ours, False)
    assert np.array_equal(ours, together)
    same = np.array([[a == b and a != "" for b in folded] for a in folded])
    np.fill_diagonal(same, False)
    exact = (found.exact[:, None] == found.exact[None]) & (found.exact >= 0)[:, None]
    np.fill_diagonal(exact, False)
    assert np.array_equal(exact, same)


def test_conflicts_come_first_and_one_of_each_group_is_kept(tmp_path):
    long = "a text that is long enough to be nearly another one of its kind"
    texts = ["same text", "alone", "Same  text", f"{long} today", f"{long} now", "SAME TEXT"]
    labels = [LABELS[0], LABELS[0], LABELS[0], LABELS[0], LABELS[1], LABELS[0]]
    run = run_of(tmp_path, texts, labels=labels)
    found = find_duplicates(run)
    assert found.group.tolist() == [0, -1, 0, 1, 1, 0]
    assert found.exact.tolist() == [0, -1, 0, -1, -1, 0]
    assert found.conflict.tolist() == [False, False, False, True, True, False]
    assert (found.examples, found.groups, found.surplus) == (5, 2, 3)
    assert kept_once(found.group).tolist() == [True, True, False, True, False, False]
    save_quality(
        run.store.path,
        run.number,
        {
            "duplicate": found.group,
            "duplicate_exact": found.exact,
            "duplicate_conflict": found.conflict,
        },
    )
    groups = duplicate_groups(run)
    assert groups["kind"].tolist() == ["near", "exact"]
    assert groups["labels"].tolist() == [[LABELS[0], LABELS[1]], [LABELS[0]]]
    assert groups["ids"].tolist() == [["id-3", "id-4"], ["id-0", "id-2", "id-5"]]
    assert run.filter("duplicate_conflict").count() == 2


def test_accuracy_of_some_is_that_of_the_labelled_among_them(tmp_path):
    run = run_of(tmp_path, [f"text {n}" for n in range(9)])
    rows = np.arange(9) < 5
    part = run.filter().examples().iloc[:5]
    assert accuracy_of(run, rows) == pytest.approx(np.mean(part["gold"] == part["predicted"]))
    assert accuracy_of(run, np.zeros(9, bool)) is None
    assert gold_of(example(0)) == 0


@pytest.mark.parametrize("threshold", [0, 0.2, 1.1])
def test_a_threshold_that_can_not_be_is_told(tmp_path, threshold):
    run = run_of(tmp_path, ["a", "b"])
    with pytest.raises(UserError, match=r"must be between 0\.3 and 1"):
        find_duplicates(run, threshold=threshold)
