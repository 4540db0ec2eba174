"""The path and its maps on hand-made states, where every number can be computed apart."""

import numpy as np
import pytest
import torch
from torch import nn

from saliency_core.saliency.path import path_maps, path_nodes
from saliency_core.saliency.references import Pairing, reading_references

LAYERS, BATCH, TOKENS, HIDDEN, CLASSES = 3, 2, 4, 5, 3


class HandMade:
    """States that bend along the path, each layer made of the one below."""

    def __init__(self, dtype=torch.float32):
        make = torch.Generator().manual_seed(0)

        def draw(*shape):
            return torch.randn(*shape, generator=make).to(dtype)

        self.text, self.blank = draw(BATCH, TOKENS, HIDDEN), draw(BATCH, TOKENS, HIDDEN)
        self.mix = [draw(HIDDEN, HIDDEN) / 2 for _ in range(LAYERS)]
        self.head = draw(HIDDEN, CLASSES)

    def at(self, share):
        """Return the layers' states and the logits at this share of the path."""
        return self.layers(torch.lerp(self.blank, self.text, share))

    def rows_at(self, share):
        """Return those of the texts at this share, and of their references behind them."""
        return self.layers(torch.cat([torch.lerp(self.blank, self.text, share), self.blank]))

    def layers(self, state):
        state.requires_grad_(True)
        states = []
        for number, mix in enumerate(self.mix):
            state = state if number == 0 else torch.tanh(state @ mix + state.roll(1, 1))
            states.append(state)
        return tuple(states), torch.tanh(states[-1].sum(1)) @ self.head

    def maps(self, steps, targets, variants=False):
        share = [None]

        pairing = Pairing(tuple(range(BATCH)))
        return path_maps(
            lambda: self.rows_at(share[0]), share, path_nodes(steps), pairing, targets, variants
        )


def first_class(logits):
    return nn.functional.one_hot(torch.zeros(len(logits), dtype=int), CLASSES)[None].float()


def two_targets(logits):
    return torch.tensor([[[1.0, 0, 0]] * BATCH, [[0, 1.0, -1.0]] * BATCH])


def as_method_writes_it(model, steps, weights):
    """Return the local and pooled map of the path rule (docs/method.md), literally, for one target.

    On the path's own nodes instead of even ones.
    """
    states, gradients = [[s.detach() for s in model.at(0.0)[0]]], [None]
    for node in path_nodes(steps).tolist():
        hidden, logits = model.at(node)
        states.append([state.detach() for state in hidden])
        gradients.append(torch.autograd.grad((weights * logits).sum(), hidden))
    local = torch.zeros(LAYERS, BATCH, TOKENS)
    pooled = torch.zeros(LAYERS, BATCH, TOKENS)
    for layer in range(LAYERS):
        for k in range(1, steps + 1):
            change = states[k][layer] - states[k - 1][layer]
            now = gradients[k][layer]
            before = now if k == 1 else gradients[k - 1][layer]
            local[layer] += (0.5 * (now + before) * change).sum(-1)
            pooled[layer] += (now.mean(1, keepdim=True) * change).sum(-1)
    return local, pooled, torch.stack([g.norm(dim=-1) for g in gradients[-1]])


@pytest.mark.parametrize("steps", [1, 2, 3, 5])
def test_maps_are_what_method_writes(steps):
    model = HandMade()
    maps = model.maps(steps, two_targets, variants=True)
    for target, weights in enumerate(two_targets(torch.zeros(BATCH, CLASSES))):
        local, pooled, norm = as_method_writes_it(model, steps, weights)
        assert torch.allclose(maps.local[target], local, atol=1e-6)
        assert torch.allclose(maps.pooled[target] / TOKENS, pooled, atol=1e-6)
        assert torch.allclose(maps.norm[target], norm, atol=1e-6)


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 7, 64])
def test_the_path_ends_at_the_text_and_no_interval_is_shorter_than_the_one_before(steps):
    nodes = path_nodes(steps)
    assert len(nodes) == steps
    assert nodes[-1] == 1
    intervals = np.diff(nodes, prepend=0)
    assert (intervals > 0).all()
    assert (np.diff(intervals) > -1e-12).all()


def test_half_of_the_steps_lie_in_the_first_quarter_of_the_path():
    assert path_nodes(4).tolist() == [1 / 8, 1 / 4, 1 / 2, 1]
    nodes = path_nodes(64)
    assert [(nodes <= end).sum() for end in (1 / 4, 1 / 2, 1)] == [32, 48, 64]


def test_every_layer_adds_up_to_the_change_of_the_target():
    maps = HandMade().maps(128, two_targets)
    change = maps.change.unsqueeze(1).expand(-1, LAYERS, -1)
    assert torch.allclose(maps.local.sum(-1), change, atol=2e-3)


def test_a_linear_model_is_explained_whole_by_one_step():
    model = HandMade()
    model.layers = lambda state: _linear(model, state)
    maps = model.maps(1, first_class)
    assert torch.allclose(maps.local.sum(-1), maps.change.unsqueeze(1).expand(-1, 2, -1), atol=1e-5)


def _linear(model, state):
    state.requires_grad_(True)
    above = state @ model.mix[0]
    return (state, above), above.sum(1) @ model.head


def test_variants_cost_memory_only_where_asked_for():
    maps = HandMade().maps(2, first_class)
    assert maps.pooled is None
    assert maps.norm is None


def test_maps_are_float32_whatever_the_model_computes_in():
    model = HandMade(torch.bfloat16)
    full = HandMade().maps(2, first_class)
    maps = model.maps(2, first_class)
    assert maps.local.dtype == torch.float32
    assert maps.change.dtype == torch.float32
    assert maps.logits.dtype == torch.bfloat16
    assert torch.allclose(maps.local, full.local, atol=0.05)


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_embeddings_stand_on_the_path_between_reference_and_text(share):
    table = nn.Embedding(7, 3).requires_grad_(False)
    ids = torch.tensor([[1, 2, 3], [4, 5, 3], [1, 2, 3]])
    own = torch.tensor([[True, True, False]] * 3)
    pairing = Pairing((0, 0))
    zero = table.weight[0]
    with reading_references([table], lambda module: zero, ids, own, pairing, [share]):
        mixed = table(ids)
    expected = table.weight[ids]
    expected[:, :2] = zero + torch.tensor([share, share, 0])[:, None, None] * (
        expected[:, :2] - zero
    )
    assert torch.allclose(mixed, expected)
    assert mixed.requires_grad
    assert not table(ids).requires_grad, "the hook is gone afterwards"


def test_a_decoder_reads_the_text_one_position_later():
    table = nn.Embedding(7, 3).requires_grad_(False)
    ids = torch.tensor([[1, 2, 3], [1, 2, 3]])
    shifted = torch.tensor([[6, 1, 2], [6, 1, 2]])
    own = torch.tensor([[True, True, False]] * 2)
    zero = table.weight[0]
    with reading_references([table], lambda module: zero, ids, own, Pairing((0,)), [1.0]):
        mixed = table(shifted)
    assert torch.equal(mixed[0], table.weight[shifted[0]])
    assert torch.equal(mixed[1], torch.stack([table.weight[6], zero, zero]))


def test_other_ids_than_the_texts_are_refused():
    table = nn.Embedding(7, 3).requires_grad_(False)
    ids = torch.tensor([[1, 2, 3], [1, 2, 3]])
    own = torch.ones(2, 3, dtype=bool)
    context = reading_references([table], lambda module: None, ids, own, Pairing((0,)), [1.0])
    with context, pytest.raises(RuntimeError, match="other tokens than those of the text"):
        table(ids.flip(1))
