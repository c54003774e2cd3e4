"""Kappa equals scikit-learn's, alpha the published figures; chance is 0 and perfection 1."""

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from gen_msa.evaluating.judging import krippendorff, weighted_kappa

MARKS = st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5)), min_size=1, max_size=30)
_ = None
# Krippendorff, Computing Krippendorff's Alpha-Reliability (2011), section C.
PUBLISHED = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, _, _, _],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, _, 3],
    [_, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, _],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, _],
]


def test_a_thousand_random_cases_of_kappa_agree_with_scikit_learn():
    for number in range(1000):
        rng = numpy.random.default_rng(number)
        n = int(rng.integers(2, 40))
        one, other = rng.integers(1, 6, n), rng.integers(1, 6, n)
        if len({*one, *other}) == 1:
            continue
        theirs = cohen_kappa_score(one, other, weights="quadratic", labels=[1, 2, 3, 4, 5])
        assert weighted_kappa(one.tolist(), other.tolist()) == pytest.approx(theirs, abs=1e-12)


def test_alpha_gives_the_published_figure():
    assert krippendorff(PUBLISHED) == pytest.approx(0.815, abs=5e-4)


def test_a_kappa_by_hand():
    # Squares seen: 0 + 1 + 0. Of all nine pairs: 0 + 4 + 9, 1 + 1 + 4, 9 + 1 + 0.
    assert weighted_kappa([1, 2, 4], [1, 3, 4]) == pytest.approx(1 - 3 * 1 / 29)


@given(MARKS)
def test_both_are_symmetric_and_one_for_perfect_agreement(marks):
    one, other = [list(side) for side in zip(*marks, strict=True)]
    assert weighted_kappa(one, other) == pytest.approx(weighted_kappa(other, one))
    assert krippendorff([one, other]) == pytest.approx(krippendorff([other, one]))
    if len(set(one)) > 1:
        assert weighted_kappa(one, one) == pytest.approx(1)
        assert krippendorff([one, one]) == pytest.approx(1)


@given(st.lists(st.integers(1, 5), min_size=2, max_size=30).filter(lambda m: len(set(m)) > 1))
def test_one_who_always_says_five_agrees_by_chance_alone(people):
    assert weighted_kappa([5] * len(people), people) == pytest.approx(0, abs=1e-12)


def test_what_cannot_be_told_is_none():
    assert weighted_kappa([], []) is None
    assert weighted_kappa([5, 5], [5, 5]) is None
    assert krippendorff([[1, _], [_, 2]]) is None
    assert krippendorff([[3, 3], [3, 3]]) is None
    with pytest.raises(ValueError, match="zip"):
        weighted_kappa([1], [1, 2])
