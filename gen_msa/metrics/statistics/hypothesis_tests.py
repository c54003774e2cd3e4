"""Permutation test: were the two readers' answers anyone's, would they still differ so much?

In each replicate the two readers change places in about half of the clusters, whole ones. Serves
any figure that is made of sums of rows (F1, correlation, BLEU). Knows nothing of what rows count.

    permutation(rows_a, rows_b, clusters, family.values).p["macro_f1"]      # 0.013
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gen_msa.metrics.statistics.bootstrap import BLOCK_SIZE, Array, ComputeValues, cluster_sums

# McNemar's exact test: of the rows that only one of two readers has right, are they shared evenly?


def discordant_counts(correct_a: Sequence[bool], correct_b: Sequence[bool]) -> tuple[int, int]:
    """Rows that only a has right, and those that only b has.

    Raises `ValueError` when the two differ in length.
    """
    pairs = list(zip(correct_a, correct_b, strict=True))
    return sum(bool(a and not b) for a, b in pairs), sum(bool(b and not a) for a, b in pairs)


def mcnemar_test(only_a: int, only_b: int, *, mid_p: bool = False) -> float:
    """Two-sided p; 1 where the two never differ.

    `mid_p` counts half of what was seen itself: less cautious, and nearer to its level (Fagerland
    2013). Raises `ValueError` for a negative count.
    """
    from scipy.stats import binom, binomtest

    if min(only_a, only_b) < 0:
        raise ValueError(f"{min(only_a, only_b)} rows cannot be")
    n = only_a + only_b
    if n == 0:
        return 1.0
    p = float(binomtest(only_a, n, 0.5).pvalue)
    return min(1.0, p - float(binom.pmf(only_a, n, 0.5))) if mid_p else p


# p-values of many comparisons, so that the best of twenty is not taken for luck's absence.


def holm(p: Sequence[float]) -> list[float]:
    """Adjusted p-values in the order given. Raises `ValueError` for what is no p-value."""
    _check_p_values(p)
    adjusted, largest = [0.0] * len(p), 0.0
    for rank, i in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        largest = max(largest, min(1.0, (len(p) - rank) * p[i]))
        adjusted[i] = largest
    return adjusted


def benjamini_hochberg(p: Sequence[float]) -> list[float]:
    """Adjusted p-values in the order given. Raises `ValueError` for what is no p-value."""
    from scipy.stats import false_discovery_control

    _check_p_values(p)
    return [float(q) for q in false_discovery_control(np.array(p), method="bh")] if p else []


def _check_p_values(p: Sequence[float]) -> None:
    invalid = [value for value in p if not 0 <= value <= 1]
    if invalid:
        raise ValueError(f"{invalid[0]} is no p-value; leave out comparisons that have none")


TOLERANCE = 1e-12
"""Differences nearer to each other than this are the same but for rounding."""


@dataclass(frozen=True)
class PermutationResult:
    """p of every figure, two-sided; NaN where a figure is undefined for either reader."""

    p: dict[str, float]
    description: str
    """For `Comparison.test`."""


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
    """Whether the two readers' figures differ by more than chance would have it.

    p = (b + 1) / (m + 1), b of m replicates being as far apart as what was seen, so never 0. Where
    all exchanges are fewer than `replicates`, each is looked at once instead and p = b / m. A
    replicate without a value counts as far apart. Raises `ValueError` below one replicate.
    """
    if replicates < 1:
        raise ValueError(f"{replicates} replicates test nothing")
    b_clusters = clusters if clusters_b is None else clusters_b
    cluster_index = {c: i for i, c in enumerate(sorted({*clusters, *b_clusters}))}
    a = cluster_sums(rows_a, clusters, cluster_index)
    b = cluster_sums(rows_b, b_clusters, cluster_index)
    cluster_differences = b - a
    cluster_differences = cluster_differences[
        (cluster_differences != 0).any(axis=1)
    ]  # clusters on which the two differ at all
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
    """The differences seen, and how many exchanges are as far apart."""
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
    """Every choice of clusters, (2 ** clusters, clusters)."""
    yield (np.arange(2**clusters)[:, None] >> np.arange(clusters) & 1).astype(np.bool_)


def _random_swaps(clusters: int, m: int, seed: int) -> Iterator[NDArray[np.bool_]]:
    """Blocks (some replicates, clusters) of fair coins."""
    rng = np.random.default_rng(seed)
    size = max(1, BLOCK_SIZE // clusters)
    for begin in range(0, m, size):
        yield rng.integers(0, 2, size=(min(size, m - begin), clusters), dtype=np.bool_)
