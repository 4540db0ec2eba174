"""The laws of saliency on a tiny seeded model of every architecture that users have."""

import numpy as np
import pytest
import torch

from saliency_core.model.loading import load_classifier
from saliency_core.records import Example
from saliency_core.saliency.attributor import Attributor, Reach
from tests.support.tiny_models import KINDS, TEXTS, save_tiny


@pytest.fixture(scope="module", params=list(KINDS))
def classifier(request, tmp_path_factory):
    model, lm_head = save_tiny(request.param, tmp_path_factory.mktemp(request.param))
    return load_classifier(model, lm_head=lm_head)


def test_an_audit_gives_every_token_a_score_at_every_layer(classifier):
    examples = [Example(number, str(number), text) for number, text in enumerate(TEXTS)]
    audited = Attributor(classifier).audit(examples, classifier.encode(TEXTS), [0, 1, 2, None])
    assert classifier.info.layers == 2
    for row, text in zip(audited, TEXTS, strict=True):
        assert row.failure is None
        assert row.saliency[0].scores.shape == (3, len(row.token_ids))
        assert len(row.token_ids) > 0
        assert np.abs(row.saliency[0].scores.astype(float)).sum() > 0
        assert row.chars_seen == len(text)
        assert [text[start:end].strip() for start, end in row.word_spans] == list(row.words)


def test_the_scores_of_every_layer_add_up(classifier):
    attributor = Attributor(classifier)
    assert attributor.reach == Reach("secant", {})
    maps = attributor.maps(classifier.encode(TEXTS), [None] * 4)
    assert torch.allclose(maps.total, maps.change[:, None], rtol=1e-4, atol=1e-6)
    assert torch.allclose(maps.saliency.sum(-1), maps.total, atol=1e-5)
    assert maps.saliency[:, :, ~maps.own].abs().max() == 0


def test_many_steps_of_the_path_come_near(classifier):
    maps = Attributor(classifier, rule="path", steps=64).maps(classifier.encode(TEXTS), [None] * 4)
    # In logits too: a random model may answer a text as it does its reference.
    assert torch.allclose(maps.total, maps.change[:, None], rtol=0.02, atol=5e-4)


def test_neighbours_and_order_change_no_score(classifier):
    encodings = classifier.encode([*TEXTS, " ".join(TEXTS[:2])[:80]])
    attributor = Attributor(classifier)
    alone = [attributor.maps([row], [None]) for row in encodings]
    for rows in ([0, 1, 2, 3, 4], [4, 2], [3, 0, 1]):
        together = attributor.maps([encodings[row] for row in rows], [None] * len(rows))
        for place, row in enumerate(rows):
            own = alone[row].saliency[:, :, 0][:, :, alone[row].own[0]]
            other = together.saliency[:, :, place][:, :, together.own[place]]
            assert (own - other).abs().max() <= 1e-5


def test_padding_has_no_gradient(classifier):
    batch = classifier.collate(classifier.encode(TEXTS))
    padding = batch["attention_mask"] == 0
    classifier.model.enable_input_require_grads()
    states, logits = classifier.forward(batch)
    classifier.model.disable_input_require_grads()
    assert padding.any()
    layers = states[: classifier.info.layers + 1]
    for gradient in torch.autograd.grad(logits.max(-1).values.sum(), layers):
        assert gradient[padding].abs().max() == 0
        assert gradient[~padding].abs().max() > 0


@pytest.mark.parametrize(("options", "passes"), [({}, 1), ({"rule": "path", "steps": 3}, 3)])
def test_one_forward_and_one_backward_pass_or_m_of_each(classifier, options, passes):
    done = {"forward": 0, "backward": 0}

    def count(module, arguments, output):
        done["forward"] += 1
        if output.logits.requires_grad:
            output.logits.register_hook(lambda gradient: done.update(backward=done["backward"] + 1))

    attributor = Attributor(classifier, **options)
    hook = classifier.model.register_forward_hook(count)
    try:
        attributor.maps(classifier.encode(TEXTS), [None] * 4)
    finally:
        hook.remove()
    assert done == {"forward": passes, "backward": passes}
