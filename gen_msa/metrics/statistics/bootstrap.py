"""Intervals by drawing whole clusters (pictures, posts) again, with replacement.

Because rows add up, a replicate is a matrix product: how often each cluster was drawn, times the
sums of the clusters. The draws are made once and serve any number of readers, families and slices,
whose replicates are thereby paired. Knows nothing of what rows count.

    draws = Draws([clusters], replicates=10_000, seed=0)
    draws.intervals(rows, clusters, family.values)["macro_f1"]      # Interval(low=.61, high=.67)
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gen_msa.metrics.base import UndefinedMetric
from gen_msa.metrics.statistics._quantiles import Array, Method, interval_limits

ComputeValues = Callable[[Array], Mapping[str, Array]]
"""Every figure from sums of rows, (..., k) -> each (...,): `Metric.values`."""

BLOCK_SIZE = 1 << 20
"""Draws of a cluster held in memory at a time, 8 bytes each."""
MAX_CACHED_BYTES = 1 << 28
"""Bytes of draws that are kept for the next reader; more than that is drawn anew, alike."""


@dataclass(frozen=True)
class Interval:
    """Where a figure lies with the given confidence; NaN twice where that cannot be said."""

    low: float
    high: float


class BootstrapResamples:
    """Which clusters each replicate drew; the same for everyone who asks."""

    def __init__(
        self,
        clusters: Sequence[Sequence[str]],
        *,
        replicates: int = 10_000,
        seed: int = 0,
        max_cached_bytes: int = MAX_CACHED_BYTES,
    ) -> None:
        """`clusters`: of each reader's rows; replicates draw from the clusters of all of them.

        Raises `Undefined` below two clusters, `ValueError` below two replicates.
        """
        if replicates < 2:
            raise ValueError(f"{replicates} replicates make no interval")
        self._cluster_index = {c: i for i, c in enumerate(sorted({c for system_clusters in clusters for c in system_clusters}))}
        if len(self._cluster_index) < 2:
            raise UndefinedMetric(f"{len(self._cluster_index)} cluster: an interval needs two or more")
        self.replicates, self.seed = replicates, seed
        fits = replicates * len(self._cluster_index) <= max_cached_bytes
        self._cached_blocks = list(self._sample_blocks()) if fits else None

    @property
    def description(self) -> str:
        """For `Value.how`."""
        return f"cluster bootstrap, {self.replicates} replicates, seed {self.seed}"

    def sum_by_cluster(self, rows: Array, clusters: Sequence[str]) -> Array:
        """Sums of each cluster's rows, (clusters, k); a cluster without rows has zeros.

        Raises `ValueError` for rows that are not (n, k), hold NaN, or have an unknown cluster.
        """
        return cluster_sums(rows, clusters, self._cluster_index)

    def replicate_sums(self, rows: Array, clusters: Sequence[str]) -> Array:
        """Sums of the rows of each replicate, (replicates, k)."""
        cluster_totals = self.sum_by_cluster(rows, clusters)
        blocks = self._cached_blocks if self._cached_blocks is not None else self._sample_blocks()
        return np.concatenate([block.astype(np.float64) @ cluster_totals for block in blocks])

    def intervals(
        self,
        rows: Array,
        clusters: Sequence[str],
        compute: ComputeValues,
        *,
        level: float = 0.95,
        method: Method = "percentile",
    ) -> dict[str, Interval]:
        """The interval of every figure. Replicates without a value are left out of it, and if they
        are more than 5 %, or the figure itself has none, there is no interval (NaN).

        `method="bca"` corrects bias and skew, for few clusters; it looks at each one left out.
        """
        cluster_totals = self.sum_by_cluster(rows, clusters)
        point_values, replicate_values = compute(cluster_totals.sum(axis=0)), compute(self.replicate_sums(rows, clusters))
        jackknife_values = compute(cluster_totals.sum(axis=0) - cluster_totals) if method == "bca" else {}
        return {
            name: Interval(*interval_limits(float(value), replicate_values[name], jackknife_values.get(name), level))
            for name, value in point_values.items()
        }

    def _sample_blocks(self) -> Iterator[NDArray[np.uint8]]:
        """Blocks (some replicates, clusters): how often each cluster was drawn."""
        n, remaining = len(self._cluster_index), self.replicates
        rng = np.random.default_rng(self.seed)
        while remaining:
            size = min(remaining, max(1, BLOCK_SIZE // n))
            sampled = rng.integers(n, size=(size, n)) + n * np.arange(size)[:, None]
            counts = np.bincount(sampled.ravel(), minlength=size * n)
            # One of more than 255 clusters, drawn more than 255 times: not in the world's lifetime.
            yield counts.reshape(size, n).astype(np.uint8)
            remaining -= size


def bootstrap(
    rows: Array,
    clusters: Sequence[str],
    compute: ComputeValues,
    *,
    replicates: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
    method: Method = "percentile",
) -> dict[str, Interval]:
    """`Draws.intervals` of one reader."""
    resamples = BootstrapResamples([clusters], replicates=replicates, seed=seed)
    return resamples.intervals(rows, clusters, compute, level=level, method=method)


def cluster_sums(rows: Array, clusters: Sequence[str], cluster_index: Mapping[str, int]) -> Array:
    """Sums of the rows of each cluster, (len(number), k), each in the row that `number` says.

    Raises `ValueError` for rows that are not (n, k), hold NaN, or have an unknown cluster.
    """
    if rows.ndim != 2 or len(rows) != len(clusters):
        raise ValueError(f"rows of shape {rows.shape} with {len(clusters)} clusters")
    if not np.isfinite(rows).all():
        raise ValueError("rows hold NaN or infinity: a metric writes 0 where it counts nothing")
    unknown = next((c for c in clusters if c not in cluster_index), None)
    if unknown is not None:
        raise ValueError(f"cluster {unknown!r} is none of those that are drawn")
    sums = np.zeros((len(cluster_index), rows.shape[1]))
    np.add.at(sums, [cluster_index[c] for c in clusters], rows)
    return sums
