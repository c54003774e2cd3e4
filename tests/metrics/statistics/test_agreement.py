"""Test that kappa equals scikit-learn's and alpha the published values."""

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from gen_msa.evaluation.llm_judge import krippendorff, weighted_kappa

RATING_PAIRS = st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5)), min_size=1, max_size=30)
_ = None
# Krippendorff, Computing Krippendorff's Alpha-Reliability (2011), section C.
PUBLISHED = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, _, _, _],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, _, 3],
    [_, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, _],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, _],
]


def test_weighted_kappa_matches_scikit_learn():
    for seed in range(1000):
        rng = numpy.random.default_rng(seed)
        n = int(rng.integers(2, 40))
        first, second = rng.integers(1, 6, n), rng.integers(1, 6, n)
        if len({*first, *second}) == 1:
            continue
        expected = cohen_kappa_score(first, second, weights="quadratic", labels=[1, 2, 3, 4, 5])
        assert weighted_kappa(first.tolist(), second.tolist()) == pytest.approx(expected, abs=1e-12)


def test_krippendorff_alpha_matches_published_value():
    assert krippendorff(PUBLISHED) == pytest.approx(0.815, abs=5e-4)


def test_weighted_kappa_by_hand():
    # Observed squares: 0 + 1 + 0. Of all nine pairs: 0 + 4 + 9, 1 + 1 + 4, 9 + 1 + 0.
    assert weighted_kappa([1, 2, 4], [1, 3, 4]) == pytest.approx(1 - 3 * 1 / 29)


@given(RATING_PAIRS)
def test_agreement_is_symmetric_and_one_when_perfect(rating_pairs):
    first, second = [list(side) for side in zip(*rating_pairs, strict=True)]
    assert weighted_kappa(first, second) == pytest.approx(weighted_kappa(second, first))
    assert krippendorff([first, second]) == pytest.approx(krippendorff([second, first]))
    if len(set(first)) > 1:
        assert weighted_kappa(first, first) == pytest.approx(1)
        assert krippendorff([first, first]) == pytest.approx(1)


@given(st.lists(st.integers(1, 5), min_size=2, max_size=30).filter(lambda m: len(set(m)) > 1))
def test_constant_rater_has_zero_kappa(ratings):
    assert weighted_kappa([5] * len(ratings), ratings) == pytest.approx(0, abs=1e-12)


def test_agreement_is_none_when_undefined():
    assert weighted_kappa([], []) is None
    assert weighted_kappa([5, 5], [5, 5]) is None
    assert krippendorff([[1, _], [_, 2]]) is None
    assert krippendorff([[3, 3], [3, 3]]) is None
    with pytest.raises(ValueError, match="zip"):
        weighted_kappa([1], [1, 2])
