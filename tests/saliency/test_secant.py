"""The secant rule's laws: every operation adds up, and so does every layer of a model."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from saliency_core.model.loading import load_classifier
from saliency_core.records import Example
from saliency_core.saliency.attributor import Attributor, Reach
from saliency_core.saliency.references import Pairing, pair_up
from saliency_core.saliency.rules.common import logarithmic_mean
from saliency_core.saliency.secant import RULES, Secant, secant_maps
from tests.support.hand_written_bert import HandWrittenBert
from tests.support.tiny_models import TEXTS, save_tiny

HIDDEN = 6


def draw(*shape, seed=0, scale=1.0):
    make = torch.Generator().manual_seed(seed)
    return scale * torch.randn(*shape, generator=make, dtype=torch.float64)


PAIRINGS = {
    "one layout": Pairing((0, 0, 0, 0)),
    "two layouts": Pairing((0, 0, 1, 1)),
    "many layouts": Pairing((0, 1, 2, 3, 4)),
}
NEAR = {"apart": 1.0, "near": 1e-6, "nearer": 1e-12, "equal": 0.0}


def rows(pairing, *shape, seed=0, near=1.0, scale=1.0):
    """Return texts, and references that differ from them by `near`; texts of one reference differ
    from each other alike."""
    references = draw(pairing.rows - pairing.texts, *shape, seed=seed, scale=scale)
    away = draw(pairing.texts, *shape, seed=seed + 1, scale=scale)
    texts = references[list(pairing.reference_of)] + near * away
    return torch.cat([texts, references]).requires_grad_(True)


def assert_adds_up(pairing, function, *inputs):
    """The multipliers of all inputs, times their differences, are the difference of the output."""
    with Secant(pairing):
        output = function(*inputs)
    weights = draw(*output.shape, seed=9)
    weights[pairing.texts :] = 0
    found = torch.autograd.grad((weights * output).sum(), inputs)
    expected = (weights[: pairing.texts] * pairing.differences(output.detach())).flatten(1).sum(1)
    total = sum(
        (multiplier[: pairing.texts] * pairing.differences(value.detach())).flatten(1).sum(1)
        for multiplier, value in zip(found, inputs, strict=True)
    )
    assert torch.isfinite(total).all()
    assert torch.allclose(total, expected, rtol=1e-10, atol=1e-10)


ELEMENTWISE = {
    "gelu": F.gelu,
    "gelu by tanh": lambda x: F.gelu(x, approximate="tanh"),
    "gelu by hand": lambda x: 0.5 * x * (1 + torch.tanh(0.8 * (x + 0.045 * torch.pow(x, 3)))),
    "silu": F.silu,
    "silu by hand": lambda x: x * torch.sigmoid(x),
    "relu": torch.relu,
    "relu in place": lambda x: F.relu(x + 0, inplace=True),
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "mish": F.mish,
    "softplus": F.softplus,
    "exp": torch.exp,
    "erf": torch.erf,
    "square": torch.square,
    "power": lambda x: x**2,
    "cube": lambda x: x**3,
    "square root": lambda x: torch.sqrt(x.square() + 1),
    "rsqrt": lambda x: torch.rsqrt(x.square() + 1e-3),
    "reciprocal": lambda x: 1 / (x.square() + 1),
    "power of two": lambda x: 2**x,
    "clamp": lambda x: x.clamp(-0.5, 0.5),
    "absolute": torch.abs,
    "squares itself": lambda x: x * x,
    "in place, by its method": lambda x: (x + 0).atan_(),
    "in place": lambda x: (x + 0).mul_(x).tanh_(),
}


@pytest.mark.parametrize("near", NEAR)
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_elementwise_functions_add_up(name, near):
    pairing = PAIRINGS["two layouts"]
    assert_adds_up(pairing, ELEMENTWISE[name], rows(pairing, 3, HIDDEN, near=NEAR[near]))


BY_VECTOR = {
    "softmax": lambda x: x.softmax(-1),
    "softmax of another axis": lambda x: torch.softmax(x, dim=1),
    "log softmax": lambda x: F.log_softmax(x, dim=-1),
    "log sum exp": lambda x: torch.logsumexp(x, -1),
    "layer norm": lambda x: F.layer_norm(x, (HIDDEN,), draw(HIDDEN, seed=4), draw(HIDDEN, seed=5)),
    "layer norm without weights": lambda x: F.layer_norm(x, (HIDDEN,)),
    "rms norm": lambda x: F.rms_norm(x, (HIDDEN,), draw(HIDDEN, seed=4)),
    "variance": lambda x: x.var(-1),
    "deviation": lambda x: x.std(-1, keepdim=True, correction=0),
    "gated": lambda x: F.glu(x, -1),
}


@pytest.mark.parametrize("pairing", PAIRINGS)
@pytest.mark.parametrize("near", NEAR)
@pytest.mark.parametrize("name", BY_VECTOR)
def test_functions_of_vectors_add_up(name, near, pairing):
    if name == "deviation" and near == "equal":
        pytest.skip("of equal vectors only the root is not smooth at zero; they are not equal")
    pairing = PAIRINGS[pairing]
    assert_adds_up(pairing, BY_VECTOR[name], rows(pairing, 3, HIDDEN, near=NEAR[near], scale=3.0))


PRODUCTS = {
    "times": lambda a, b: a * b,
    "times, broadcast": lambda a, b: a * b[:, :1],
    "over": lambda a, b: a / (b.square() + 1),
    "matrices": lambda a, b: a @ b.transpose(1, 2),
    "matrices by bmm": lambda a, b: torch.bmm(a, b.transpose(1, 2)),
    "matrices by einsum": lambda a, b: torch.einsum("bik,bjk->bij", a, b),
    "matrices by einsum of a list": lambda a, b: torch.einsum("bik,bjk->bij", [a, b]),
    "added to": lambda a, b: torch.baddbmm(a[:, :, :3], a, b.transpose(1, 2), beta=0.5, alpha=2),
}


@pytest.mark.parametrize("pairing", PAIRINGS)
@pytest.mark.parametrize("name", PRODUCTS)
def test_products_add_up(name, pairing):
    pairing = PAIRINGS[pairing]
    inputs = rows(pairing, 3, HIDDEN), rows(pairing, 3, HIDDEN, seed=5)
    assert_adds_up(pairing, PRODUCTS[name], *inputs)


def mask_of(pairing):
    mask = torch.zeros(pairing.rows, 1, 1, 3, dtype=torch.float64)
    mask[..., 2] = torch.finfo(torch.float64).min
    return mask


ATTENTION = {
    "plain": {},
    "causal": {"is_causal": True},
    "scaled": {"scale": 0.3},
    "masked": {"attn_mask": True},
}


@pytest.mark.parametrize("pairing", PAIRINGS)
@pytest.mark.parametrize("options", ATTENTION)
def test_attention_adds_up_and_is_the_same_by_hand(options, pairing):
    pairing, options = PAIRINGS[pairing], dict(ATTENTION[options])
    if "attn_mask" in options:
        options["attn_mask"] = mask_of(pairing)
    q, k, v = (rows(pairing, 2, 3, 4, seed=seed, scale=2.0) for seed in (0, 5, 7))

    def fused(q, k, v):
        return F.scaled_dot_product_attention(q, k, v, **options)

    def by_hand(q, k, v):
        scores = q @ k.transpose(-1, -2) * options.get("scale", 0.5)
        if "is_causal" in options:
            scores = scores.masked_fill(~torch.ones(3, 3, dtype=bool).tril(), -math.inf)
        scores = scores + options.get("attn_mask", 0)
        return scores.softmax(-1) @ v

    found = []
    for function in (fused, by_hand):
        assert_adds_up(pairing, function, q, k, v)
        with Secant(pairing):
            output = function(q, k, v)
        assert torch.allclose(output, F.scaled_dot_product_attention(q, k, v, **options))
        found.append(torch.autograd.grad(output[: pairing.texts].sum(), (q, k, v)))
    for fused_one, other in zip(*found, strict=True):
        assert torch.allclose(fused_one, other, atol=1e-12)


def test_a_row_that_is_masked_whole_passes_nothing_on():
    pairing = PAIRINGS["one layout"]
    scores = rows(pairing, 3, 3)
    mask = torch.tensor([[0.0, 0, 0], [-math.inf] * 3, [0, -math.inf, 0]], dtype=torch.float64)
    with Secant(pairing):
        chances = (scores + mask).softmax(-1)
    (found,) = torch.autograd.grad(chances[:4].square().sum(), scores)
    assert torch.isfinite(found).all()
    assert (found[:4, 1] == 0).all()
    assert (found[:4, 2, 1] == 0).all()


def test_norms_written_by_hand_give_the_same_multipliers():
    pairing = PAIRINGS["two layouts"]
    x, weight, bias = (
        rows(pairing, 3, HIDDEN, scale=3.0),
        draw(HIDDEN, seed=2),
        draw(HIDDEN, seed=3),
    )

    def layer_norm(x):
        centred = x - x.mean(-1, keepdim=True)
        return centred * torch.rsqrt(centred.pow(2).mean(-1, keepdim=True) + 1e-5) * weight + bias

    def by_root(x):
        centred = x - x.mean(-1, keepdim=True)
        return (
            weight * (centred / torch.sqrt(x.var(-1, unbiased=False, keepdim=True) + 1e-5)) + bias
        )

    def rms_norm(x):
        return weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))

    library = {
        layer_norm: lambda x: F.layer_norm(x, (HIDDEN,), weight, bias),
        by_root: lambda x: F.layer_norm(x, (HIDDEN,), weight, bias),
        rms_norm: lambda x: F.rms_norm(x, (HIDDEN,), weight, 1e-6),
    }
    upper = draw(pairing.rows, 3, HIDDEN, seed=8)
    upper[pairing.texts :] = 0
    for by_hand, function in library.items():
        found = []
        for norm in (by_hand, function):
            with Secant(pairing):
                output = norm(x)
            found.append(torch.autograd.grad((upper * output).sum(), x)[0])
        assert torch.allclose(*found, atol=1e-12), by_hand.__name__


def test_the_logarithmic_mean_has_its_limits():
    p = torch.tensor([0.5, 0.5, 0.5, 1e-300, 0.0, 0.3], dtype=torch.float64)
    q = torch.tensor([0.5, 0.5 + 1e-15, 0.2, 0.9, 0.0, 0.0], dtype=torch.float64)
    found = logarithmic_mean(p.log(), q.log())
    expected = [0.5, 0.5, 0.3 / math.log(2.5), 0.9 / math.log(0.9 / 1e-300), 0.0, 0.0]
    assert torch.allclose(
        found, torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=1e-300
    )


def by_maps(pairing, function, x):
    """Return the maps of a toy model: one state, one logit."""
    weights = torch.ones(1, pairing.texts, 1, dtype=torch.float64)
    return secant_maps(lambda: ((x,), function(x)), pairing, lambda logits: weights)


def test_a_linear_model_gives_weight_times_difference():
    pairing = PAIRINGS["two layouts"]
    x, weight = rows(pairing, 3, HIDDEN), draw(HIDDEN, seed=2)
    maps = by_maps(pairing, lambda x: (x @ weight).sum(1, keepdim=True), x)
    expected = (pairing.differences(x.detach()) * weight).sum(-1)
    assert torch.allclose(maps.local[0, 0], expected, atol=1e-12)
    assert torch.allclose(maps.change[0], expected.sum(1), atol=1e-12)


def test_two_factors_get_their_shapley_values():
    pairing = PAIRINGS["one layout"]
    x = rows(pairing, 2, 1)
    maps = by_maps(pairing, lambda x: x[:, 0] * x[:, 1], x)
    (a, b), (a0, b0) = x.detach()[:4, :, 0].T, x.detach()[4, :, 0]
    first = 0.5 * ((a - a0) * b0 + (a - a0) * b)
    second = 0.5 * ((b - b0) * a0 + (b - b0) * a)
    assert torch.allclose(maps.local[0, 0], torch.stack([first, second], 1), atol=1e-12)


def test_texts_of_one_layout_share_a_reference():
    order, models, pairing = pair_up(["short", "long", "short", "long", "other"])
    assert order == [0, 2, 1, 3, 4]
    assert models == [0, 1, 4]
    assert pairing == Pairing((0, 0, 1, 1, 2))
    assert (pairing.texts, pairing.rows) == (5, 8)


@pytest.mark.parametrize("name", ["bert", "gpt2", "llama", "deberta-v2", "t5"])
def test_any_attention_kernel_gives_the_same_scores(tmp_path, name):
    model, lm_head = save_tiny(name, tmp_path)
    classifier = load_classifier(model, lm_head=lm_head)
    encodings = classifier.encode(TEXTS)
    found = []
    for kernel in ("eager", "sdpa"):
        try:
            classifier.model.set_attn_implementation(kernel)
        except ValueError:
            pytest.skip(f"{name} has no {kernel} attention")
        found.append(Attributor(classifier).maps(encodings, [None] * len(TEXTS)).saliency)
    assert torch.allclose(*found, atol=1e-5)


class Chosen(nn.Module):
    """A head that reads the greatest features, which the text and its reference choose apart."""

    def __init__(self, head):
        super().__init__()
        self.head = head

    def forward(self, features):
        return self.head(3 * features.sort(-1).values)


def test_a_model_with_an_operation_without_rule_takes_the_path(tmp_path):
    assert "sort" not in RULES
    model, lm_head = save_tiny("bert", tmp_path)
    classifier = load_classifier(model, lm_head=lm_head)
    classifier.model.classifier = Chosen(classifier.model.classifier)
    attributor = Attributor(classifier, steps=64)
    assert attributor.reach.rule == "path"
    assert "operations has no secant rule" in attributor.reach.reason
    maps = attributor.maps(classifier.encode(TEXTS), [None] * len(TEXTS))
    assert torch.allclose(maps.total, maps.change[:, None].expand_as(maps.total), atol=0.02)


def test_an_example_that_the_secant_rule_does_not_reach_takes_the_path(tmp_path, monkeypatch):
    model, lm_head = save_tiny("bert", tmp_path)
    classifier = load_classifier(model, lm_head=lm_head)
    attributor = Attributor(classifier, steps=8)
    assert attributor.reach == Reach("secant", {})
    encodings = classifier.encode(TEXTS)
    by_path = Attributor(classifier, rule="path", steps=8).maps(encodings, [None] * len(TEXTS))
    examples = [Example(number, str(number), text) for number, text in enumerate(TEXTS)]
    exact = attributor.audit(examples, encodings, [None] * len(TEXTS))
    monkeypatch.setattr(attributor, "not_reached", lambda maps: [1])
    audited = attributor.audit(examples, encodings, [None] * len(TEXTS))
    assert [row.incomplete for row in audited] == [False, True, False, False]
    assert not any(row.incomplete for row in exact)
    own = by_path.saliency[0, :, 1][:, by_path.own[1]].numpy()
    assert abs(audited[1].saliency[0].scores - own).max() < 2e-3
    assert abs(audited[0].saliency[0].scores - exact[0].saliency[0].scores).max() == 0


def test_layers_that_information_flows_around_are_named(tmp_path):
    model, lm_head = save_tiny("bert", tmp_path)
    classifier = load_classifier(model, lm_head=lm_head)
    body, seen = classifier.model.bert, []
    body.embeddings.register_forward_hook(lambda module, arguments, output: seen.append(output))
    around = 5 * draw(32, 3).float()
    classifier.model.classifier.register_forward_hook(
        lambda module, arguments, output: output + seen[-1].mean(1) @ around
    )
    attributor = Attributor(classifier)
    assert attributor.reach.rule == "secant"
    assert list(attributor.reach.bypassed) == [1, 2]
    maps = attributor.maps(classifier.encode(TEXTS), [None] * len(TEXTS))
    assert torch.allclose(maps.total[:, 0], maps.change, atol=1e-5)
    assert attributor.not_reached(maps) == []


def test_a_hand_written_bert_agrees_at_every_layer(tmp_path):
    model, lm_head = save_tiny("bert", tmp_path)
    classifier = load_classifier(model, lm_head=lm_head)
    oracle = HandWrittenBert(classifier.model)
    words = classifier.model.get_input_embeddings().weight.double().numpy()
    for encoding in classifier.encode(TEXTS):
        maps = Attributor(classifier).maps([encoding], [None])
        text = words[list(encoding.input_ids)]
        reference = np.where(encoding.special[:, None], text, words[classifier.blank_token_id])
        scores, change = oracle.maps(text, reference, int(maps.logits.argmax()))
        assert np.allclose(scores.sum(1), change, atol=1e-10)
        assert float(maps.change[0, 0]) == pytest.approx(change, abs=1e-5)
        assert np.abs(maps.local[0, :, 0].numpy() - scores).max() < 1e-4
