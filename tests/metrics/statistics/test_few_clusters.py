"""Test that intervals of few clusters contain the true value as often as they say."""

from math import isnan

import numpy
import pytest

from gen_msa.metrics import metrics
from gen_msa.metrics.statistics.bootstrap import bootstrap, paired_differences
from gen_msa.metrics.statistics.intervals import mean_interval
from tests.metrics.statistics.sample_rows import accuracy

BOUNDS = {"accuracy": (0, 1)}


def share_samples(n_clusters, n_samples, seed, size=10, share=0.7, spread=0.2):
    """Yield rows and clusters whose accuracy differs from cluster to cluster, around `share`."""
    rng = numpy.random.default_rng(seed)
    a, b = (p * (1 - spread) / spread for p in (share, 1 - share))
    for _ in range(n_samples):
        accuracies = numpy.repeat(rng.beta(a, b, n_clusters), size)
        correct = rng.random(len(accuracies)) < accuracies
        rows = numpy.column_stack([numpy.ones(len(correct)), correct]).astype(float)
        yield rows, [str(i // size) for i in range(len(correct))]


def score_samples(n_clusters, n_samples, seed):
    """Yield rows and clusters of a score with mean 1 that varies between clusters."""
    rng = numpy.random.default_rng(seed)
    for _ in range(n_samples):
        values = numpy.repeat(rng.normal(1, 1, n_clusters), 4) + rng.normal(0, 0.5, 4 * n_clusters)
        rows = numpy.column_stack([numpy.ones(len(values)), values])
        yield rows, [str(i // 4) for i in range(len(values))]


def covered(samples, truth, **options):
    """Return the share of 95 % intervals that contain the true value, and their mean width."""
    intervals = [
        bootstrap(rows, clusters, accuracy, replicates=600, seed=i, **options)["accuracy"]
        for i, (rows, clusters) in enumerate(samples)
    ]
    hits = [interval.low <= truth <= interval.high for interval in intervals]
    return numpy.mean(hits), numpy.mean([i.high - i.low for i in intervals])


@pytest.mark.parametrize("share", [0.7, 0.9])
def test_share_of_five_clusters_is_covered(share):
    samples = list(share_samples(5, 500, seed=1, share=share))
    plain, _ = covered(samples, share, corrected=False)
    corrected, width = covered(samples, share, bounds=BOUNDS)
    assert plain < 0.87
    assert corrected >= 0.92
    assert width < 0.6


def test_score_of_five_clusters_is_covered():
    samples = list(score_samples(5, 500, seed=2))
    plain, _ = covered(samples, 1.0, corrected=False)
    corrected, _ = covered(samples, 1.0)
    assert plain < 0.88
    assert corrected >= 0.92


def test_share_of_single_rows_is_covered():
    # One row a post: of 5 rows with a share of .8, a third of all samples has no error.
    samples = list(share_samples(5, 400, seed=3, size=1, share=0.8, spread=0.1))
    plain, _ = covered(samples, 0.8, corrected=False)
    corrected, _ = covered(samples, 0.8, bounds=BOUNDS)
    assert plain < 0.75
    assert corrected >= 0.92


def test_correction_vanishes_with_many_clusters():
    samples = list(share_samples(200, 100, seed=4, size=5))
    coverage, width = covered(samples, 0.7, bounds=BOUNDS)
    _, plain_width = covered(samples, 0.7, corrected=False)
    assert coverage >= 0.9
    assert width == pytest.approx(plain_width, rel=0.05)
    scores = list(score_samples(200, 60, seed=5))
    _, width = covered(scores, 1.0)
    _, plain_width = covered(scores, 1.0, corrected=False)
    assert width == pytest.approx(plain_width, rel=0.05)


def test_difference_of_five_clusters_is_covered():
    hits = []
    pairs = zip(
        share_samples(5, 400, seed=6, share=0.8, size=6),
        share_samples(5, 400, seed=7, share=0.6, size=6),
        strict=True,
    )
    for i, ((a, clusters), (b, _)) in enumerate(pairs):
        interval = paired_differences(
            a, b, clusters, accuracy, bounds=BOUNDS, replicates=600, seed=i
        )["accuracy"].interval
        assert -1 <= interval.low <= interval.high <= 1
        hits.append(interval.low <= 0.2 <= interval.high)
    assert numpy.mean(hits) >= 0.92


def test_macro_f1_of_five_clusters_is_covered():
    family = metrics["labels"]()
    bounds = {spec.name: spec.bounds for spec in family.specs}
    rng, hits = numpy.random.default_rng(8), []
    # Every class is right with .7 and taken for each other class with .15: macro-F1 is .7.
    for i in range(300):
        gold = rng.integers(3, size=100)
        shift = numpy.where(rng.random(100) < 0.7, 0, rng.integers(1, 3, size=100))
        rows = numpy.zeros((100, 13))
        rows[:, 0] = 1
        rows[numpy.arange(100), 1 + gold * 4 + (gold + shift) % 3] = 1
        interval = bootstrap(
            rows,
            [str(j // 20) for j in range(100)],
            family.compute,
            bounds=bounds,
            replicates=400,
            seed=i,
        )["macro_f1"]
        hits.append(interval.low <= 0.7 <= interval.high)
    assert numpy.mean(hits) >= 0.92


@pytest.mark.parametrize("n_clusters", [2, 3, 4])
def test_fewer_than_five_clusters_give_no_interval(n_clusters):
    ((rows, clusters),) = share_samples(n_clusters, 1, seed=0)
    interval = bootstrap(rows, clusters, accuracy, bounds=BOUNDS)["accuracy"]
    assert isnan(interval.low)
    assert isnan(interval.high)
    assert interval.note == f"no interval: {n_clusters} clusters, at least 5 are needed"
    assert interval.method == ""
    robust = mean_interval(rows[:, 1].tolist(), clusters, bounds=(0, 1))
    assert (isnan(robust.low), robust.note) == (True, interval.note)


def test_clusters_without_a_row_that_counts_are_not_counted():
    ((rows, clusters),) = share_samples(20, 1, seed=0)
    rows[30:] = 0  # a slice of 3 of the 20 clusters
    interval = bootstrap(rows, clusters, accuracy, bounds=BOUNDS)["accuracy"]
    assert interval.note == "no interval: 3 clusters, at least 5 are needed"


def test_method_names_form_and_degrees_of_freedom():
    ((rows, clusters),) = share_samples(7, 1, seed=0)
    shares = bootstrap(rows, clusters, accuracy, bounds=BOUNDS)["accuracy"]
    scores = bootstrap(rows, clusters, accuracy)["accuracy"]
    start = "cluster bootstrap, 10000 replicates, seed 0, "
    assert shares.method == start + "Wilson form with t of 6 df"
    assert scores.method == start + "percentiles with t of 6 df"


def test_mean_interval_of_five_clusters_is_covered():
    samples = share_samples(5, 500, seed=9, share=0.8, size=4)
    hits = []
    for rows, clusters in samples:
        interval = mean_interval(rows[:, 1].tolist(), clusters, bounds=(0, 1))
        hits.append(interval.low <= 0.8 <= interval.high)
    assert numpy.mean(hits) >= 0.92


def test_independent_rows_have_wilsons_interval():
    interval = mean_interval([1.0, 0.0, 1.0, 0.0], list("abcd"), bounds=(0, 1))
    assert (interval.low, interval.high) == pytest.approx((0.15, 0.85), abs=5e-4)
    assert interval.method == "Wilson"
