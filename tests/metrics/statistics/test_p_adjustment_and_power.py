"""Test p-value adjustment, power analysis, and the spread over seeds."""

import math

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import false_discovery_control

from gen_msa.evaluation.evaluate import SeedSpread, seed_spread
from gen_msa.metrics.statistics.hypothesis_tests import benjamini_hochberg, holm, mcnemar_test
from gen_msa.metrics.statistics.proportions import detectable_difference, rows_needed

P_VALUES = st.lists(st.floats(0, 1), max_size=12)


def test_p_adjustment_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert benjamini_hochberg([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.04, 0.04])
    assert holm([0.5, 0.9]) == [1.0, 1.0]


def test_p_adjustment_matches_scipy_and_stepwise_rule():
    for seed in range(1000):
        rng = numpy.random.default_rng(seed)
        p = rng.random(rng.integers(1, 15)) ** 3
        assert benjamini_hochberg(list(p)) == pytest.approx(list(false_discovery_control(p)))
        alpha = rng.choice([0.01, 0.05, 0.2])
        assert [q <= alpha for q in holm(list(p))] == holm_rejects(p, alpha)


def holm_rejects(p, alpha):
    """Apply Holm 1979: from the smallest on, while p is at most alpha / remaining tests."""
    rejected = [False] * len(p)
    for rank, i in enumerate(numpy.argsort(p)):
        if p[i] > alpha / (len(p) - rank):
            break
        rejected[i] = True
    return rejected


@given(P_VALUES)
def test_adjusted_p_values_are_not_smaller_and_keep_order(p):
    for adjusted in (holm(p), benjamini_hochberg(p)):
        assert all(0 <= old <= new <= 1 for old, new in zip(p, adjusted, strict=True))
        ranked = [new for _, new in sorted(zip(p, adjusted, strict=True))]
        assert ranked == sorted(ranked)


def test_p_adjustment_rejects_invalid_values():
    assert holm([]) == benjamini_hochberg([]) == []
    for invalid in (math.nan, -0.1, 1.5):
        with pytest.raises(ValueError, match="no p-value"):
            holm([0.1, invalid])
        with pytest.raises(ValueError, match="no p-value"):
            benjamini_hochberg([invalid])


def test_rows_needed_by_hand():
    # Connor 1987, Biometrics 43: only one is right in 25 % of the rows, only the other in 15 %.
    a, b = 1.959964, 0.841621
    expected = ((a * math.sqrt(0.4) + b * math.sqrt(0.4 - 0.01)) / 0.1) ** 2
    assert rows_needed(0.1, 0.4) == math.ceil(expected) == 312


def test_detectable_difference_has_80_percent_power():
    n, discordance = 500, 0.2
    d = detectable_difference(n, discordance)
    only_a, only_b = (discordance + d) / 2, (discordance - d) / 2
    rng = numpy.random.default_rng(0)
    counts = rng.multinomial(n, [only_a, only_b, 1 - discordance], size=1500)
    power = numpy.mean([mcnemar_test(int(x), int(y), mid_p=True) < 0.05 for x, y, _ in counts])
    assert power == pytest.approx(0.8, abs=0.04)


@given(st.integers(50, 20_000), st.floats(0.05, 1.0))
def test_rows_needed_inverts_detectable_difference(n, discordance):
    d = detectable_difference(n, discordance)
    if d <= discordance:
        assert abs(rows_needed(d, discordance) - n) <= 1


def test_power_functions_reject_impossible_input():
    for call in (
        lambda: rows_needed(0, 0.2),
        lambda: rows_needed(0.3, 0.2),
        lambda: detectable_difference(0, 0.2),
        lambda: detectable_difference(100, 0),
        lambda: detectable_difference(100, 0.2, alpha=0.9),
    ):
        with pytest.raises(ValueError, match=r"\d"):
            call()
    assert detectable_difference(3, 0.2) > 0.2  # above the discordance: not detectable


def test_seed_spread_is_mean_and_sample_std():
    result = seed_spread([0.71, 0.73, 0.72])
    assert (result.mean, result.std, result.n) == (pytest.approx(0.72), pytest.approx(0.01), 3)
    assert seed_spread([0.5]) == SeedSpread(0.5, None, 1)
    for invalid in ([], [0.5, math.nan]):
        with pytest.raises(ValueError, match="finite numbers"):
            seed_spread(invalid)
