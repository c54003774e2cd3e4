"""Pairwise comparison of systems on the same rows: difference, interval, test, adjusted p value.

Accuracy is tested by McNemar's exact test when no two rows share a cluster. Every other metric, and
accuracy of clustered rows, is tested by a permutation test that swaps the two systems in whole
clusters.

    compare_systems({"builtin": a, "majority": b}, ["labels.accuracy"], resamples, "holm")
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from math import isnan

from gen_msa.evaluation.scores import SystemScores
from gen_msa.metrics.statistics.bootstrap import BootstrapResamples, paired_differences
from gen_msa.metrics.statistics.hypothesis_tests import (
    benjamini_hochberg,
    discordant_counts,
    holm,
    mcnemar_test,
    permutation_test,
)
from gen_msa.metrics.statistics.proportions import detectable_difference
from gen_msa.results import PairedComparison

ACCURACY = "labels.accuracy"
CORRECTION_NAMES = {"holm": "Holm", "bh": "Benjamini-Hochberg"}


def compare_systems(
    systems: Mapping[str, SystemScores],
    headline: Sequence[str],
    resamples: BootstrapResamples,
    correction: str = "holm",
) -> tuple[PairedComparison, ...]:
    """Compare every pair of systems by every headline metric that both have.

    Args:
        systems: System -> its scores.
        headline: Metrics as `family.metric`.
        resamples: Bootstrap resamples that all systems share.
        correction: `holm`, or `bh` for Benjamini-Hochberg.

    Returns:
        The comparisons, with p values adjusted for their number.
    """
    comparisons = [
        comparison
        for metric in headline
        for a, b in combinations(systems, 2)
        if (comparison := _compare_pair(systems, a, b, metric, resamples)) is not None
    ]
    adjust = holm if correction == "holm" else benjamini_hochberg
    adjusted_p = adjust([c.p for c in comparisons])
    adjustment = f"{CORRECTION_NAMES[correction]} over {len(comparisons)}"
    return tuple(
        c.model_copy(update={"p_adjusted": p, "adjustment": adjustment})
        for c, p in zip(comparisons, adjusted_p, strict=True)
    )


def power_notes(systems: Mapping[str, SystemScores]) -> list[str]:
    """Describe the smallest difference in accuracy to the first system that is detectable."""
    names = list(systems)
    notes = []
    for other in names[1:]:
        a, b = systems[names[0]].correct(), systems[other].correct()
        discordance = sum(discordant_counts(a, b)) / len(a) if a else 0.0
        if discordance:
            min_difference = detectable_difference(len(a), discordance)
            notes.append(
                f"{names[0]} and {other} differ in {discordance:.1%} of {len(a):,} rows: a "
                f"difference in accuracy below {100 * min_difference:.1f} points would be missed "
                "with probability above 0.2 (rows taken as independent)"
            )
    return notes


def _compare_pair(
    systems: Mapping[str, SystemScores], a: str, b: str, metric: str, resamples: BootstrapResamples
) -> PairedComparison | None:
    """Compare two systems, p not yet adjusted; None where one of the two lacks the metric."""
    family, _, metric_name = metric.partition(".")
    first, second = systems[a], systems[b]
    if family not in first.row_statistics or family not in second.row_statistics:
        return None
    compute = first.metric(family).compute
    rows = first.row_statistics[family], second.row_statistics[family]
    difference = paired_differences(
        *rows, first.clusters, compute, clusters_b=second.clusters, resamples=resamples
    )[metric_name]
    test, p = _run_test(first, second, metric, resamples)
    if isnan(difference.value) or isnan(difference.low) or isnan(p):
        return None
    return PairedComparison(
        a=a,
        b=b,
        family=family,
        metric=metric_name,
        difference=difference.value,
        low=difference.low,
        high=difference.high,
        method=f"paired {resamples.description}",
        test=test,
        p=p,
        p_adjusted=p,
        adjustment="none",
    )


def _run_test(
    first: SystemScores, second: SystemScores, metric: str, resamples: BootstrapResamples
) -> tuple[str, float]:
    family, _, metric_name = metric.partition(".")
    if metric == ACCURACY and first.rows_independent and second.rows_independent:
        return "McNemar, exact", mcnemar_test(*discordant_counts(first.correct(), second.correct()))
    result = permutation_test(
        first.row_statistics[family],
        second.row_statistics[family],
        first.clusters,
        first.metric(family).compute,
        clusters_b=second.clusters,
        replicates=resamples.replicates,
        seed=resamples.seed,
    )
    return result.description, result.p[metric_name]
