"""The undecoded maps against Captum, an implementation of others, on several architectures."""

import pytest
import torch
from captum.attr import IntegratedGradients, LayerConductance, LayerGradientXActivation

from saliency_core.model.loading import load_classifier
from saliency_core.saliency.attributor import Attributor
from saliency_core.saliency.references import Pairing
from tests.support.tiny_models import TEXTS, blanked, save_tiny

MODULES = {
    "bert": lambda body: [body.embeddings, *body.encoder.layer],
    "roberta": lambda body: [body.embeddings, *body.encoder.layer],
    "electra": lambda body: [body.embeddings_project, *body.encoder.layer],
    "distilbert": lambda body: [body.embeddings, *body.transformer.layer],
    # The last state of GPT-2 is the one behind its final norm.
    "gpt2": lambda body: [body.drop, *body.h[:-1], body.ln_f],
}
"""The modules whose outputs are the states of a layer."""
MANY = 100


@pytest.fixture(scope="module", params=list(MODULES))
def one(request, tmp_path_factory):
    """Return a classifier, its layers' modules, and one text as a batch with its blank."""
    model, lm_head = save_tiny(request.param, tmp_path_factory.mktemp(request.param))
    classifier = load_classifier(model, lm_head=lm_head)
    encodings = classifier.encode(TEXTS[:1])
    ids = classifier.collate(encodings)["input_ids"]
    blank = classifier.collate([blanked(classifier, encodings[0])])["input_ids"]
    return classifier, MODULES[request.param](classifier.model.base_model), encodings, ids, blank


def test_one_step_from_zero_is_gradient_times_activation(one, monkeypatch):
    classifier, modules, encodings, ids, _ = one
    monkeypatch.setattr(Pairing, "matched", lambda pairing, values: torch.zeros_like(values[:1]))
    maps = Attributor(classifier, rule="path", steps=1).maps(encodings, [None])
    target = int(maps.logits.argmax())
    classifier.model.requires_grad_(True)
    for layer, module in enumerate(modules):
        captum = LayerGradientXActivation(lambda ids: classifier.model(ids).logits, module)
        found = _tensor(captum.attribute(ids, target))
        assert torch.allclose(maps.local[0, layer, 0], found[0].sum(-1), atol=1e-5), layer
    classifier.model.requires_grad_(False)


def logits_of(classifier):
    return lambda embeddings: classifier.model(inputs_embeds=embeddings).logits


def test_many_steps_are_conductance(one):
    """Within 0.5 % of the greatest score at 100 steps.

    Captum takes each gradient at the start of its step only, so its error falls with the first
    power of the steps. From the text to the blank the same error has the other sign.
    """
    classifier, modules, encodings, ids, blank = one
    maps = Attributor(classifier, rule="path", steps=MANY).maps(encodings, [None])
    target = int(maps.logits.argmax())
    words = classifier.model.get_input_embeddings()
    ends = words(ids).detach(), words(blank).detach()
    classifier.model.requires_grad_(True)
    for layer, module in enumerate(modules):
        captum = LayerConductance(logits_of(classifier), module)
        to_text, to_blank = (
            _tensor(
                captum.attribute(*pair, target, n_steps=MANY, internal_batch_size=MANY)
            ).detach()
            for pair in (ends, ends[::-1])
        )
        expected = (to_text - to_blank)[0].sum(-1) / 2
        away = (maps.local[0, layer, 0] - expected).abs().max()
        assert away <= 0.005 * expected.abs().max(), layer
    classifier.model.requires_grad_(False)


def test_layer_zero_is_integrated_gradients_from_the_blank(one):
    """Within 1 % of the greatest score at 100 steps."""
    classifier, _, encodings, ids, blank = one
    maps = Attributor(classifier, rule="path", steps=MANY).maps(encodings, [None])
    words = classifier.model.get_input_embeddings()
    found = IntegratedGradients(logits_of(classifier)).attribute(
        words(ids).detach(),
        words(blank).detach(),
        int(maps.logits.argmax()),
        n_steps=MANY,
        internal_batch_size=MANY,
    )
    expected = found[0].sum(-1).float()
    away = (maps.local[0, 0, 0] - expected).abs().max()
    assert away <= 0.01 * expected.abs().max()


def test_saliency_is_the_map_decoded_by_the_whole_head(one):
    """Every layer decoded apart, all positions, over the language model's own logits."""
    classifier, _, encodings, ids, _ = one
    maps = Attributor(classifier).maps(encodings, [None])
    head = classifier.head
    states, _ = classifier.forward(classifier.collate(encodings))
    text = ids[0][maps.own[0]]
    for layer, state in enumerate(states):
        normed = classifier.normed_last and layer == classifier.info.layers
        logits = head.features(state, normed)[0] @ head.embeddings.T  # (token, vocab)
        if head.bias is not None:
            logits = logits + head.bias
        expected = torch.zeros(len(text))
        for i, score in enumerate(maps.local[0, layer, 0]):
            expected += score * _row(logits[i, text], i, ids[0], maps.own[0], head.causal)
        found = maps.saliency[0, layer, 0][maps.own[0]]
        assert torch.allclose(found, expected, atol=1e-5), layer


def _row(scores, i, ids, own, causal):
    """Return how position i shares its score among the text's own tokens by decoding."""
    places = own.nonzero().squeeze(1)
    allowed = torch.tensor([j == i or not (own[i] and ids[j] == ids[i]) for j in places.tolist()])
    if causal and (before := allowed & (places <= i)).any():
        allowed = before
    return torch.softmax(scores.masked_fill(~allowed, float("-inf")), 0)


def _tensor(found):
    return found[0] if isinstance(found, tuple) else found
