"""Test McNemar's exact test: a two-sided binomial test of the discordant rows."""

import math

import numpy
import pytest

from gen_msa.metrics.statistics.hypothesis_tests import discordant_counts, mcnemar_test


def test_mcnemar_by_hand():
    # 1 against 5 of 6: (C(6,0) + C(6,1)) / 2^6, twice.
    assert mcnemar_test(1, 5) == pytest.approx(2 * 7 / 64)
    assert mcnemar_test(1, 5, mid_p=True) == pytest.approx(2 * 7 / 64 - 6 / 64)


def p_by_enumeration(a, b):
    """Sum the probabilities of outcomes that are at most as likely as the observed one."""
    n_outcomes = [math.comb(a + b, k) for k in range(a + b + 1)]
    return sum(w for w in n_outcomes if w <= n_outcomes[a]) / 2 ** (a + b)


def test_mcnemar_matches_enumeration_and_is_symmetric():
    rng = numpy.random.default_rng(0)
    for case in range(1000):
        a, b = (int(x) for x in rng.integers(0, 60, 2))
        assert mcnemar_test(a, b) == pytest.approx(p_by_enumeration(a, b))
        if case % 10 == 0:
            assert mcnemar_test(a, b) == pytest.approx(mcnemar_test(b, a))
            assert 0 <= mcnemar_test(a, b, mid_p=True) <= mcnemar_test(a, b) <= 1


def test_mcnemar_without_net_difference_gives_p_one():
    assert mcnemar_test(0, 0) == mcnemar_test(0, 0, mid_p=True) == 1
    assert mcnemar_test(7, 7) == 1


def test_discordant_counts():
    a, b = [True, True, False, False, True], [True, False, True, False, False]
    assert discordant_counts(a, b) == (2, 1)
    with pytest.raises(ValueError, match="zip"):
        discordant_counts([True], [])
    with pytest.raises(ValueError, match="-1 rows"):
        mcnemar_test(-1, 3)
