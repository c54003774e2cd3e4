"""McNemar's exact test: two-sided binomial of the rows on which two readers part."""

import math

import numpy
import pytest

from gen_msa.metrics.statistics.mcnemar import discordant, mcnemar


def test_a_case_computed_by_hand():
    # 1 against 5 of 6: (C(6,0) + C(6,1)) / 2^6, twice.
    assert mcnemar(1, 5) == pytest.approx(2 * 7 / 64)
    assert mcnemar(1, 5, mid_p=True) == pytest.approx(2 * 7 / 64 - 6 / 64)


def by_counting(a, b):
    """Of all ways to share out a + b rows, those that are no likelier than what was seen."""
    ways = [math.comb(a + b, k) for k in range(a + b + 1)]
    return sum(w for w in ways if w <= ways[a]) / 2 ** (a + b)


def test_a_thousand_random_cases_agree_with_counting_and_are_symmetric():
    rng = numpy.random.default_rng(0)
    for case in range(1000):
        a, b = (int(x) for x in rng.integers(0, 60, 2))
        assert mcnemar(a, b) == pytest.approx(by_counting(a, b))
        if case % 10 == 0:
            assert mcnemar(a, b) == pytest.approx(mcnemar(b, a))
            assert 0 <= mcnemar(a, b, mid_p=True) <= mcnemar(a, b) <= 1


def test_readers_that_never_part_do_not_differ():
    assert mcnemar(0, 0) == mcnemar(0, 0, mid_p=True) == 1
    assert mcnemar(7, 7) == 1


def test_rows_that_one_alone_has_right():
    a, b = [True, True, False, False, True], [True, False, True, False, False]
    assert discordant(a, b) == (2, 1)
    with pytest.raises(ValueError, match="zip"):
        discordant([True], [])
    with pytest.raises(ValueError, match="-1 rows"):
        mcnemar(-1, 3)
