"""The recommended layer, decodability and the streamed coherence of a run."""

import numpy as np
import pandas as pd
import pytest
import torch
from tiny_models import TEXTS, save_tiny

from saliency_core.model.loading import load_classifier
from saliency_core.pipeline.layer_summary import (
    LayerCoherence,
    decodability,
    recommend,
    summaries_of,
    with_values,
)
from saliency_core.records import LayerSummary
from saliency_core.saliency.coherence import explanations, token_directions

PLAIN = {"zero_line": 0.1, "decodability": None}


def layer(number, coherence, low=None, high=None, comprehensiveness=None):
    return LayerSummary(number, coherence, low, high, comprehensiveness=comprehensiveness, **PLAIN)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    model, lm_head = save_tiny("bert", tmp_path_factory.mktemp("tiny"))
    return load_classifier(model, lm_head=lm_head)


def test_without_evaluation_the_most_coherent_layer_and_what_overlaps_it():
    layers = [layer(0, 0.2, 0.1, 0.3), layer(1, 0.4, 0.25, 0.5), layer(2, 0.3, 0.1, 0.24)]
    layers.append(layer(3, 0.9, 0.3, 1.0))
    # The last block is coherent by itself: one state decodes to all of its words.
    assert recommend(layers) == (1, [0])


def test_evaluated_the_most_comprehensive_layer_above_the_zero_line():
    layers = [
        layer(0, 0.05, comprehensiveness=0.9),
        layer(1, 0.20, comprehensiveness=0.4),
        layer(2, 0.15, comprehensiveness=0.6),
    ]
    intervals = [(0.8, 1.0), (0.3, 0.5), (0.45, 0.7)]
    # Layer 0 is below the zero line of 0.1, however comprehensive.
    assert recommend(layers, intervals) == (2, [1])


def test_where_no_layer_is_above_the_zero_line_all_take_part():
    layers = [layer(0, 0.05, comprehensiveness=0.2), layer(1, 0.01, comprehensiveness=0.6)]
    assert recommend(layers, [(0.1, 0.3), (0.5, 0.7)]) == (1, [])


def test_with_one_predicted_class_the_block_before_the_last():
    assert recommend([layer(number, None) for number in range(4)]) == (2, [])


def test_summaries_survive_the_frame_of_the_store():
    layers = [layer(0, 0.2, 0.1, 0.3, 0.5), layer(1, None)]
    frame = pd.DataFrame([vars(row) for row in layers]).astype({"coherence": float})
    assert summaries_of(frame) == layers
    assert with_values(layers, sufficiency=[np.nan, 0.25])[1].sufficiency == 0.25
    assert with_values(layers, sufficiency=[np.nan, 0.25])[0].sufficiency is None


def test_decodability_is_the_heads_own_probability_of_each_token(classifier):
    encodings = classifier.encode(TEXTS[:1])
    found = decodability(classifier, encodings, seed=0).own
    states, _ = classifier.forward(classifier.collate(encodings))
    own = torch.from_numpy(np.flatnonzero(~encodings[0].special))
    ids = torch.tensor(encodings[0].input_ids)[own]
    for number, state in enumerate(states):
        # The pretrained head as its authors run it.
        logits = classifier.head.model.cls(state)[0]
        chance = torch.softmax(logits, -1)[own, ids].mean()
        assert found[number] == pytest.approx(chance.item(), abs=1e-5)


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


def test_the_zero_line_is_the_coherence_of_pointing_at_every_token(classifier):
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
    found = LayerCoherence(classifier, 2, seed=0).zero_line(encodings, predicted)
    assert found == pytest.approx(expected, abs=1e-6)
