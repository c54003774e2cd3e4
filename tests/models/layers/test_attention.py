"""Attention follows its formula: a map sums to 1 or is 0, and padding changes nothing."""

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from gen_msa.models.layers.attention import (  # noqa: E402
    ConditionalAttention,
    CrossAttention,
    CrossLayer,
    LearnedTokenPooling,
    attend,
)

ROWS, HEADS, QUERIES, SOURCES, HEAD_DIM = 3, 2, 4, 5, 6


def random_attention_inputs(seed=0):
    rng = torch.Generator().manual_seed(seed)
    shapes = [(QUERIES,), (SOURCES,), (SOURCES,)]
    q, k, v = (torch.randn(ROWS, HEADS, *s, HEAD_DIM, generator=rng) for s in shapes)
    mask = torch.rand(ROWS, SOURCES, generator=rng) < 0.6
    mask[:, 0], mask[1] = True, False
    return q, k, v, mask


@given(st.integers(0, 999))
@settings(max_examples=30, deadline=None)
def test_attention_map_sums_to_one_or_is_zero(seed):
    q, k, v, mask = random_attention_inputs(seed)
    output = attend(q, k, v, mask, torch.randn(ROWS, HEADS, QUERIES, SOURCES))
    for attention_map in (output.weights, output.conditioned_weights):
        sums = attention_map.sum(-1)
        assert torch.allclose(sums, mask.any(1)[:, None, None].expand_as(sums).float(), atol=1e-5)
        assert not (attention_map * ~mask[:, None, None]).any()
    assert not output.out[1].any()
    assert output.out.isfinite().all()


def test_attention_maps_match_the_formula():
    q, k, v, _ = random_attention_inputs()
    factors = torch.randn(ROWS, HEADS, QUERIES, SOURCES)
    output = attend(q, k, v, torch.ones(ROWS, SOURCES, dtype=torch.bool), factors)
    scores = torch.einsum("bhqd,bhsd->bhqs", q, k) / HEAD_DIM**0.5
    assert torch.allclose(output.weights, scores.softmax(-1), atol=1e-6)
    assert torch.allclose(output.conditioned_weights, (scores * factors).softmax(-1), atol=1e-6)
    assert torch.allclose(
        output.out, torch.einsum("bhqs,bhsd->bhqd", output.conditioned_weights, v), atol=1e-6
    )


def test_plain_attention_equals_torch():
    q, k, v, mask = random_attention_inputs()
    torch_output = torch.nn.functional.scaled_dot_product_attention(q, k, v, mask[:, None, None])
    output = attend(q, k, v, mask).out
    has_source = mask.any(1)
    assert torch.allclose(output[has_source], torch_output[has_source], atol=1e-6)


@pytest.mark.parametrize("attention_class", [CrossAttention, ConditionalAttention])
def test_padding_does_not_change_attention(attention_class):
    torch.manual_seed(0)
    layer = CrossLayer(attention_class(8, heads=2, head_width=3), 8, 16, 0.0)
    x, source, mask = torch.randn(2, 4, 8), torch.randn(2, 5, 8), torch.ones(2, 5, dtype=torch.bool)
    mask[0, 3:] = False
    padded_source = torch.where(mask.unsqueeze(-1), source, 99.0)
    assert torch.allclose(layer(x, source, mask).out, layer(x, padded_source, mask).out, atol=1e-6)
    assert not torch.allclose(layer(x, source, mask).out, layer(x, -source, mask).out, atol=1e-3)


def test_token_pooling_has_fixed_length_and_ignores_padding():
    torch.manual_seed(0)
    pooling = LearnedTokenPooling(3, 8, layers=2, heads=2, ffn_dim=16, dropout=0.5).eval()
    short, mask = torch.randn(2, 4, 8), torch.ones(2, 4, dtype=torch.bool)
    pooled = pooling(short, mask)
    longer = torch.cat([short, torch.full((2, 3, 8), 99.0)], dim=1)
    pooled_padded = pooling(longer, torch.cat([mask, ~mask[:, :3]], dim=1))
    assert pooled.shape == (2, 3, 8)
    assert torch.allclose(pooled, pooled_padded, atol=1e-5)
    assert not torch.allclose(pooled, pooling(-short, mask), atol=1e-3)
