"""Many tests, power before a test, and several seeds."""

import math

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import false_discovery_control

from gen_msa.metrics.statistics.adjusting import benjamini_hochberg, holm
from gen_msa.metrics.statistics.mcnemar import mcnemar
from gen_msa.metrics.statistics.power import detectable, rows_needed
from gen_msa.metrics.statistics.seeds import Spread, spread

PS = st.lists(st.floats(0, 1), max_size=12)


def test_cases_computed_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert benjamini_hochberg([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.04, 0.04])
    assert holm([0.5, 0.9]) == [1.0, 1.0]


def test_a_thousand_random_cases_agree_with_scipy_and_with_the_step_by_step_rule():
    for seed in range(1000):
        rng = numpy.random.default_rng(seed)
        p = rng.random(rng.integers(1, 15)) ** 3
        assert benjamini_hochberg(list(p)) == pytest.approx(list(false_discovery_control(p)))
        alpha = rng.choice([0.01, 0.05, 0.2])
        assert [q <= alpha for q in holm(list(p))] == holm_rejects(p, alpha)


def holm_rejects(p, alpha):
    """Holm 1979: from the smallest on, as long as each is at most alpha / those left."""
    rejected = [False] * len(p)
    for rank, i in enumerate(numpy.argsort(p)):
        if p[i] > alpha / (len(p) - rank):
            break
        rejected[i] = True
    return rejected


@given(PS)
def test_adjusted_values_are_no_smaller_and_keep_their_order(p):
    for adjusted in (holm(p), benjamini_hochberg(p)):
        assert all(0 <= old <= new <= 1 for old, new in zip(p, adjusted, strict=True))
        ranked = [new for _, new in sorted(zip(p, adjusted, strict=True))]
        assert ranked == sorted(ranked)


def test_what_is_no_p_value_is_refused_and_none_at_all_is_none():
    assert holm([]) == benjamini_hochberg([]) == []
    for wrong in (math.nan, -0.1, 1.5):
        with pytest.raises(ValueError, match="no p-value"):
            holm([0.1, wrong])
        with pytest.raises(ValueError, match="no p-value"):
            benjamini_hochberg([wrong])


def test_the_rows_needed_are_those_of_the_formula_by_hand():
    # Connor 1987, Biometrics 43: one alone is right in 25 % of the rows, the other in 15 %.
    a, b = 1.959964, 0.841621
    by_hand = ((a * math.sqrt(0.4) + b * math.sqrt(0.4 - 0.01)) / 0.1) ** 2
    assert rows_needed(0.1, 0.4) == math.ceil(by_hand) == 312


def test_with_the_detectable_difference_the_test_finds_it_four_times_of_five():
    n, parting = 500, 0.2
    d = detectable(n, parting)
    only_a, only_b = (parting + d) / 2, (parting - d) / 2
    rng = numpy.random.default_rng(0)
    drawn = rng.multinomial(n, [only_a, only_b, 1 - parting], size=1500)
    found = numpy.mean([mcnemar(int(x), int(y), mid_p=True) < 0.05 for x, y, _ in drawn])
    assert found == pytest.approx(0.8, abs=0.04)


@given(st.integers(50, 20_000), st.floats(0.05, 1.0))
def test_rows_needed_and_detectable_are_each_others_inverse(n, parting):
    d = detectable(n, parting)
    if d <= parting:
        assert abs(rows_needed(d, parting) - n) <= 1


def test_impossible_questions_about_power_are_refused():
    for ask in (
        lambda: rows_needed(0, 0.2),
        lambda: rows_needed(0.3, 0.2),
        lambda: detectable(0, 0.2),
        lambda: detectable(100, 0),
        lambda: detectable(100, 0.2, alpha=0.9),
    ):
        with pytest.raises(ValueError, match=r"\d"):
            ask()
    assert detectable(3, 0.2) > 0.2  # more than the readers part: not to be seen at all


def test_seeds_are_averaged_and_their_scatter_is_that_of_a_seed():
    got = spread([0.71, 0.73, 0.72])
    assert (got.mean, got.sd, got.n) == (pytest.approx(0.72), pytest.approx(0.01), 3)
    assert spread([0.5]) == Spread(0.5, None, 1)
    for wrong in ([], [0.5, math.nan]):
        with pytest.raises(ValueError, match="no figures"):
            spread(wrong)
