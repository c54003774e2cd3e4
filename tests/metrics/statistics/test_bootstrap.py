"""Test the cluster bootstrap: scipy's intervals, the theoretical width, shared resamples."""

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from gen_msa.metrics import UndefinedMetric, metrics
from gen_msa.metrics.statistics.bootstrap import BootstrapResamples, bootstrap
from tests.metrics.statistics.sample_rows import (
    accuracy,
    accuracy_and_ratio,
    one_cluster_per_row,
    random_confusion_rows,
    random_rows,
)


def test_bootstrap_by_hand():
    # One correct and one wrong cluster, drawn twice: 0, 1/2 or 1; the limits are 0 and 1.
    intervals = bootstrap(
        numpy.array([[1.0, 1], [1, 1], [1, 0], [1, 0]]), list("aabb"), accuracy, corrected=False
    )
    assert (intervals["accuracy"].low, intervals["accuracy"].high) == (0, 1)
    sums = BootstrapResamples([list("ab")], replicates=4000).replicate_sums(
        numpy.array([[1.0, 1], [1, 0]]), list("ab")
    )
    assert numpy.bincount(sums[:, 1].astype(int)) / 4000 == pytest.approx(
        [0.25, 0.5, 0.25], abs=0.03
    )


def test_uncorrected_interval_matches_scipy():
    sample = numpy.random.default_rng(3).exponential(size=25)
    interval = bootstrap(
        numpy.column_stack([numpy.ones(25), sample]),
        one_cluster_per_row(25),
        accuracy,
        replicates=40_000,
        corrected=False,
    )["accuracy"]
    expected = stats.bootstrap(
        (sample,),
        numpy.mean,
        n_resamples=40_000,
        method="percentile",
        rng=numpy.random.default_rng(1),
    ).confidence_interval
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high), abs=0.015)


def test_bootstrap_standard_error_is_analytic_and_clustered():
    n, copies = 300, 4
    system_rows = random_rows(2, n)
    p = system_rows[:, 1].mean()
    expected_error = numpy.sqrt(p * (1 - p) / n)
    sums = BootstrapResamples([one_cluster_per_row(n)]).replicate_sums(
        system_rows, one_cluster_per_row(n)
    )
    assert (sums[:, 1] / sums[:, 0]).std() == pytest.approx(expected_error, rel=0.05)
    # Every row four times over: as rows they look like 1,200; by cluster they are still 300.
    repeated_rows, clusters = (
        numpy.repeat(system_rows, copies, axis=0),
        numpy.repeat(one_cluster_per_row(n), copies),
    )
    sums = BootstrapResamples([clusters]).replicate_sums(repeated_rows, clusters)
    assert (sums[:, 1] / sums[:, 0]).std() == pytest.approx(expected_error, rel=0.05)


def test_bootstrap_interval_has_nominal_coverage():
    n_covered = 0
    for seed in range(200):
        intervals = bootstrap(
            random_rows(seed, 150), one_cluster_per_row(150), accuracy, replicates=400, seed=seed
        )
        n_covered += intervals["accuracy"].low <= 0.7 <= intervals["accuracy"].high
    assert 0.90 <= n_covered / 200 <= 0.99


def test_bootstrap_is_deterministic_by_seed():
    system_rows = random_rows(0, 50)
    assert bootstrap(system_rows, one_cluster_per_row(50), accuracy_and_ratio) == bootstrap(
        system_rows, one_cluster_per_row(50), accuracy_and_ratio
    )
    other_sums = BootstrapResamples([one_cluster_per_row(50)], seed=1).replicate_sums(
        system_rows, one_cluster_per_row(50)
    )
    assert not numpy.array_equal(
        other_sums,
        BootstrapResamples([one_cluster_per_row(50)], seed=0).replicate_sums(
            system_rows, one_cluster_per_row(50)
        ),
    )


def test_uncached_resamples_equal_cached_ones():
    system_rows = random_rows(0, 3000)
    clusters = [str(i // 2) for i in range(3000)]
    cached = BootstrapResamples([clusters], replicates=1500)
    uncached = BootstrapResamples([clusters], replicates=1500, max_cached_bytes=0)
    assert numpy.array_equal(
        cached.replicate_sums(system_rows, clusters), uncached.replicate_sums(system_rows, clusters)
    )
    assert numpy.array_equal(
        uncached.replicate_sums(system_rows, clusters),
        uncached.replicate_sums(system_rows, clusters),
    )
    assert uncached.description == "cluster bootstrap, 1500 replicates, seed 0"


def test_bootstrap_ignores_row_order_and_keeps_cluster_count():
    system_rows, clusters = random_rows(1, 60), [str(i % 20) for i in range(60)]
    order = numpy.random.default_rng(0).permutation(60)
    resamples = BootstrapResamples([clusters], replicates=500)
    assert resamples.intervals(system_rows, clusters, accuracy_and_ratio) == resamples.intervals(
        system_rows[order], [clusters[i] for i in order], accuracy_and_ratio
    )
    assert (resamples.replicate_sums(system_rows, clusters)[:, 0] == 60).all()


def test_resamples_share_clusters_across_systems():
    system_rows = random_rows(0, 40)
    resamples = BootstrapResamples(
        [one_cluster_per_row(40), ["post 3", "elsewhere"]], replicates=300
    )
    all_sums = resamples.replicate_sums(system_rows, one_cluster_per_row(40))
    part_sums = resamples.replicate_sums(system_rows[3:4], ["post 3"])
    assert (part_sums <= all_sums).all()
    assert resamples.replicate_sums(system_rows[3:4], ["elsewhere"])[:, 0].mean() == pytest.approx(
        1, abs=0.2
    )


def test_bootstrap_interval_of_undefined_metric_is_nan():
    undefined_rows = random_rows(0, 30) * [1, 1, 0]
    intervals = bootstrap(
        undefined_rows, one_cluster_per_row(30), accuracy_and_ratio, replicates=200
    )
    assert numpy.isnan([intervals["ratio"].low, intervals["ratio"].high]).all()
    assert not numpy.isnan(intervals["accuracy"].low)
    rare_rows = undefined_rows.copy()
    rare_rows[0, 2] = 1  # not drawn in 36 % of the replicates: too many
    assert numpy.isnan(
        bootstrap(rare_rows, one_cluster_per_row(30), accuracy_and_ratio, replicates=200)[
            "ratio"
        ].low
    )
    rare_rows[:6, 2] = 1  # not drawn in 0.2 %
    assert (
        bootstrap(rare_rows, one_cluster_per_row(30), accuracy_and_ratio, replicates=200)[
            "ratio"
        ].low
        > 0
    )


def test_interval_without_spread_is_no_point():
    # 9 clusters, all right: a share of .025 ** (1 / 9) gives that in 2.5 % of cases.
    constant_rows = numpy.ones((9, 3))
    intervals = bootstrap(
        constant_rows, one_cluster_per_row(9), accuracy_and_ratio, bounds={"accuracy": (0, 1)}
    )
    accuracy_interval, ratio_interval = intervals["accuracy"], intervals["ratio"]
    assert accuracy_interval.low == pytest.approx(0.025 ** (1 / 9))
    assert accuracy_interval.high == 1
    assert numpy.isnan(ratio_interval.low)
    assert ratio_interval.note == "no interval: the value is the same in every cluster"


def test_bootstrap_rejects_invalid_input():
    with pytest.raises(UndefinedMetric, match="1 cluster, at least 5 are needed"):
        bootstrap(random_rows(0, 5), ["a"] * 5, accuracy_and_ratio)
    with pytest.raises(UndefinedMetric, match="0 cluster"):
        bootstrap(numpy.zeros((0, 3)), [], accuracy_and_ratio)
    with pytest.raises(ValueError, match="NaN"):
        bootstrap(numpy.full((2, 3), numpy.nan), ["a", "b"], accuracy_and_ratio)
    with pytest.raises(ValueError, match="with 3 clusters"):
        bootstrap(random_rows(0, 2), ["a", "b", "c"], accuracy_and_ratio)
    with pytest.raises(ValueError, match="'c' is not"):
        BootstrapResamples([["a", "b"]], replicates=10).replicate_sums(random_rows(0, 1), ["c"])
    with pytest.raises(ValueError, match="replicates"):
        BootstrapResamples([["a", "b"]], replicates=1)
    with pytest.raises(ValueError, match="level"):
        bootstrap(random_rows(0, 2), ["a", "b"], accuracy_and_ratio, level=95)


@given(st.integers(5, 40), st.integers(0, 10_000))
def test_bootstrap_interval_stays_in_metric_range(n, seed):
    family = metrics["labels"]()
    intervals = bootstrap(
        random_confusion_rows(seed, n),
        one_cluster_per_row(n),
        family.compute,
        bounds={spec.name: spec.bounds for spec in family.specs},
        replicates=60,
        seed=seed,
    )
    assert set(intervals) == {f.name for f in family.specs}
    assert all(0 <= interval.low <= interval.high <= 1 for interval in intervals.values())
