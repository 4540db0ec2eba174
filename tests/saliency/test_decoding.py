"""Laws of decoding on random states and hand-made ones."""

import pytest
import torch

from saliency_core.saliency.decoding import (
    allowed_columns,
    carrying_positions,
    column_offsets,
    decode,
    decoding_weights,
)

IDS = torch.tensor([[2, 5, 6, 5, 7, 3], [2, 8, 8, 8, 3, 0]])
OWN = torch.tensor(
    [[False, True, True, True, True, False], [False, True, True, True, False, False]]
)
SIZE = 4


def weights_of(features, embeddings, bias=None, causal=False):
    columns = embeddings[IDS]
    own_bias = None if bias is None else bias[IDS]
    return decoding_weights(features, columns, column_offsets(IDS, OWN, own_bias, causal))


@pytest.fixture
def random():
    make = torch.Generator().manual_seed(0)
    return torch.randn(2, 6, SIZE, generator=make), torch.randn(9, SIZE, generator=make)


@pytest.mark.parametrize("causal", [False, True])
def test_rows_sum_to_one_and_specials_take_no_part(random, causal):
    weights = weights_of(*random, bias=torch.arange(9.0), causal=causal)
    assert torch.allclose(weights.sum(-1), torch.ones(2, 6))
    assert weights.transpose(1, 2)[~OWN].abs().max() == 0


def test_weights_are_the_softmax_of_the_heads_scores(random):
    features, embeddings = random
    bias = torch.arange(9.0)
    row = weights_of(features, embeddings, bias)[0, 2]  # holds token 6, which stands once
    scores = embeddings @ features[0, 2] + bias
    assert torch.allclose(row[OWN[0]], torch.softmax(scores[IDS[0, OWN[0]]], 0))


def test_another_occurrence_does_not_steal_a_token(random):
    weights = weights_of(*random)
    assert weights[0, 1, 3] == 0
    assert weights[0, 3, 1] == 0
    # Of three equal tokens each is decoded to itself alone.
    assert torch.equal(weights[1, 1:4, 1:4], torch.eye(3))


def test_an_identity_head_gives_identity_decoding():
    vocabulary = 40.0 * torch.eye(9)
    weights = weights_of(vocabulary[IDS], torch.eye(9))
    for example in range(2):
        own = OWN[example]
        assert torch.allclose(weights[example][own][:, own], torch.eye(int(own.sum())))


def test_a_causal_state_holds_no_later_token(random):
    weights = weights_of(*random, causal=True)
    own = OWN[0]
    assert weights[0][own][:, own].triu(1).abs().max() == 0
    # The first position has no own token to its left and takes all.
    assert (weights[0, 0, own] > 0).all()


def test_a_special_position_may_point_at_its_own_token_in_the_text():
    ids = torch.tensor([[2, 3, 3]])  # a text that writes the end token out
    own = torch.tensor([[False, True, False]])
    allowed = allowed_columns(ids, own, causal=False)
    assert allowed[0].tolist() == [[False, True, False]] * 3


@pytest.mark.parametrize("causal", [False, True])
def test_decoding_keeps_the_total(random, causal):
    weights = weights_of(*random, causal=causal)
    local = torch.randn(2, 6, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(decode(weights, local).sum(-1), local.sum(-1), atol=1e-6)


def test_only_positions_that_hold_a_score_are_decoded():
    local = torch.zeros(2, 3, 2, 6)  # (target, layer, batch, token)
    local[:, 0] = 1.0
    local[0, 1, :, 0] = 1.0
    local[1, 1, 1, 4] = -1.0
    whole, some, none = carrying_positions(local)
    assert whole is None
    assert some.shape == (2, 2)
    assert set(some[1].tolist()) == {0, 4}
    assert 0 in some[0].tolist()
    assert none.shape == (2, 1)
