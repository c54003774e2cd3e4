"""Test that shuffled explanations are all used once, each in another post."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gen_msa.metrics import UndefinedMetric
from gen_msa.metrics._pairs import shuffle_explanations
from tests.metrics.explanation_pairs import pair, pair_without_prediction


def make_rows(sizes):
    """Return `sizes[i]` distinct explanations about the i-th post."""
    return [
        pair("a b", "a", f"{i}-{j}", post=str(i)) for i, n in enumerate(sizes) for j in range(n)
    ]


@given(st.lists(st.integers(1, 4), min_size=2, max_size=12), st.integers(0, 99))
def test_shuffle_explanations_moves_each_to_another_post(sizes, seed):
    pairs = make_rows(sizes)
    if 2 * max(sizes) > sum(sizes):
        with pytest.raises(UndefinedMetric, match="more than half"):
            shuffle_explanations(pairs, seed)
        return
    shuffled = shuffle_explanations(pairs, seed)
    assert [p.post for p in shuffled] == [p.post for p in pairs]
    assert Counter(p.explanation for p in shuffled) == Counter(p.explanation for p in pairs)
    assert all(p.explanation.partition("-")[0] != p.post.id for p in shuffled)
    assert shuffle_explanations(pairs, seed) == shuffled


def test_shuffle_explanations_keeps_rows_without_explanation():
    pairs = [
        *make_rows([1] * 30),
        pair_without_prediction(post="x"),
        pair("a b", "a", " ", post="y"),
    ]
    assert shuffle_explanations(pairs, 0)[-2:] == pairs[-2:]
    assert shuffle_explanations(pairs, 0) != shuffle_explanations(pairs, 1)


def test_shuffle_explanations_drops_explanation_provenance():
    truncated = pair(
        "a b", "a", "cut he", post="1", provenance={"explanation": "cut", "prompt": "p"}
    )
    shuffled = shuffle_explanations([truncated, pair("a b", "a", "whole", post="2")], 0)
    assert shuffled[0].prediction.provenance == {"prompt": "p"}


def test_shuffle_explanations_is_undefined_without_explanations():
    with pytest.raises(UndefinedMetric, match="no row"):
        shuffle_explanations([pair_without_prediction()], 0)
