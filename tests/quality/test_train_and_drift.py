"""Training data that the audited set shares texts with, or differs from."""

import dataclasses

import numpy as np
import pytest
from scipy.stats import rankdata

from saliency_core import stats
from saliency_core.quality.drift import (
    Sample,
    differing_words,
    domain_classifier,
    drift,
    words_in,
)
from saliency_core.quality.scripts import script_of
from saliency_core.quality.text_sets import fold, jaccard
from saliency_core.quality.train_overlap import EXACT, NEAR, TrainOverlap
from saliency_core.store import open_store, open_writer
from tests.support.store_made_up import example, write_all

WORDS = [f"word{n}" for n in range(300)]


def run_of(tmp_path, texts):
    rows = [dataclasses.replace(example(n, text)) for n, text in enumerate(texts)]
    with open_writer(tmp_path / "audit.sqlite") as writer:
        write_all(writer, rows)
    return open_store(tmp_path / "audit.sqlite").run()


def test_overlap_is_that_of_comparing_everything(tmp_path):
    draw = np.random.default_rng(1)
    ours = [" ".join(draw.choice(WORDS, 25)) for _ in range(80)] + ["", "Twice here", "twice  HERE"]
    train = [" ".join(draw.choice(WORDS, 25)) for _ in range(100)] + ["", "twice here"]
    for row in range(40):
        words = ours[row].upper().split()
        for place in draw.choice(25, row // 8, replace=False):
            words[place] = "changed"
        train.append("  ".join(words))
    overlap = TrainOverlap(run_of(tmp_path, ours), threshold=0.6)
    folded = [fold(text) for text in train]
    for start in range(0, len(folded), 30):
        overlap.add(folded[start : start + 30])
    found = overlap.in_train()
    for row, text in enumerate(map(fold, ours)):
        if not text:
            expected = 0
        elif text in folded:
            expected = EXACT
        else:
            expected = NEAR * any(jaccard(text, other) >= 0.6 for other in folded if other)
        assert found[row] == expected, (row, text)
    assert {0, EXACT, NEAR} == set(found.tolist())


def test_a_sample_is_of_all_that_came():
    sample = Sample(200, seed=3)
    for n in range(10_000):
        sample.add(str(n))
    assert len(set(sample.texts)) == 200
    assert 4_000 < np.mean([int(text) for text in sample.texts]) < 6_000


def made_up_sets(n=300):
    draw = np.random.default_rng(0)
    ours = [set(draw.choice(WORDS, 12)) for _ in range(n)]
    theirs = [set(draw.choice(WORDS, 12)) for _ in range(n)]
    return draw, ours, theirs


def test_a_word_of_one_set_is_found_with_its_log_odds():
    draw, ours, theirs = made_up_sets()
    for words in ours:
        if draw.random() < 0.4:
            words.add("video")
    for words in theirs:
        if draw.random() < 0.1:
            words.add("video")
    a, b = (sum("video" in words for words in part) for part in (ours, theirs))
    found = differing_words(ours, theirs)
    assert found["word"].tolist() == ["video"]
    expected = np.log((a + 0.5) / (300.5 - a)) - np.log((b + 0.5) / (300.5 - b))
    assert found["log_odds"][0] == pytest.approx(expected)
    assert found["low"][0] < np.log((0.4 / 0.6) / (0.1 / 0.9)) < found["high"][0]


def test_sets_alike_have_no_differing_word_and_an_auc_of_a_half():
    _, ours, theirs = made_up_sets()
    assert differing_words(ours, theirs).empty
    auc, low, high, _ = domain_classifier(ours, theirs)
    assert low < 0.5 < high and abs(auc - 0.5) < 0.08


def test_the_classifier_names_what_gives_the_domain_away():
    _, ours, theirs = made_up_sets()
    for words in ours[::2]:
        words.add("ours")
    for words in theirs[::2]:
        words.add("theirs")
    auc, low, high, telling = domain_classifier(ours, theirs)
    # At best the half that can be told, and half of the rest: 7/8 of the pairs.
    assert 0.75 < low < auc < high < 0.9
    assert {row["word"] for row in telling[:2]} == {"ours", "theirs"}
    weights = {row["word"]: row["weight"] for row in telling}
    assert weights["ours"] > 0 > weights["theirs"]


def test_auc_is_the_share_of_pairs_in_order():
    draw = np.random.default_rng(0)
    a, b = draw.integers(0, 6, 30), draw.integers(0, 5, 20)
    pairs = [(x > y) + (x == y) / 2 for x in a for y in b]
    ranks = rankdata(np.r_[a, b])
    assert stats.auc(ranks, np.arange(50) < 30) == pytest.approx(np.mean(pairs))


def test_scripts_and_lengths_are_told():
    found = drift(["short text"] * 5 + ["привет мир"] * 5, ["a longer text than those"] * 10)
    assert found.scripts.set_index("script").loc["Cyrillic"].tolist() == [0.5, 0.0]
    assert found.lengths["audited"][2] < found.lengths["train"][2]
    assert script_of("東京タワーへ行く") == "Han" and script_of("42 !?") == "none"
    assert words_in("It's GOOD -- 3 times!") == {"it's", "good", "3", "times"}
