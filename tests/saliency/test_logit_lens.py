"""What layers and classes say in the language model's words; explanations compared by the file."""

import random
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from saliency_core.analysis.similar_explanations import nearest_explanations
from saliency_core.errors import UserError
from saliency_core.model.loading import load_classifier
from saliency_core.pipeline.run_audit import audit
from saliency_core.saliency.coherence import explanations as in_token_space
from saliency_core.saliency.coherence import token_directions as all_directions
from saliency_core.saliency.logit_lens import class_meanings, decoded_words, read_features
from saliency_core.store import open_store, open_writer
from saliency_core.store.read.token_directions import (
    explanations,
    set_token_directions,
    token_directions,
)
from tests.support.small_audit import options, write_csv
from tests.support.store_made_up import LAYERS, example, write_all
from tests.support.tiny_bert import WORDS, save_tiny_bert

TEXTS = [" ".join(random.Random(n).choices(WORDS, k=3 + n % 9)) for n in range(24)]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return save_tiny_bert(tmp_path_factory.mktemp("meanings"))


@pytest.fixture(scope="module")
def classifier(folders):
    return load_classifier(folders[0], lm_head=folders[1])


@pytest.fixture(scope="module")
def store(folders, tmp_path_factory):
    folder = tmp_path_factory.mktemp("audit")
    model, lm_head = folders
    chosen = replace(options(lm_head), evaluate=True)
    audit(model, write_csv(folder / "a.csv"), db=folder / "a.sqlite", options=chosen)
    return open_store(folder / "a.sqlite")


def test_a_model_that_reads_its_first_token_is_decoded_there(classifier):
    encodings = classifier.encode(TEXTS)
    features, predicted = read_features(classifier, encodings)
    with torch.no_grad():
        states, logits = classifier.forward(classifier.collate(encodings))
        top = classifier.head.features(states[-1], classifier.normed_last)[:, 0]
    np.testing.assert_allclose(features[-1], top.numpy(), atol=1e-5)
    np.testing.assert_array_equal(predicted, logits.argmax(-1).numpy())


def test_differences_of_classes_weighted_by_their_examples_cancel(classifier):
    found = class_meanings(classifier, classifier.encode(TEXTS), count=10_000)
    assert found["held"].between(0, 1).all()
    assert len(set(found["class"])) > 1
    table = found.pivot_table(index=["layer", "word"], columns="class", values="difference")
    examples = found.groupby("class")["examples"].first()
    complete = table.dropna()
    assert len(complete)
    np.testing.assert_allclose(
        (complete * examples).sum(axis=1) / examples.sum(),
        0,
        atol=1e-4 * complete.abs().max().max(),
    )


def test_one_class_means_nothing_more_than_all(classifier):
    found = class_meanings(classifier, classifier.encode(TEXTS[:1]))
    assert found["difference"].abs().max() < 1e-5


def test_decoded_words_are_chances_of_the_whole_vocabulary(classifier):
    found = decoded_words(classifier, TEXTS[0])
    by_layer = found.groupby("layer")["probability"]
    assert set(found["layer"]) == set(range(classifier.info.layers + 1))
    assert (by_layer.sum() <= 1 + 1e-6).all() and found["probability"].min() >= 0
    assert (by_layer.diff().dropna() <= 0).all()
    assert not set(found["word"]) & set(classifier.tokenizer.all_special_tokens)


def test_an_audit_keeps_the_directions_of_its_explanations(store, classifier):
    kept = token_directions(store.run())
    expected = all_directions(classifier.head.embeddings.numpy())
    alone = np.stack([kept.tokens, *2 * [np.full(len(kept.tokens), -1)]], 1)
    cosines = (kept.explanations(alone) * expected[kept.tokens]).sum(1)
    assert cosines.min() > 0.999
    for layer in range(4):
        _, tokens = explanations(store.run().filter(), layer)
        assert (kept.rows_of(tokens[tokens >= 0]) >= 0).all()
    assert "good" in kept.texts
    assert store.run().table("meanings")["layer"].max() == 3


def test_neighbours_are_those_of_all_cosines(store, classifier):
    directions = all_directions(classifier.head.embeddings.numpy())
    position = int(store.run().filter("-failed").positions()[0])
    positions, tokens = explanations(store.run().filter(), 2)
    q = in_token_space(directions, tokens)
    own = in_token_space(directions, store.run().example(position)["explanation"][2][None])[0]
    cosine = pd.Series(q @ own, positions).drop(position)
    found = nearest_explanations(store.run().filter(), position, 2, count=4)
    assert position not in set(found["example"])
    for answer, part in found.groupby("answer"):
        assert store.run().filter(answer).mask()[part["example"]].all() or answer == "unknown"
        np.testing.assert_allclose(part["cosine"], cosine[part["example"]], atol=0.02)
        best = cosine[cosine.index.isin(store.run().filter(answer).positions())].nlargest(len(part))
        np.testing.assert_allclose(part["cosine"], best, atol=0.02)


def test_neighbours_stay_within_their_slice_and_sample(store):
    position = int(store.run().filter("-failed").positions()[0])
    found = nearest_explanations(store.run().filter("right"), position, 1, count=3)
    assert set(found["answer"]) <= {"right"}
    assert len(explanations(store.run().filter(), 1, limit=1)[0]) <= len(
        store.run().filter().positions()
    )


def test_a_run_in_which_no_word_speaks_for_an_answer_has_no_neighbours(tmp_path):
    with open_writer(tmp_path / "a.sqlite") as writer:
        write_all(writer, [replace(example(n), pair=None) for n in range(8)])
        set_token_directions(writer, 1, np.zeros(0, np.int64), [], np.zeros((0, 4), np.float32))
    made_up = open_store(tmp_path / "a.sqlite").run()
    assert token_directions(made_up).explanations(np.full((2, 3), -1)).shape == (2, 0)
    with pytest.raises(UserError, match="No word speaks"):
        nearest_explanations(made_up.filter(), 0, 1)


def test_a_file_without_directions_says_so(tmp_path):
    with open_writer(tmp_path / "a.sqlite") as writer:
        write_all(writer, [replace(example(n), pair=None) for n in range(8)])
    made_up = open_store(tmp_path / "a.sqlite").run()
    assert token_directions(made_up) is None
    assert explanations(made_up.filter(), LAYERS)[1].shape[1] == 3
    with pytest.raises(UserError, match="token directions"):
        nearest_explanations(made_up.filter(), 0, 1)
