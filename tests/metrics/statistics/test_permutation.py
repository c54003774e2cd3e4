"""Test that the permutation test has scipy's p-values, and valid ones with shared clusters."""

import numpy
import pytest
from scipy import stats

from gen_msa.metrics import metrics
from gen_msa.metrics.statistics.hypothesis_tests import (
    discordant_counts,
    mcnemar_test,
    permutation_test,
)
from tests.metrics.statistics.sample_rows import (
    accuracy,
    accuracy_and_ratio,
    one_cluster_per_row,
    random_confusion_rows,
    random_rows,
)

FAMILY = metrics["labels"]()


def test_permutation_by_hand():
    # a is right in all 3 rows and b in none: 2 of 8 swaps are as extreme.
    a, b = numpy.ones((3, 2)), numpy.column_stack([numpy.ones(3), numpy.zeros(3)])
    result = permutation_test(a, b, one_cluster_per_row(3), accuracy)
    assert (result.p["accuracy"], result.description) == (0.25, "permutation, exact, 8")


def test_exact_permutation_matches_scipy():
    for seed in range(100):
        n = 4 + seed % 6
        a, b = random_confusion_rows(seed, n, 0.8), random_confusion_rows(seed + 500, n, 0.4)

        def statistic(x, y, axis, a=a, b=b):
            # scipy swaps values: pass row numbers, below n for a and from n on for b.
            stacked = numpy.concatenate([a, b])
            sums = [stacked[z.astype(int)].sum(axis=axis - 1 if axis < 0 else axis) for z in (x, y)]
            return FAMILY.compute(sums[0])["macro_f1"] - FAMILY.compute(sums[1])["macro_f1"]

        expected = stats.permutation_test(
            (numpy.arange(n), numpy.arange(n, 2 * n)),
            statistic,
            permutation_type="samples",
            n_resamples=numpy.inf,
            vectorized=True,
        )
        is_extreme = abs(expected.null_distribution) >= abs(expected.statistic) - 1e-12
        p_value = permutation_test(a, b, one_cluster_per_row(n), FAMILY.compute).p["macro_f1"]
        assert p_value == pytest.approx(is_extreme.mean())


def test_permutation_of_accuracy_approximates_mcnemar():
    a, b = random_rows(1, 200, 0.8), random_rows(2, 200, 0.72)
    exact = mcnemar_test(*discordant_counts(a[:, 1] > 0, b[:, 1] > 0))
    p_value = permutation_test(a, b, one_cluster_per_row(200), accuracy, replicates=20_000).p[
        "accuracy"
    ]
    assert p_value == pytest.approx(exact, abs=0.015)


def test_permutation_p_is_positive_and_describes_method():
    n = 60
    a, b = random_rows(0, n, 1.0), random_rows(0, n, 0.0)
    result = permutation_test(a, b, one_cluster_per_row(n), accuracy, replicates=99, seed=5)
    assert result.p["accuracy"] == 1 / 100
    assert result.description == "permutation, 99, seed 5"
    assert permutation_test(a, b, one_cluster_per_row(n), accuracy, replicates=99, seed=5) == result


def test_permutation_of_equal_systems_gives_p_one():
    system_rows = random_confusion_rows(3, 30)
    assert set(
        permutation_test(
            system_rows, system_rows, one_cluster_per_row(30), FAMILY.compute
        ).p.values()
    ) == {1.0}


def test_permutation_swaps_whole_clusters():
    # 40 rows of 4 images: significant by row, but not with 4 independent swaps.
    a, b = numpy.ones((40, 2)), numpy.column_stack([numpy.ones(40), numpy.zeros(40)])
    image_ids = [str(i // 10) for i in range(40)]
    assert permutation_test(a, b, image_ids, accuracy).p["accuracy"] == 2 / 16
    assert permutation_test(a, b, one_cluster_per_row(40), accuracy).p["accuracy"] < 0.001


def test_permutation_keeps_nominal_false_positive_rate():
    n_rejected = 0
    for seed in range(300):
        a, b = random_rows(seed, 60, 0.6), random_rows(seed + 1000, 60, 0.6)
        n_rejected += (
            permutation_test(a, b, one_cluster_per_row(60), accuracy, replicates=199).p["accuracy"]
            <= 0.05
        )
    assert n_rejected / 300 < 0.08


def test_permutation_of_undefined_metric_is_nan_or_error():
    undefined_rows = random_rows(0, 20) * [1, 1, 0]
    result = permutation_test(
        undefined_rows,
        random_rows(1, 20),
        one_cluster_per_row(20),
        accuracy_and_ratio,
        replicates=50,
    )
    assert numpy.isnan(result.p["ratio"])
    assert 0 < result.p["accuracy"] <= 1
    with pytest.raises(ValueError, match="NaN"):
        permutation_test(
            numpy.full((1, 3), numpy.nan), random_rows(0, 1), ["a"], accuracy_and_ratio
        )
    with pytest.raises(ValueError, match="at least 1 replicate"):
        permutation_test(
            undefined_rows,
            undefined_rows,
            one_cluster_per_row(20),
            accuracy_and_ratio,
            replicates=0,
        )


def test_permutation_of_one_cluster_gives_p_one():
    a, b = numpy.array([[1.0, 1.0]]), numpy.array([[1.0, 0.0]])
    assert permutation_test(a, b, ["a"], accuracy).p["accuracy"] == 1.0
