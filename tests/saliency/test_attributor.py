"""Laws of the saliency of a batch, on a tiny seeded BERT and against Captum."""

import numpy as np
import pytest
import torch
from captum.attr import LayerGradientXActivation

from saliency_core.model.loading import load_classifier
from saliency_core.records import Example
from saliency_core.saliency.attributor import Attributor
from saliency_core.words import word_scores
from tests.support.tiny_bert import WORDS, save_tiny_bert
from tests.support.tiny_models import blanked

TEXTS = [
    "the film was good .",
    "a dull plot , bad actor",
    "unhappy scene",
    "the bright bright actor was unhappily nice , the film was good , the plot was dull .",
]


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    model, lm_head = save_tiny_bert(tmp_path_factory.mktemp("tiny"))
    return load_classifier(model, lm_head=lm_head)


def test_decoding_keeps_the_total_and_specials_get_nothing(classifier):
    maps = Attributor(classifier).maps(classifier.encode(TEXTS), [None] * 4)
    assert torch.allclose(maps.saliency.sum(-1), maps.local.sum(-1), atol=1e-4)
    assert maps.saliency[:, :, ~maps.own].abs().max() == 0


def test_one_step_equals_captum_at_every_layer(classifier):
    encodings = classifier.encode(TEXTS[:1])
    batch = classifier.collate(encodings)
    maps = Attributor(classifier, rule="path", steps=1).maps(encodings, [None])
    predicted = int(maps.logits.argmax())
    references, _ = classifier.forward(classifier.collate([blanked(classifier, encodings[0])]))
    classifier.model.enable_input_require_grads()
    states, logits = classifier.forward(batch)
    classifier.model.disable_input_require_grads()
    gradients = torch.autograd.grad(logits[0, predicted], states)
    modules = [classifier.model.bert.embeddings, *classifier.model.bert.encoder.layer]

    def logit(ids):
        return classifier.model(ids, attention_mask=batch["attention_mask"]).logits

    for layer, module in enumerate(modules):
        with torch.enable_grad():
            classifier.model.requires_grad_(True)
            captum = LayerGradientXActivation(logit, module).attribute(
                batch["input_ids"], target=predicted
            )
            classifier.model.requires_grad_(False)
        captum = captum[0] if isinstance(captum, tuple) else captum
        of_reference = (gradients[layer][0] * references[layer][0]).sum(-1)
        expected = captum[0].sum(-1) - of_reference
        assert torch.allclose(maps.local[0, layer, 0], expected, atol=1e-5)


@pytest.mark.parametrize("size", [1, 7, 32])
def test_batch_size_order_and_neighbours_change_no_score(classifier, size):
    draw = np.random.default_rng(size)
    texts = [" ".join(draw.choice(WORDS[:10], draw.integers(1, 12))) for _ in range(33)]
    texts.append(" ".join(draw.choice(WORDS, 60)))  # a very long neighbour
    encodings = classifier.encode(texts)
    attributor = Attributor(classifier)
    alone = [attributor.maps([encoding], [None]) for encoding in encodings]
    order = draw.permutation(len(texts))
    for start in range(0, len(order), size):
        rows = order[start : start + size]
        maps = attributor.maps([encodings[row] for row in rows], [None] * len(rows))
        for place, row in enumerate(rows):
            own = alone[row].saliency[:, :, 0][:, :, alone[row].own[0]]
            other = maps.saliency[:, :, place][:, :, maps.own[place]]
            # Beside longer texts attention sums over more keys, in another order; the rounding of
            # that grows on its way back to the embeddings, and with the score. In float64 the
            # gradients agree to 1e-14, and float32's are as far from those alone as in a batch.
            assert (own - other).abs().max() <= 1e-5 * max(1.0, own.abs().max().item())


def test_a_second_target_costs_one_backward_pass_more(classifier):
    passes = {"forward": 0, "backward": 0}
    attributor = Attributor(classifier)
    encodings = classifier.encode(TEXTS)
    right = classifier.logits(encodings).argmax(1).tolist()

    def count(module, arguments, output):
        passes["forward"] += 1
        output.logits.register_hook(lambda gradient: _count(passes))

    hook = classifier.model.register_forward_hook(count)
    try:
        assert len(attributor.maps(encodings, right).saliency) == 1
        assert passes == {"forward": 1, "backward": 1}
        wrong = [right[0], (right[1] + 1) % 3, *right[2:]]
        assert len(attributor.maps(encodings, wrong).saliency) == 2
        assert passes == {"forward": 2, "backward": 3}
    finally:
        hook.remove()


def _count(passes):
    passes["backward"] += 1


def test_contrast_is_predicted_minus_gold(classifier):
    encodings = classifier.encode(TEXTS)
    predicted = classifier.logits(encodings).argmax(1)
    gold = [int((label + 1) % 3) for label in predicted]
    by_predicted = Attributor(classifier).maps(encodings, gold)
    by_gold = Attributor(classifier, target="gold").maps(encodings, gold)
    difference = by_predicted.saliency[0] - by_gold.saliency[0]
    assert torch.allclose(by_predicted.saliency[1], difference, atol=1e-4)


def test_words_add_up_and_lie_on_the_text(classifier):
    examples = [Example(number, str(number), text) for number, text in enumerate(TEXTS)]
    audited = Attributor(classifier).audit(examples, classifier.encode(TEXTS), [None] * 4)
    row = audited[2]
    assert row.words == ("unhappy", "scene")
    assert [TEXTS[2][start:end] for start, end in row.word_spans] == ["unhappy", "scene"]
    scores = row.saliency[0].scores.astype(np.float32)
    by_word = word_scores(scores, row.word_of_token, len(row.words))
    assert np.allclose(by_word.sum(1), scores.sum(1), atol=1e-5)


def test_an_empty_text_fails_alone(classifier):
    examples = [Example(0, "0", "the film"), Example(1, "1", "  ")]
    encodings = classifier.encode([example.text for example in examples])
    audited = Attributor(classifier).audit(examples, encodings, [None, None])
    assert audited[0].failure is None
    assert audited[1].failure == "The text is empty."
