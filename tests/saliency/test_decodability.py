"""Decodability and the streamed coherence of a run."""

import numpy as np
import pytest
import torch

from saliency_core.model.loading import load_classifier
from saliency_core.pipeline.layer_summary import LayerCoherence
from saliency_core.saliency.coherence import explanations, token_directions
from saliency_core.saliency.decodability import decodability
from tests.support.tiny_models import TEXTS, save_tiny


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    model, lm_head = save_tiny("bert", tmp_path_factory.mktemp("tiny"))
    return load_classifier(model, lm_head=lm_head)


def test_decodability_is_the_heads_own_probability_of_each_token(classifier):
    encodings = classifier.encode(TEXTS[:1])
    found = decodability(classifier, encodings, seed=0)
    assert found.positions.tolist() == [np.count_nonzero(~encodings[0].special)]
    np.testing.assert_allclose(found.of_texts[:, 0], found.own, rtol=1e-6)
    found = found.own
    states, _ = classifier.forward(classifier.collate(encodings))
    own = torch.from_numpy(np.flatnonzero(~encodings[0].special))
    ids = torch.tensor(encodings[0].input_ids)[own]
    for number, state in enumerate(states):
        # The pretrained head as its authors run it.
        logits = classifier.head.model.cls(state)[0]
        chance = torch.softmax(logits, -1)[own, ids].mean()
        assert found[number] == pytest.approx(chance.item(), abs=1e-5)


def test_decodability_of_a_sample_is_the_mean_of_its_texts_by_their_tokens(classifier):
    found = decodability(classifier, classifier.encode(TEXTS), seed=0)
    assert found.of_texts.shape == (len(found.own), len(found.positions))
    alone = decodability(classifier, classifier.encode(TEXTS[:1]), seed=0).own
    assert np.isclose(found.of_texts, alone[:, None], atol=1e-5).all(0).any()
    np.testing.assert_allclose(
        np.average(found.of_texts, axis=1, weights=found.positions), found.own, rtol=1e-5
    )


def test_coherence_of_layers_equals_the_sum_over_all_pairs(classifier):
    draw = np.random.default_rng(2)
    vocabulary = len(classifier.head.embeddings)
    predicted = draw.integers(0, 3, 30)
    tokens = draw.integers(5, vocabulary, (3, 30, 3)).astype(np.int32)
    streamed = LayerCoherence(classifier, 3, seed=0)
    for start in range(0, 30, 7):
        part = slice(start, start + 7)
        streamed.add(predicted[part], tokens[:, part])
    directions = token_directions(classifier.head.embeddings.numpy())
    for number, summary in enumerate(streamed.summaries()):
        q = explanations(directions, tokens[number])
        cosines = q @ q.T
        pairs = ~np.eye(30, dtype=bool)
        same = predicted[:, None] == predicted
        expected = cosines[same & pairs].mean() - cosines[~same].mean()
        assert summary.coherence == pytest.approx(expected, abs=1e-6)
        assert summary.low < summary.high


def test_the_uniform_baseline_is_the_coherence_of_pointing_at_every_token(classifier):
    texts = [*TEXTS, "the plot was good", "a bad scene"]
    encodings = classifier.encode(texts)
    predicted = np.array([0, 1, 0, 1, 0, 1])
    directions = token_directions(classifier.head.embeddings.numpy())
    q = []
    for encoding in encodings:
        total = directions[np.array(encoding.input_ids)[~encoding.special]].sum(0)
        q.append(total / np.linalg.norm(total))
    cosines = np.array(q) @ np.array(q).T
    same = predicted[:, None] == predicted
    expected = cosines[same & ~np.eye(6, dtype=bool)].mean() - cosines[~same].mean()
    found = LayerCoherence(classifier, 2, seed=0).uniform_baseline(encodings, predicted)
    assert found == pytest.approx(expected, abs=1e-6)
