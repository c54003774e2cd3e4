"""Attention by its formula: the map sums to 1 or is 0, a context steers it, ones do nothing."""

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from gen_msa.students.common.attending import (  # noqa: E402
    ConditionalAttention,
    CrossAttention,
    CrossLayer,
    Leading,
    attend,
)

ROWS, HEADS, ASKS, SOURCES, WIDE = 3, 2, 4, 5, 6


def parts(seed=0):
    dice = torch.Generator().manual_seed(seed)
    shapes = [(ASKS,), (SOURCES,), (SOURCES,)]
    q, k, v = (torch.randn(ROWS, HEADS, *s, WIDE, generator=dice) for s in shapes)
    mask = torch.rand(ROWS, SOURCES, generator=dice) < 0.6
    mask[:, 0], mask[1] = True, False
    return q, k, v, mask


@given(st.integers(0, 999))
@settings(max_examples=30, deadline=None)
def test_a_map_sums_to_one_where_there_is_something_and_is_nothing_elsewhere(seed):
    q, k, v, mask = parts(seed)
    seen = attend(q, k, v, mask, torch.randn(ROWS, HEADS, ASKS, SOURCES))
    for found in (seen.plain, seen.used):
        sums = found.sum(-1)
        assert torch.allclose(sums, mask.any(1)[:, None, None].expand_as(sums).float(), atol=1e-5)
        assert not (found * ~mask[:, None, None]).any()
    assert not seen.out[1].any()
    assert seen.out.isfinite().all()


def test_both_maps_are_those_of_the_formula():
    q, k, v, _ = parts()
    times = torch.randn(ROWS, HEADS, ASKS, SOURCES)
    seen = attend(q, k, v, torch.ones(ROWS, SOURCES, dtype=torch.bool), times)
    scores = torch.einsum("bhqd,bhsd->bhqs", q, k) / WIDE**0.5
    assert torch.allclose(seen.plain, scores.softmax(-1), atol=1e-6)
    assert torch.allclose(seen.used, (scores * times).softmax(-1), atol=1e-6)
    assert torch.allclose(seen.out, torch.einsum("bhqs,bhsd->bhqd", seen.used, v), atol=1e-6)


def test_plain_attention_is_that_of_torch():
    q, k, v, mask = parts()
    theirs = torch.nn.functional.scaled_dot_product_attention(q, k, v, mask[:, None, None])
    ours = attend(q, k, v, mask).out
    there = mask.any(1)
    assert torch.allclose(ours[there], theirs[there], atol=1e-6)


@pytest.mark.parametrize("kind", [CrossAttention, ConditionalAttention])
def test_steps_that_are_padding_change_nothing(kind):
    torch.manual_seed(0)
    made = CrossLayer(kind(8, heads=2, head_width=3), 8, 16, 0.0)
    x, source, mask = torch.randn(2, 4, 8), torch.randn(2, 5, 8), torch.ones(2, 5, dtype=torch.bool)
    mask[0, 3:] = False
    other = torch.where(mask.unsqueeze(-1), source, 99.0)
    assert torch.allclose(made(x, source, mask).out, made(x, other, mask).out, atol=1e-6)
    assert not torch.allclose(made(x, source, mask).out, made(x, -source, mask).out, atol=1e-3)


def test_leading_tokens_are_as_many_for_any_length_and_blind_to_padding():
    torch.manual_seed(0)
    made = Leading(3, 8, layers=2, heads=2, feed=16, dropout=0.5).eval()
    short, mask = torch.randn(2, 4, 8), torch.ones(2, 4, dtype=torch.bool)
    found = made(short, mask)
    longer = torch.cat([short, torch.full((2, 3, 8), 99.0)], dim=1)
    padded = made(longer, torch.cat([mask, ~mask[:, :3]], dim=1))
    assert found.shape == (2, 3, 8)
    assert torch.allclose(found, padded, atol=1e-5)
    assert not torch.allclose(found, made(-short, mask), atol=1e-3)
