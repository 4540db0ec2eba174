"""Faithfulness on a toy whose answers are known by hand, and against ERASER's own definition."""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from saliency_core.evaluation.faithfulness import (
    TOKEN_SHARES,
    average_precision,
    faithfulness,
    mean_interval,
    rationale_tokens,
    top_positions,
    without,
)
from saliency_core.model.encoding import Encoding

BLANK, START, END = 0, 101, 102


@dataclass
class Summing:
    """A classifier of two classes: p(second) = 1 / (1 + exp(-sum of token ids)); blank adds 0."""

    blank_token_id: int = BLANK
    texts: list = field(default_factory=list)

    def logits(self, encodings):
        self.texts += [encoding.input_ids for encoding in encodings]
        own = [
            sum(int(token) for token in encoding.input_ids if token not in (START, END))
            for encoding in encodings
        ]
        return np.stack([np.zeros(len(own)), np.array(own, float)], 1)

    def probabilities(self, logits):
        powers = np.exp(logits)
        return powers / powers.sum(-1, keepdims=True)


def encoding_of(ids):
    special = np.array([True, *[False] * len(ids), True])
    spans = np.zeros((len(special), 2), np.int32)
    sides = np.zeros(len(special), np.int8)
    return Encoding((START, *ids, END), special, spans, sides, (0,) * len(special), 1, 1)


def sigmoid(value):
    return 1 / (1 + np.exp(-value))


def test_numbers_computed_by_hand():
    """Ten tokens, one worth 3 and one -1: the right map finds the 3 at every share."""
    ids = [3, -1, 0, 0, 0, 0, 0, 0, 0, 0]
    truth = [np.array(ids, float)]
    found = faithfulness(Summing(), [encoding_of(ids)], [truth])[0]
    before, masked, kept = sigmoid(2), sigmoid(-1), sigmoid(3)
    assert found.comprehensiveness[0] == pytest.approx(before - masked)
    assert found.sufficiency[0] == pytest.approx(before - kept)


def test_the_published_definition_by_hand():
    """ERASER's AOPC: the mean over thresholds of p(text) - p(rest), with ferret's deletion.

    Ten tokens of which the map ranks 2, then -1, then 1 highest; one, two and three of them go.
    """
    ids = [1, 0, 2, 0, 0, -1, 0, 0, 0, 0]
    ranks = np.array([7.0, 0, 9, 0, 0, 8, 0, 0, 0, 0])
    found = faithfulness(Summing(), [encoding_of(ids)], [[ranks]], delete=True)[0]
    # p = sigmoid(sum): sigmoid(2) = .880797, sigmoid(0) = .5, sigmoid(1) = .731059.
    assert found.comprehensiveness[0] == pytest.approx(
        ((0.880797 - 0.5) + (0.880797 - 0.731059) + (0.880797 - 0.5)) / 3, abs=1e-6
    )
    # Kept alone: 2, then 2 - 1, then 2 - 1 + 1.
    assert found.sufficiency[0] == pytest.approx((0 + (0.880797 - 0.731059) + 0) / 3, abs=1e-6)


def test_a_rationale_marks_the_tokens_it_touches():
    encoding = replace(
        encoding_of([5, 6, 7]),
        spans=np.array([[0, 0], [0, 3], [4, 9], [10, 12], [0, 0]], np.int32),
    )
    assert rationale_tokens(encoding, [(8, 10)]).tolist() == [False, True, False]
    assert rationale_tokens(encoding, [(0, 1), (11, 12)]).tolist() == [True, False, True]
    other_side = replace(encoding, sides=np.array([0, 0, 0, 1, 0], np.int8))
    assert rationale_tokens(other_side, [(11, 12)]).tolist() == [False, False, False]


@given(st.data())
def test_it_equals_the_definition_written_naively(data):
    lengths = data.draw(st.lists(st.integers(1, 12), min_size=1, max_size=4))
    numbers = st.floats(-2, 2, allow_nan=False, width=32)
    texts = [data.draw(st.lists(st.integers(-3, 3), min_size=n, max_size=n)) for n in lengths]
    scores = [np.array(data.draw(st.lists(numbers, min_size=n, max_size=n))) for n in lengths]
    found = faithfulness(Summing(), [encoding_of(text) for text in texts], [scores])[0]
    for row, (text, own) in enumerate(zip(texts, scores, strict=True)):
        side = 1 if sum(text) > 0 else -1

        def chance(ids, side=side):
            return sigmoid(side * sum(ids))

        comprehensiveness, sufficiency = [], []
        ranked = sorted(range(len(text)), key=lambda place: (-own[place], place))
        for share in TOKEN_SHARES:
            top = set(ranked[: max(1, round(share * len(text)))])
            rest = [token for place, token in enumerate(text) if place not in top]
            kept = [token for place, token in enumerate(text) if place in top]
            comprehensiveness.append(chance(text) - chance(rest))
            sufficiency.append(chance(text) - chance(kept))
        assert found.comprehensiveness[row] == pytest.approx(np.mean(comprehensiveness), abs=1e-6)
        assert found.sufficiency[row] == pytest.approx(np.mean(sufficiency), abs=1e-6)


def test_equal_texts_run_once_whatever_map_led_to_them():
    classifier = Summing()
    ids = [1, 2, 3, 4]
    scores = [np.array([4.0, 3, 2, 1])]
    faithfulness(classifier, [encoding_of(ids)], [scores, scores, scores])
    assert len(classifier.texts) == len(set(classifier.texts))


def test_deletion_takes_tokens_out_and_keeps_the_special_ones():
    shorter = without(encoding_of([5, 6, 7]), np.array([False, True, False]), BLANK, delete=True)
    assert shorter.input_ids == (START, 5, 7, END)
    assert shorter.special.tolist() == [True, False, False, True]
    masked = without(encoding_of([5, 6, 7]), np.array([False, True, False]), BLANK, delete=False)
    assert masked.input_ids == (START, 5, BLANK, 7, END)


def test_at_least_one_position_is_masked_and_ties_go_by_order():
    assert top_positions(np.array([0.0, 1.0, 1.0]), 0.1).tolist() == [1]


def test_average_precision_is_that_of_scikit_learn_by_hand():
    scores, rationale = np.array([0.9, 0.8, 0.7, 0.6]), np.array([True, False, True, False])
    assert average_precision(scores, rationale) == pytest.approx((1 / 1 + 2 / 3) / 2)
    assert np.isnan(average_precision(scores, np.zeros(4, bool)))


def test_the_interval_holds_the_mean_and_narrows_with_examples():
    draw = np.random.default_rng(1)
    few, many = draw.normal(size=30), draw.normal(size=3000)
    mean, low, high = mean_interval(few)
    assert low < mean < high
    _, low_of_many, high_of_many = mean_interval(many)
    assert high_of_many - low_of_many < (high - low) / 3
