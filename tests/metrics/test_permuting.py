"""Explanations shuffled across posts: all used once, none at home."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gen_msa.metrics import Undefined
from gen_msa.metrics._permuting import permuted
from tests.metrics.explaining import pair, silent


def rows(sizes):
    """`sizes[i]` explanations about the i-th post, each with its own words."""
    return [
        pair("a b", "a", f"{i}-{j}", post=str(i)) for i, n in enumerate(sizes) for j in range(n)
    ]


@given(st.lists(st.integers(1, 4), min_size=2, max_size=12), st.integers(0, 99))
def test_every_explanation_moves_to_another_post_and_none_is_lost(sizes, seed):
    pairs = rows(sizes)
    if 2 * max(sizes) > sum(sizes):
        with pytest.raises(Undefined, match="more than half"):
            permuted(pairs, seed)
        return
    moved = permuted(pairs, seed)
    assert [p.post for p in moved] == [p.post for p in pairs]
    assert Counter(p.explanation for p in moved) == Counter(p.explanation for p in pairs)
    assert all(p.explanation.partition("-")[0] != p.post.id for p in moved)
    assert permuted(pairs, seed) == moved


def test_seeds_differ_and_rows_without_an_explanation_stay():
    pairs = [*rows([1] * 30), silent(post="x"), pair("a b", "a", " ", post="y")]
    assert permuted(pairs, 0)[-2:] == pairs[-2:]
    assert permuted(pairs, 0) != permuted(pairs, 1)


def test_notes_of_the_old_explanation_do_not_stay():
    cut = pair("a b", "a", "cut he", post="1", how={"explanation": "cut", "prompt": "p"})
    moved = permuted([cut, pair("a b", "a", "whole", post="2")], 0)
    assert moved[0].said.how == {"prompt": "p"}


def test_without_explanations_there_is_nothing_to_shuffle():
    with pytest.raises(Undefined, match="no row"):
        permuted([silent()], 0)
