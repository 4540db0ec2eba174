"""Mosaics: how they are made, and what a perfect, a uniform and a wrong map score."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata

from saliency_core.evaluation.mosaics import (
    MINIMUM,
    NEITHER,
    PAIRS,
    TOO_LONG,
    Mosaic,
    draw_pairs,
    make_mosaics,
    score_mosaics,
)
from saliency_core.model.encoding import Encoding
from saliency_core.model.loading import load_classifier
from saliency_core.saliency.attributor import Attributor
from saliency_core.stats import auc
from tests.support.tiny_models import save_tiny

WORTH = {"red": (0, 3), "green": (1, 2), "blue": (2, 1), "veto": (2, 9)}
"""Word -> the class it speaks for, and how much."""


@dataclass
class Counting:
    """A classifier of three classes that adds up what its words are worth; a token a word."""

    max_length: int = 30

    def encode(self, texts, pairs=None, max_length=None):
        return [self._encoding(text, max_length or self.max_length) for text in texts]

    @staticmethod
    def _encoding(text, limit):
        words = text.split()[:limit]
        spans, at = [], 0
        for word in words:
            at = text.index(word, at)
            spans.append((at, at + len(word)))
            at += len(word)
        spans = np.array([(0, 0), *spans, (0, 0)], np.int32)
        special = np.array([True, *[False] * len(words), True])
        seen = len(text) if len(words) == len(text.split()) else int(spans[:, 1].max())
        sides = np.zeros(len(special), np.int8)
        names = list(WORTH)
        ids = [names.index(word) if word in names else 9 for word in words]
        return Encoding((101, *ids, 102), special, spans, sides, None, seen, len(text))

    def logits(self, encodings):
        found = np.zeros((len(encodings), 3))
        for row, encoding in enumerate(encodings):
            for token in encoding.input_ids:
                if token < len(WORTH):
                    label, worth = list(WORTH.values())[token]
                    found[row, label] += worth
        return found


def made(count=20, texts=None, seed=0, classifier=None, confidence=1.0, **options):
    texts = texts or [f"{word} a{n} b{n}" for n in range(20) for word in ("red", "green")]
    classifier = classifier or Counting()
    predicted = classifier.logits(classifier.encode(texts)).argmax(1)
    confidences = np.full(len(texts), confidence)
    return make_mosaics(classifier, texts, predicted, confidences, count, seed=seed, **options)


def test_the_right_part_is_the_one_that_was_predicted():
    mosaics = made()
    assert len(mosaics.kept) == 20 and mosaics.missing is None
    orders = set()
    for mosaic in mosaics.kept:
        own = np.array(mosaic.encoding.input_ids)[~mosaic.encoding.special]
        # Red is worth more than green, wherever it stands.
        assert mosaic.predicted == 0
        assert mosaic.right[own == 0].all() and not mosaic.right[own == 1].any()
        assert mosaic.right.sum() == 3
        orders.add(bool(mosaic.right[0]))
    assert orders == {True, False}, "in either order"


def test_a_perfect_map_scores_one_and_a_uniform_one_chance():
    mosaics = made(texts=[f"red {'a ' * n}" for n in range(9)] + ["green a b c d"] * 9)
    perfect = score_mosaics(mosaics.kept, [mosaic.right.astype(float) for mosaic in mosaics.kept])
    assert (perfect.share == 1).all() and (perfect.auc == 1).all() and (perfect.top == 1).all()
    uniform = score_mosaics(mosaics.kept, [np.ones(len(m.right)) for m in mosaics.kept])
    np.testing.assert_allclose(uniform.share, mosaics.chance)
    np.testing.assert_allclose(uniform.top, mosaics.chance)  # one word is one token here
    assert (uniform.auc == 0.5).all()
    wrong = score_mosaics(mosaics.kept, [(~m.right).astype(float) for m in mosaics.kept])
    assert (wrong.share == 0).all() and (wrong.auc == 0).all() and (wrong.top == 0).all()


def test_the_top_word_is_the_sum_of_its_pieces():
    encoding = Counting()._encoding("a b c", 9)
    mosaic = Mosaic(encoding, np.array([True, True, False]), np.array([0, 0, 1]), 0)
    assert score_mosaics([mosaic], [np.array([0.6, 0.6, 1.0])]).top.tolist() == [1]


@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=12))
def test_auc_is_the_rate_of_ordered_pairs(rows):
    scores, right = (np.array(column) for column in zip(*rows, strict=True))
    if right.all() or not right.any():
        return
    pairs = [(a > b) + 0.5 * (a == b) for a in scores[right] for b in scores[~right]]
    assert auc(rankdata(scores), right) == pytest.approx(np.mean(pairs))


@given(st.integers(0, 99), st.floats(0.1, 10))
def test_only_positive_scores_count_and_only_their_ratio(seed, scale):
    mosaics = made(4)
    draw = np.random.default_rng(seed)
    maps = [draw.normal(size=len(mosaic.right)) for mosaic in mosaics.kept]
    one, other = (
        score_mosaics(mosaics.kept, [factor * scores for scores in maps]) for factor in (1, scale)
    )
    for name in ("share", "auc", "top"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name))


def test_a_map_without_positive_score_is_left_out_and_counted():
    mosaics = made(3)
    maps = [np.zeros(6), -np.ones(6), np.ones(6)]
    found = score_mosaics(mosaics.kept, maps)
    assert np.isnan(found.share).tolist() == [True, True, False]
    assert np.isnan(found.auc).tolist() == np.isnan(found.top).tolist() == [True, True, False]
    assert np.isnan(found.share).sum() == 2


def test_what_is_discarded_is_counted_by_reason():
    texts = [f"{word} a{n}" for n in range(12) for word in ("red", "green")]
    long = made(200, [*texts, *[f"green {'word ' * 29}" for _ in range(12)]])
    assert long.discarded[TOO_LONG] > 0
    # A third class takes the whole where both parts hold a little of it.
    split = [f"{text} blue blue" for text in texts]
    neither = made(20, split)
    assert set(neither.discarded) == {NEITHER} and neither.discarded[NEITHER] > 0
    assert made(20, pairs=True).discarded == {PAIRS: 40}
    assert "pairs" in made(20, pairs=True).missing


def test_too_few_confident_texts_and_one_class_are_said():
    few = [f"{word} a{n}" for n in range(MINIMUM // 2 - 1) for word in ("red", "green")]
    assert "Fewer than 16 texts" in made(5, few).missing
    assert "Fewer than 16 texts" in made(5, confidence=0.9).missing
    assert "one class" in made(5, ["red a"] * 20).missing


def test_pairs_are_spread_over_the_texts_and_never_repeat():
    predicted = np.arange(30) % 3
    confident = np.arange(30) < 27
    pairs = draw_pairs(predicted, confident, 100, seed=3)
    assert len({frozenset(pair) for pair in pairs}) == len(pairs) == 100
    assert all(predicted[one] != predicted[other] for one, other in pairs)
    used = np.bincount(np.array(pairs).ravel(), minlength=30)
    assert (used[27:] == 0).all() and used[:27].min() >= 3 and used.max() <= 20
    assert draw_pairs(predicted, confident, 40, seed=3) == pairs[:40]
    assert draw_pairs(predicted, confident, 40, seed=4) != pairs[:40]
    # Of two and three texts there are only six pairs.
    assert 0 < len(draw_pairs(np.array([0, 0, 1, 1, 1]), np.ones(5, bool), 50, seed=0)) <= 6


@pytest.mark.parametrize("kind", ["bert", "gpt2", "xlm-roberta"])
def test_a_real_tokenizer_parts_at_the_border_whatever_the_batch(kind, tmp_path):
    model, lm_head = save_tiny(kind, tmp_path)
    classifier = load_classifier(model, lm_head=lm_head)
    texts = [
        f"the {a} {b}"
        for a in ("film", "plot", "actor", "scene")
        for b in "good bad dull nice".split()
    ]
    predicted = classifier.logits(classifier.encode(texts)).argmax(1)
    predicted[:8] = (predicted[:8] + np.arange(8) % 2) % 3  # of several classes, whatever it says
    confidence = np.ones(len(texts))
    mosaics = make_mosaics(classifier, texts, predicted, confidence, 8, seed=1)
    assert mosaics.kept
    for mosaic in mosaics.kept:
        # One side of the border, then the other.
        assert np.abs(np.diff(mosaic.right.astype(int))).sum() == 1
    again = make_mosaics(classifier, texts, predicted, confidence, 8, seed=1)
    assert [m.encoding.input_ids for m in again.kept] == [
        m.encoding.input_ids for m in mosaics.kept
    ]
    attributor = Attributor(classifier)
    small, large = (
        score_mosaics(mosaics.kept, attributor.layer_maps(mosaics.encodings, tokens)["saliency"][1])
        for tokens in (1, 4096)
    )
    np.testing.assert_allclose(small.share, large.share, atol=1e-4)
