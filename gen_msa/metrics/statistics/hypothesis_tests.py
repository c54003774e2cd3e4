"""Hypothesis tests of the difference of two systems: permutation, McNemar, p-value adjustment.

In each replicate of the permutation test the systems swap their answers in about half of the
clusters. It serves any metric computed from sums of rows (F1, correlation, BLEU).

    permutation_test(rows_a, rows_b, clusters, family.compute).p["macro_f1"]      # 0.013
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gen_msa.metrics.statistics.bootstrap import BLOCK_SIZE, Array, ComputeValues, cluster_sums


def discordant_counts(correct_a: Sequence[bool], correct_b: Sequence[bool]) -> tuple[int, int]:
    """Count the rows that only the first system has right, and those that only the second has.

    Args:
        correct_a: Whether the first system is right, by row.
        correct_b: Whether the second system is right, by row.

    Returns:
        Rows that only the first has right, rows that only the second has right.

    Raises:
        ValueError: The lengths differ.
    """
    pairs = list(zip(correct_a, correct_b, strict=True))
    return sum(bool(a and not b) for a, b in pairs), sum(bool(b and not a) for a, b in pairs)


def mcnemar_test(only_a: int, only_b: int, *, mid_p: bool = False) -> float:
    """Return the two-sided p-value of McNemar's exact test; 1 if the systems never differ.

    Args:
        only_a: Rows that only the first system has right.
        only_b: Rows that only the second system has right.
        mid_p: Count half of the observed outcome: less conservative (Fagerland et al. 2013).

    Raises:
        ValueError: A count is negative.
    """
    from scipy.stats import binom, binomtest

    if min(only_a, only_b) < 0:
        raise ValueError(f"a count of {min(only_a, only_b)} rows is negative")
    n = only_a + only_b
    if n == 0:
        return 1.0
    p = float(binomtest(only_a, n, 0.5).pvalue)
    return min(1.0, p - float(binom.pmf(only_a, n, 0.5))) if mid_p else p


def holm(p: Sequence[float]) -> list[float]:
    """Return Holm-adjusted p-values in the order given (Holm 1979).

    Raises:
        ValueError: A value is no p-value.
    """
    _check_p_values(p)
    adjusted, largest = [0.0] * len(p), 0.0
    for rank, i in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        largest = max(largest, min(1.0, (len(p) - rank) * p[i]))
        adjusted[i] = largest
    return adjusted


def benjamini_hochberg(p: Sequence[float]) -> list[float]:
    """Return Benjamini-Hochberg-adjusted p-values in the order given.

    Raises:
        ValueError: A value is no p-value.
    """
    from scipy.stats import false_discovery_control

    _check_p_values(p)
    return [float(q) for q in false_discovery_control(np.array(p), method="bh")] if p else []


def _check_p_values(p: Sequence[float]) -> None:
    invalid = [value for value in p if not 0 <= value <= 1]
    if invalid:
        raise ValueError(f"{invalid[0]} is no p-value; omit comparisons without one")


TOLERANCE = 1e-12
"""Differences closer than this are equal up to rounding."""


@dataclass(frozen=True)
class PermutationResult:
    """Two-sided p-value of every metric; NaN if it is undefined for either system."""

    p: dict[str, float]
    description: str
    """The method, for reports."""


def permutation_test(
    rows_a: Array,
    rows_b: Array,
    clusters: Sequence[str],
    compute: ComputeValues,
    *,
    clusters_b: Sequence[str] | None = None,
    replicates: int = 10_000,
    seed: int = 0,
) -> PermutationResult:
    """Test whether the metrics of two systems differ.

    p = (b + 1) / (m + 1) if b of m replicates have a difference at least as large as the observed
    one, so p is never 0. If all swaps are fewer than `replicates`, each is evaluated once and p = b
    / m. An undefined replicate counts as at least as large.

    Args:
        rows_a: Row statistics of the first system, `(n, k)`.
        rows_b: Row statistics of the second system, `(m, k)`.
        clusters: The cluster of each row of `rows_a`.
        compute: The family's `compute`.
        clusters_b: The cluster of each row of `rows_b`, if the systems have different rows.
        replicates: The number of replicates.
        seed: The seed of the swaps.

    Returns:
        Two-sided p in (0, 1] of every metric, NaN if it is undefined for either system, and the
        description of the test.

    Raises:
        ValueError: There are no replicates.
    """
    if replicates < 1:
        raise ValueError(f"a test needs at least 1 replicate, not {replicates}")
    b_clusters = clusters if clusters_b is None else clusters_b
    cluster_index = {c: i for i, c in enumerate(sorted({*clusters, *b_clusters}))}
    a = cluster_sums(rows_a, clusters, cluster_index)
    b = cluster_sums(rows_b, b_clusters, cluster_index)
    cluster_differences = b - a
    # Swapping a cluster without a difference changes nothing.
    cluster_differences = cluster_differences[(cluster_differences != 0).any(axis=1)]
    exact = len(cluster_differences) < 63 and 2 ** len(cluster_differences) <= replicates
    m = 2 ** len(cluster_differences) if exact else replicates
    swaps = (
        _all_swaps(len(cluster_differences))
        if exact
        else _random_swaps(len(cluster_differences), m, seed)
    )
    observed, n_as_extreme = _count_as_extreme(
        a.sum(axis=0), b.sum(axis=0), cluster_differences, swaps, compute
    )
    correction = 0 if exact else 1
    p = {
        n: float("nan") if np.isnan(d) else (n_as_extreme[n] + correction) / (m + correction)
        for n, d in observed.items()
    }
    description = f"permutation, exact, {m}" if exact else f"permutation, {m}, seed {seed}"
    return PermutationResult(p, description)


def _count_as_extreme(
    a: Array,
    b: Array,
    cluster_differences: Array,
    swaps: Iterator[NDArray[np.bool_]],
    compute: ComputeValues,
) -> tuple[dict[str, float], dict[str, int]]:
    """Return the observed differences, and how many swaps have one at least as large."""
    values_a, values_b = compute(a), compute(b)
    observed = {name: float(values_a[name] - values_b[name]) for name in values_a}
    n_as_extreme = dict.fromkeys(observed, 0)
    for swap in swaps:
        exchanged = swap.astype(np.float64) @ cluster_differences
        permuted_a, permuted_b = compute(a + exchanged), compute(b - exchanged)
        for name, difference in observed.items():
            nearer = np.abs(permuted_a[name] - permuted_b[name]) < abs(difference) - TOLERANCE
            n_as_extreme[name] += int((~nearer).sum())
    return observed, n_as_extreme


def _all_swaps(clusters: int) -> Iterator[NDArray[np.bool_]]:
    """Yield every choice of clusters, `(2 ** clusters, clusters)`."""
    yield (np.arange(2**clusters)[:, None] >> np.arange(clusters) & 1).astype(np.bool_)


def _random_swaps(clusters: int, m: int, seed: int) -> Iterator[NDArray[np.bool_]]:
    """Yield blocks (some replicates, clusters) of fair coins."""
    rng = np.random.default_rng(seed)
    size = max(1, BLOCK_SIZE // clusters)
    for begin in range(0, m, size):
        yield rng.integers(0, 2, size=(min(size, m - begin), clusters), dtype=np.bool_)
