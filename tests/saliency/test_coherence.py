"""Streaming coherence is the definition over all pairs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saliency_core.saliency.coherence import (
    CoherenceSums,
    bootstrap_interval,
    coherence,
    explanations,
    token_directions,
)

CLASSES = 3


def drawn(seed, examples=30, size=6, empty=3):
    """Return unit explanations, some of them none, and predicted classes."""
    draw = np.random.default_rng(seed)
    q = draw.normal(size=(examples, size)).astype(np.float32) + 0.5
    q /= np.linalg.norm(q, axis=1, keepdims=True)
    q[draw.choice(examples, min(empty, examples), replace=False)] = 0
    return q, draw.integers(0, CLASSES, examples)


def by_pairs(q, predicted, weights=None):
    """Return C by going through all pairs of two examples, O(N^2); None where undefined."""
    weights = np.ones(len(q)) if weights is None else weights
    total = {True: 0.0, False: 0.0}
    pairs = {True: 0.0, False: 0.0}
    for e in range(len(q)):
        for f in range(len(q)):
            if e != f and q[e].any() and q[f].any():
                same = bool(predicted[e] == predicted[f])
                total[same] += weights[e] * weights[f] * float(q[e].astype(float) @ q[f])
                pairs[same] += weights[e] * weights[f]
    if not (pairs[True] and pairs[False]):
        return None
    return total[True] / pairs[True] - total[False] / pairs[False]


@given(st.integers(0, 10_000), st.integers(1, 25), st.integers(0, 4))
@settings(max_examples=40, deadline=None)
def test_streaming_is_the_definition(seed, examples, empty):
    q, predicted = drawn(seed, examples, empty=empty)
    sums = CoherenceSums(CLASSES, q.shape[1])
    for start in range(0, examples, 7):
        sums.add(q[start : start + 7], predicted[start : start + 7])
    expected = by_pairs(q, predicted)
    found = sums.coherence()
    assert (found is None) == (expected is None)
    if expected is not None:
        assert found == pytest.approx(expected, abs=1e-6)


def test_an_examples_coherence_is_its_mean_over_pairs():
    q, predicted = drawn(1)
    sums = CoherenceSums(CLASSES, q.shape[1])
    sums.add(q, predicted)
    found = sums.of_examples(q, predicted)
    cosines = q.astype(float) @ q.T
    real = q.any(1)
    for e in range(len(q)):
        others = real & (np.arange(len(q)) != e)
        same, other = others & (predicted == predicted[e]), others & (predicted != predicted[e])
        if not real[e]:
            assert np.isnan(found[e])
        else:
            expected = cosines[e, same].mean() - cosines[e, other].mean()
            assert found[e] == pytest.approx(expected, abs=1e-5)


def test_one_predicted_class_leaves_it_undefined():
    q, _ = drawn(2)
    predicted = np.zeros(len(q), int)
    sums = CoherenceSums(CLASSES, q.shape[1])
    sums.add(q, predicted)
    assert sums.coherence() is None
    assert np.isnan(sums.of_examples(q, predicted)).all()
    assert bootstrap_interval(q, predicted, CLASSES) == (None, None)


def test_meaning_alike_when_decided_alike_is_coherent():
    axes = np.eye(CLASSES, dtype=np.float32)
    predicted = np.arange(30) % CLASSES
    sums = CoherenceSums(CLASSES, CLASSES)
    sums.add(axes[predicted], predicted)
    assert sums.coherence() == pytest.approx(1.0)
    shuffled = CoherenceSums(CLASSES, CLASSES)
    shuffled.add(axes[np.random.default_rng(0).permutation(predicted)], predicted)
    assert abs(shuffled.coherence()) < 0.2


def test_the_bootstrap_draws_examples_with_replacement():
    q, predicted = drawn(3, examples=12, empty=1)
    real = q.any(1)
    draw = np.random.default_rng(5)
    n = int(real.sum())
    values = []
    for row in draw.integers(0, n, (50, n)):
        weights = np.zeros(len(q))
        weights[np.flatnonzero(real)] = np.bincount(row, minlength=n)
        # Pairs of one example with itself, drawn twice, do not count: `by_pairs` has none.
        value = by_pairs(q, predicted, weights)
        if value is not None:
            values.append(value)
    low, high = bootstrap_interval(q, predicted, CLASSES, repeats=50, seed=5)
    assert (low, high) == pytest.approx(tuple(np.percentile(values, [2.5, 97.5])), abs=1e-6)
    assert bootstrap_interval(q, predicted, CLASSES, repeats=50, seed=5) == (low, high)


def test_no_explanation_has_no_interval():
    assert bootstrap_interval(np.zeros((4, 3)), np.arange(4) % 2, 2) == (None, None)
    assert coherence(np.zeros((2, 3)), np.zeros(2), np.zeros(2)) is None


def test_directions_are_centred_and_of_length_one():
    embeddings = np.random.default_rng(0).normal(3, 1, (50, 8)).astype(np.float32)
    before = embeddings.copy()
    directions = token_directions(embeddings)
    centred = before - before.mean(0)
    assert np.allclose(
        directions, centred / np.linalg.norm(centred, axis=1, keepdims=True), atol=1e-5
    )
    assert np.array_equal(embeddings, before), "the head's own weights stay as they are"


def test_an_explanation_is_the_direction_of_its_tokens_together():
    directions = token_directions(np.random.default_rng(0).normal(size=(9, 4)))
    q = explanations(directions, np.array([[1, 2, 3], [4, -1, -1], [-1, -1, -1]]))
    together = directions[[1, 2, 3]].sum(0)
    assert np.allclose(q[0], together / np.linalg.norm(together), atol=1e-6)
    assert np.allclose(q[1], directions[4], atol=1e-6)
    assert not q[2].any()
