"""Test differences of two systems on the same clusters."""

import numpy
import pytest

from gen_msa.metrics import metrics
from gen_msa.metrics.statistics.bootstrap import BootstrapResamples, paired_differences
from tests.metrics.statistics.sample_rows import (
    accuracy,
    one_cluster_per_row,
    random_confusion_rows,
    random_rows,
)

FAMILY = metrics["labels"]()


def test_paired_difference_with_itself_is_zero():
    system_rows = random_confusion_rows(0, 80)
    for name, difference in paired_differences(
        system_rows,
        system_rows,
        one_cluster_per_row(80),
        FAMILY.compute,
        bounds={spec.name: spec.bounds for spec in FAMILY.specs},
        replicates=200,
    ).items():
        # No difference in 80 clusters leaves room for one in up to 4.5 % of them.
        half = 1 - 0.025 ** (1 / 80)
        interval = difference.interval
        assert difference.value == 0, name
        assert (interval.low, interval.high) == pytest.approx((-half, half)), name


def test_paired_interval_matches_paired_theory():
    n = 800
    a = random_rows(1, n, 0.8)
    b = a.copy()
    b[:60, 1] = 1 - b[:60, 1]  # they differ in 60 rows only
    difference = paired_differences(a, b, one_cluster_per_row(n), accuracy)["accuracy"]
    row_differences = a[:, 1] - b[:, 1]
    standard_error = row_differences.std() / numpy.sqrt(n)
    assert difference.value == pytest.approx(row_differences.mean())
    assert difference.interval.high - difference.interval.low == pytest.approx(
        2 * 1.96 * standard_error, rel=0.05
    )


def test_paired_difference_is_antisymmetric():
    a, b = random_confusion_rows(1, 60, 0.8), random_confusion_rows(2, 60, 0.5)
    forward = paired_differences(a, b, one_cluster_per_row(60), FAMILY.compute, replicates=300)[
        "macro_f1"
    ]
    backward = paired_differences(b, a, one_cluster_per_row(60), FAMILY.compute, replicates=300)[
        "macro_f1"
    ]
    assert forward.value == -backward.value
    assert (forward.interval.low, forward.interval.high) == pytest.approx(
        (-backward.interval.high, -backward.interval.low)
    )


def test_shared_resamples_equal_fresh_ones():
    systems = [random_confusion_rows(seed, 70, 0.5 + seed / 20) for seed in range(5)]
    resamples = BootstrapResamples([one_cluster_per_row(70)], replicates=300, seed=4)
    for other_rows in systems[1:]:
        shared = paired_differences(
            systems[0], other_rows, one_cluster_per_row(70), FAMILY.compute, resamples=resamples
        )
        fresh = paired_differences(
            systems[0], other_rows, one_cluster_per_row(70), FAMILY.compute, replicates=300, seed=4
        )
        assert shared == fresh


def test_paired_difference_allows_extra_rows():
    a, b = random_rows(0, 40), numpy.concatenate([random_rows(0, 40), random_rows(1, 5)])
    difference = paired_differences(
        a,
        b,
        one_cluster_per_row(40),
        accuracy,
        clusters_b=[*one_cluster_per_row(40), *one_cluster_per_row(5)],
    )["accuracy"]
    assert difference.value == pytest.approx(a[:, 1].mean() - b[:, 1].mean())
    assert difference.interval.low <= difference.value <= difference.interval.high
