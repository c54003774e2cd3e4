"""Permutation test: were the two readers' answers anyone's, would they still differ so much?

In each replicate the two readers change places in about half of the clusters, whole ones. Serves
any figure that is made of sums of rows (F1, correlation, BLEU). Knows nothing of what rows count.

    permutation(rows_a, rows_b, clusters, family.values).p["macro_f1"]      # 0.013
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gen_msa.metrics.statistics._quantiles import Array
from gen_msa.metrics.statistics.bootstrap import AT_ONCE, Values, cluster_sums

SAME = 1e-12
"""Differences nearer to each other than this are the same but for rounding."""


@dataclass(frozen=True)
class Permutation:
    """p of every figure, two-sided; NaN where a figure is undefined for either reader."""

    p: dict[str, float]
    how: str
    """For `Comparison.test`."""


def permutation(
    rows_a: Array,
    rows_b: Array,
    clusters: Sequence[str],
    values: Values,
    *,
    clusters_b: Sequence[str] | None = None,
    replicates: int = 10_000,
    seed: int = 0,
) -> Permutation:
    """Whether the two readers' figures differ by more than chance would have it.

    p = (b + 1) / (m + 1), b of m replicates being as far apart as what was seen, so never 0. Where
    all exchanges are fewer than `replicates`, each is looked at once instead and p = b / m. A
    replicate without a value counts as far apart. Raises `ValueError` below one replicate.
    """
    if replicates < 1:
        raise ValueError(f"{replicates} replicates test nothing")
    of_b = clusters if clusters_b is None else clusters_b
    number = {c: i for i, c in enumerate(sorted({*clusters, *of_b}))}
    a = cluster_sums(rows_a, clusters, number)
    b = cluster_sums(rows_b, of_b, number)
    change = b - a
    change = change[(change != 0).any(axis=1)]  # clusters on which the two differ at all
    exact = len(change) < 63 and 2 ** len(change) <= replicates
    m = 2 ** len(change) if exact else replicates
    swaps = _all_swaps(len(change)) if exact else _swaps(len(change), m, seed)
    seen, far = _count(a.sum(axis=0), b.sum(axis=0), change, swaps, values)
    plus = 0 if exact else 1
    p = {n: float("nan") if np.isnan(d) else (far[n] + plus) / (m + plus) for n, d in seen.items()}
    how = f"permutation, exact, {m}" if exact else f"permutation, {m}, seed {seed}"
    return Permutation(p, how)


def _count(
    a: Array, b: Array, change: Array, swaps: Iterator[NDArray[np.bool_]], values: Values
) -> tuple[dict[str, float], dict[str, int]]:
    """The differences seen, and how many exchanges are as far apart."""
    whole_a, whole_b = values(a), values(b)
    seen = {name: float(whole_a[name] - whole_b[name]) for name in whole_a}
    far = dict.fromkeys(seen, 0)
    for swap in swaps:
        moved = swap.astype(np.float64) @ change
        many_a, many_b = values(a + moved), values(b - moved)
        for name, difference in seen.items():
            nearer = np.abs(many_a[name] - many_b[name]) < abs(difference) - SAME
            far[name] += int((~nearer).sum())
    return seen, far


def _all_swaps(clusters: int) -> Iterator[NDArray[np.bool_]]:
    """Every choice of clusters, (2 ** clusters, clusters)."""
    yield (np.arange(2**clusters)[:, None] >> np.arange(clusters) & 1).astype(np.bool_)


def _swaps(clusters: int, m: int, seed: int) -> Iterator[NDArray[np.bool_]]:
    """Blocks (some replicates, clusters) of fair coins."""
    rng = np.random.default_rng(seed)
    size = max(1, AT_ONCE // clusters)
    for begin in range(0, m, size):
        yield rng.integers(0, 2, size=(min(size, m - begin), clusters), dtype=np.bool_)
