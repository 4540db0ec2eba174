"""Which layer to read: laws of the choice score, ties, gates and every fallback."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from saliency_core.analysis.layers.advice import layer_advice
from saliency_core.evaluation.faithfulness import mean_interval
from saliency_core.evaluation.layer_choice import (
    Choice,
    LayerTests,
    choice_scores,
    choose_by_tests,
    choose_layer,
    interval_columns,
    mean_known,
    summaries_of,
    with_values,
)
from saliency_core.records import LayerSummary


def layer(number, coherence=None, low=None, high=None, baseline=0.1, decodability=None, **others):
    return LayerSummary(number, coherence, low, high, baseline, decodability, **others)


def plain(count):
    return [layer(number, 0.2) for number in range(count)]


def constant(*means, rows=20):
    """Return (layer, row) values without any spread."""
    return np.repeat(np.array(means, float)[:, None], rows, axis=1)


def spread(*means, rows=40, width=0.3, seed=0):
    noise = np.random.default_rng(seed).normal(0, width, (len(means), rows))
    return np.array(means)[:, None] + noise


VALUES = st.lists(st.floats(-1, 1, width=32), min_size=4, max_size=4)


# The score


def test_the_score_is_the_mean_of_two_ratios_floored_at_zero():
    scores = choice_scores(constant(0.5, 0.25, -0.2), constant(0.1, 0.4, 0.2))
    np.testing.assert_allclose(scores.score, [(1 + 0.25) / 2, (0.5 + 1) / 2, (0 + 0.5) / 2])
    # No spread in the sample, none in the interval.
    np.testing.assert_allclose(scores.low, scores.score)
    np.testing.assert_allclose(scores.high, scores.score)


def test_without_mosaics_comprehensiveness_decides_alone():
    np.testing.assert_allclose(choice_scores(constant(0.5, 0.25), None).score, [1, 0.5])


def test_a_yardstick_on_which_no_layer_is_any_good_gives_nothing():
    np.testing.assert_allclose(
        choice_scores(constant(-0.1, -0.2), constant(0.2, 0.1)).score, [0.5, 0.25]
    )


@pytest.mark.slow
@given(VALUES, VALUES, st.floats(0.1, 10), st.floats(0.1, 10), st.permutations(range(4)))
def test_scale_and_order_of_layers_change_nothing(one, other, first, second, order):
    plain_scores = choice_scores(constant(*one), constant(*other))
    scaled = choice_scores(first * constant(*one), second * constant(*other))
    np.testing.assert_allclose(scaled.score, plain_scores.score, atol=1e-9)
    order = list(order)
    moved = choice_scores(constant(*np.array(one)[order]), constant(*np.array(other)[order]))
    np.testing.assert_allclose(moved.score, plain_scores.score[order], atol=1e-9)
    np.testing.assert_allclose(moved.low, plain_scores.low[order], atol=1e-9)


@given(VALUES, VALUES)
def test_the_score_lies_between_zero_and_one_and_a_worse_layer_more_changes_none(one, other):
    scores = choice_scores(constant(*one), constant(*other))
    assert (scores.score >= 0).all() and (scores.score <= 1).all()
    more = choice_scores(constant(*one, min(one) - 1), constant(*other, min(other) - 1))
    np.testing.assert_allclose(more.score[:-1], scores.score, atol=1e-9)
    assert more.score[-1] == 0


def test_equal_seeds_give_equal_intervals_around_the_score():
    values = spread(0.5, 0.4, 0.1), spread(0.1, 0.3, 0.2, seed=1)
    one, again, other = (choice_scores(*values, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.low, again.low)
    assert (one.low != other.low).any()
    assert (one.low < one.score).all() and (one.score <= one.high).all()
    np.testing.assert_array_equal(one.score, other.score)


def test_parts_of_the_score_have_the_bootstrap_interval_of_their_mean():
    values = spread(0.5, 0.4, 0.1)
    tests = LayerTests(comprehensiveness=values, sufficiency=-values)
    found = tests.intervals(seed=3)
    ends = np.array([mean_interval(of_layer, 3)[1:] for of_layer in values])
    np.testing.assert_allclose(found["comprehensiveness_low"], ends[:, 0])
    np.testing.assert_allclose(found["comprehensiveness_high"], ends[:, 1])
    np.testing.assert_allclose(found["sufficiency_low"], -ends[:, 1])
    assert found["mosaic_low"] == [None] * 3


def test_a_row_counts_as_often_as_it_weighs():
    values = np.array([[0.0, 1.0]])
    ends = interval_columns("x", values, 0, np.array([3, 1]))
    assert (ends["x_low"], ends["x_high"]) == ([0], [1])
    same = interval_columns("x", np.array([[0.2, 0.2], [np.nan, np.nan]]), 0, np.array([3, 1]))
    assert same == {"x_low": [pytest.approx(0.2), None], "x_high": [pytest.approx(0.2), None]}
    # Of many rows, the heavier half draws the mean to itself.
    draw = np.random.default_rng(0).normal([0.0, 1.0], 0.1, (50, 2)).ravel()[None]
    ends = interval_columns("x", draw, 0, np.tile([3, 1], 50))
    assert ends["x_low"][0] < 0.25 < ends["x_high"][0] < 0.4


def test_more_examples_make_the_interval_narrower():
    few = choice_scores(spread(0.5, 0.4, rows=30), None)
    many = choice_scores(spread(0.5, 0.4, rows=1000), None)
    assert (many.high - many.low)[1] < (few.high - few.low)[1] / 2


def test_a_mosaic_without_score_is_left_out_of_its_layer_only():
    above = constant(0.4, 0.2)
    above[1, :5] = np.nan
    np.testing.assert_allclose(choice_scores(constant(1, 1), above).score, [1, 0.75])
    above[1] = np.nan
    np.testing.assert_allclose(choice_scores(constant(1, 1), above).score, [1, 0.5])
    assert np.isnan(mean_known(above)).tolist() == [False, True]


# The choice


def chosen(layers, comprehensiveness, above=None, **options):
    return choose_layer(layers, choice_scores(comprehensiveness, above), **options)


def test_two_yardsticks_choose_what_neither_would_alone():
    choice = chosen(plain(3), constant(1, 0.9, 0.2), constant(0.2, 0.9, 1))
    assert choice.recommended == 1


def test_only_layers_above_the_uniform_baseline_are_chosen():
    layers = [layer(0, 0.05), layer(1, 0.2), layer(2, 0.15)]
    assert chosen(layers, constant(0.9, 0.4, 0.6)) == Choice(2, most_readable=0)
    below = [layer(number, 0.05 - number / 100) for number in range(3)]
    assert chosen(below, constant(0.2, 0.6, 0.5)).recommended == 1, "no layer is: no gate"
    undefined = [layer(number, baseline=None) for number in range(3)]
    assert chosen(undefined, constant(0.2, 0.6, 0.5)).recommended == 1


def test_ties_are_what_the_paired_difference_cannot_tell_apart():
    # Two layers that differ by little in every example alike, and one far below.
    first = spread(0.5)[0]
    paired = np.stack([first, first - 0.05, spread(0.1, seed=2)[0]])
    assert chosen(plain(3), paired).tied == ()
    # The same values on other examples tell less.
    shuffled = np.random.default_rng(1).permutation(first - 0.05)
    unpaired = np.stack([first, shuffled, spread(0.1, seed=2)[0]])
    assert chosen(plain(3), unpaired).tied == (1,)
    assert chosen(plain(3), np.stack([first, first, first])).tied == (1, 2)


def test_layers_that_information_flows_around_are_never_chosen():
    layers = [layer(0, 0.9), layer(1, 0.2), layer(2, 0.3)]
    choice = chosen(layers, constant(1, 0.9, 0.88), bypassed={0})
    assert (choice.recommended, choice.most_readable) == (1, 2)
    assert 0 not in choice.tied
    coherent = [layer(0, 0.9), layer(1, 0.2), layer(2, 0.3), layer(3, 1.0)]
    assert choose_layer(coherent, bypassed={0}).recommended == 2
    assert chosen(layers, constant(1, 0.5, 0.2), bypassed={0, 1, 2}).recommended == 0


def test_the_most_readable_is_the_most_coherent_of_the_good_ones():
    layers = [layer(0, 0.2), layer(1, 0.3), layer(2, 0.4), layer(3, 0.9)]
    choice = chosen(layers, constant(1, 0.86, 0.85, 0.84))
    assert (choice.recommended, choice.most_readable) == (0, 2)
    assert chosen([layer(0), layer(1)], constant(1, 0.9)).most_readable is None


def test_without_evaluation_the_most_coherent_layer_and_what_overlaps_it():
    layers = [layer(0, 0.2, 0.1, 0.3), layer(1, 0.4, 0.25, 0.5), layer(2, 0.3, 0.1, 0.24)]
    layers.append(layer(3, 0.9, 0.3, 1.0))
    # The last block is coherent by itself: one state decodes to all of its words.
    assert choose_layer(layers) == Choice(1, None, (0,))


def test_with_one_predicted_class_the_last_layer_that_decodes_and_a_warning():
    layers = [layer(n, decodability=part) for n, part in enumerate((0.9, 0.95, 0.6, 0.1))]
    choice = choose_layer(layers)
    assert choice.recommended == 2
    assert "only because it is the last one" in choice.warning
    assert choose_layer([layer(number) for number in range(4)]).recommended == 2


def test_the_tests_fill_the_summaries_and_clear_what_was_not_measured():
    tests = LayerTests(
        comprehensiveness=constant(0.4, 0.2),
        sufficiency=constant(0.1, 0.0),
        mosaic=constant(0.8, 0.9),
        mosaic_auc=constant(0.7, 0.6),
        mosaic_top=constant(1, 0.5),
        chance=np.full(20, 0.5),
    )
    layers, choice = choose_by_tests(plain(2), tests)
    assert [row.mosaic for row in layers] == pytest.approx([0.8, 0.9])
    assert [row.choice for row in layers] == pytest.approx([(1 + 0.75) / 2, (0.5 + 1) / 2])
    assert layers[0].coherence == 0.2 and choice.recommended == 0
    again, _ = choose_by_tests(layers, LayerTests(constant(0.4, 0.2), constant(0.1, 0.0)))
    assert [row.mosaic for row in again] == [None, None]
    assert [row.choice for row in again] == pytest.approx([1, 0.5])


def test_summaries_survive_the_frame_of_the_store():
    layers = [layer(0, 0.2, 0.1, 0.3, comprehensiveness=0.5, choice=0.9), layer(1)]
    frame = pd.DataFrame([vars(row) for row in layers]).astype({"coherence": float})
    assert summaries_of(frame) == layers
    assert with_values(layers, sufficiency=[np.nan, 0.25])[1].sufficiency == 0.25
    assert with_values(layers, sufficiency=[np.nan, 0.25])[0].sufficiency is None


# In words


def advice(layers, recommended=0, most_readable=None, tied=(), **extra):
    run = SimpleNamespace(
        recommended=recommended, most_readable=most_readable, tied=list(tied), extra=extra
    )
    frame = pd.DataFrame([vars(row) for row in layers])
    numbers = frame.columns.drop("layer")
    return layer_advice(run, frame.astype(dict.fromkeys(numbers, float)))


MOSAICS = {"mosaics": 64, "chance": 0.53, "discarded": {}, "missing": None}


def test_the_advice_names_both_tests_ties_and_the_readable_layer():
    layers = [
        layer(0, 0.2, comprehensiveness=0.51, mosaic=0.87, choice=0.98),
        layer(1, 0.3, comprehensiveness=0.50, mosaic=0.86, choice=0.95),
        layer(2, 0.2, comprehensiveness=0.40, mosaic=0.80, choice=0.80),
    ]
    found = advice(layers, most_readable=1, tied=[1, 2], mosaics=MOSAICS)
    assert found.text() == (
        "Use layer 0. It scores best on the two tests combined: hiding its top words lowers the "
        "probability of the predicted class by 0.51 on average; when two texts are joined, 87% of "
        "its positive score falls on the text whose class was predicted (53% would be chance). "
        "Layers 1 and 2 are about as good. Of the layers that do well in the tests, layer 1 is the "
        "most readable: among texts with the same prediction, the words it points to are closer in "
        "meaning to one another than those that the other layers point to (coherence 0.30), and "
        "its test score is 97% of the best."
    )
    assert advice(layers, tied=[1], mosaics=MOSAICS).tied == "Layer 1 is about as good."
    assert "also the most readable" in advice(layers, most_readable=0, mosaics=MOSAICS).readable


def test_the_advice_says_what_narrowed_the_choice():
    layers = [
        layer(0, 0.05, comprehensiveness=0.5, mosaic=0.9, choice=1.0),
        layer(1, 0.30, comprehensiveness=0.4, mosaic=0.8, choice=0.8),
    ]
    assert "Layer 0 scores higher" in advice(layers, 1, mosaics=MOSAICS).text()
    below = [layer(n, 0.05, comprehensiveness=0.5, mosaic=0.9, choice=1.0) for n in range(2)]
    assert "rules out no layer" in advice(below, 0, mosaics=MOSAICS).text()
    around = advice(layers, 1, mosaics=MOSAICS, bypassed={"0": 0.4}).text()
    assert "Layer 0 is left out: information flows around it." in around
    assert "scores higher" not in around


def test_the_advice_says_what_was_not_measured():
    one = [layer(0, 0.2, comprehensiveness=0.5, choice=1.0)]
    missing = {**MOSAICS, "missing": "The dataset is one of pairs."}
    assert "not possible: The dataset is one of pairs." in advice(one, mosaics=missing).text()
    older = advice([layer(0, 0.2, comprehensiveness=0.5)]).text()
    assert older.startswith("Use layer 0. An older version of the program chose it by one test")
    assert "Nothing else was measured" in advice([layer(0, 0.2)]).text()
    assert "Only one class was predicted" in advice([layer(0)]).text()
    assert "before the audit has finished" in advice([layer(0)], recommended=None).text()
