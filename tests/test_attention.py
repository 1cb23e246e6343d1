"""Attention is torch's, with a learned token beside those that are given."""

import pytest
import torch

from clipfuse.attention import Attention, AttentionLayer


@pytest.fixture
def given():
    torch.manual_seed(0)
    allowed = torch.tensor([[True, True, True], [True, False, True], [False, False, False]])
    return Attention(8, heads=2, dropout=0.0), torch.randn(3, 5, 8), torch.randn(3, 3, 8), allowed


@pytest.mark.parametrize("masked", [False, True])
def test_is_torchs_multi_head_attention(given, masked):
    attention, queries, tokens, allowed = given
    theirs = torch.nn.MultiheadAttention(8, 2, batch_first=True)
    layers = (attention.query, attention.key, attention.value)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([layer.weight for layer in layers]))
        theirs.in_proj_bias.copy_(torch.cat([attention.query.bias, torch.zeros(8), attention.value.bias]))
    theirs.out_proj.load_state_dict(attention.out.state_dict())
    seen = torch.cat([attention.nothing.expand(3, 1, 8), tokens], dim=1)
    hidden = torch.cat([torch.zeros(3, 1, dtype=torch.bool), ~allowed], dim=1) if masked else None
    expected, _ = theirs(queries, seen, seen, key_padding_mask=hidden)
    torch.testing.assert_close(attention(queries, tokens, allowed if masked else None), expected)


def test_what_is_not_allowed_is_not_read(given):
    attention, queries, tokens, allowed = given
    other = torch.where(allowed[..., None], tokens, 1000.0)
    assert torch.equal(attention(queries, tokens, allowed), attention(queries, other, allowed))
    assert not torch.allclose(attention(queries, tokens), attention(queries, other))


def test_a_layer_adds_to_its_queries(given):
    _, queries, tokens, _ = given
    layer = AttentionLayer(8, heads=2, dropout=0.0)
    taken = queries + layer.attention(layer.norm(queries), tokens)
    torch.testing.assert_close(layer(queries, tokens), taken + layer.feed_forward(taken))
