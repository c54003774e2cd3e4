"""Bootstrap intervals from resampled clusters (images, posts).

Because row statistics add up, a replicate is a matrix product: how often each cluster was drawn,
times the sums of the clusters. The resamples are drawn once for any number of systems, families and
slices, so their replicates are paired. Source: Efron and Tibshirani (1993).

    resamples = BootstrapResamples([clusters], replicates=10_000, seed=0)
    resamples.intervals(rows, clusters, family.compute)["macro_f1"]    # Interval(low=.61, high=.67)
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gen_msa.metrics.base import UndefinedMetric
from gen_msa.metrics.statistics.intervals import (
    UNBOUNDED,
    Bounds,
    Interval,
    corrected_interval,
    percentile_interval,
    too_few_clusters,
)

Array = NDArray[np.float64]
ComputeValues = Callable[[Array], Mapping[str, Array]]
"""Metrics from sums of rows, `(..., k)` -> each `(...,)`: `Metric.compute`."""

NO_BOUNDS: Mapping[str, Bounds] = {}
"""No metric is known to have bounds."""

BLOCK_SIZE = 1 << 20
"""Draws held in memory at a time, 8 bytes each."""
MAX_CACHED_BYTES = 1 << 28
"""Bytes of resamples that are cached; more than that are drawn again, equally."""


class BootstrapResamples:
    """How often each replicate drew each cluster, shared by all systems."""

    def __init__(
        self,
        clusters: Sequence[Sequence[str]],
        *,
        replicates: int = 10_000,
        seed: int = 0,
        max_cached_bytes: int = MAX_CACHED_BYTES,
    ) -> None:
        """Draw the resamples.

        Args:
            clusters: The clusters of each system's rows; replicates draw from their union.
            replicates: The number of replicates, at least 2.
            seed: The seed of the draws.
            max_cached_bytes: Resamples of more bytes than this are drawn again, equally, at each
                use.

        Raises:
            UndefinedMetric: There are fewer than two clusters.
            ValueError: There are fewer than two replicates.
        """
        if replicates < 2:
            raise ValueError(f"an interval needs at least 2 replicates, not {replicates}")
        self._cluster_index = {
            c: i
            for i, c in enumerate(
                sorted({c for system_clusters in clusters for c in system_clusters})
            )
        }
        if len(self._cluster_index) < 2:
            raise UndefinedMetric(too_few_clusters(len(self._cluster_index)))
        self.replicates, self.seed = replicates, seed
        fits = replicates * len(self._cluster_index) <= max_cached_bytes
        self._cached_blocks = list(self._sample_blocks()) if fits else None

    @property
    def description(self) -> str:
        """The method of the intervals, for `MetricValue.method`."""
        return f"cluster bootstrap, {self.replicates} replicates, seed {self.seed}"

    def sum_by_cluster(self, rows: Array, clusters: Sequence[str]) -> Array:
        """Sum the rows of each cluster, `(clusters, k)`; a cluster without rows has zeros.

        Args:
            rows: Row statistics, `(n, k)`.
            clusters: The cluster of each row.

        Returns:
            The sums, in the order of the resampled clusters.

        Raises:
            ValueError: The rows have another shape, contain NaN, or have an unknown cluster.
        """
        return cluster_sums(rows, clusters, self._cluster_index)

    def replicate_sums(self, rows: Array, clusters: Sequence[str]) -> Array:
        """Sum the rows of each replicate, `(replicates, k)`.

        Args:
            rows: Row statistics, `(n, k)`.
            clusters: The cluster of each row.

        Returns:
            The sums, float64, in which a cluster counts as often as the replicate drew it.
        """
        cluster_totals = self.sum_by_cluster(rows, clusters)
        blocks = self._cached_blocks if self._cached_blocks is not None else self._sample_blocks()
        return np.concatenate([block.astype(np.float64) @ cluster_totals for block in blocks])

    def intervals(
        self,
        rows: Array,
        clusters: Sequence[str],
        compute: ComputeValues,
        *,
        bounds: Mapping[str, Bounds] = NO_BOUNDS,
        level: float = 0.95,
        corrected: bool = True,
    ) -> dict[str, Interval]:
        """Return the interval of every metric.

        Undefined replicates are excluded. An interval that cannot be given is NaN, with the reason.

        Args:
            rows: Row statistics, `(n, k)`; a row that does not count is 0 throughout.
            clusters: The cluster of each row.
            compute: The family's `compute`.
            bounds: Of each metric that has some.
            level: The confidence level, between 0 and 1.
            corrected: Correct the limits for few clusters, and give none below
                `intervals.MIN_CLUSTERS`. False: plain percentiles, as other programs give them.
        """
        cluster_totals = self.sum_by_cluster(rows, clusters)
        n_clusters = int((cluster_totals != 0).any(axis=1).sum())
        point_values = compute(cluster_totals.sum(axis=0))
        replicate_values = compute(self.replicate_sums(rows, clusters))
        intervals = {}
        for name, value in point_values.items():
            interval = (
                corrected_interval(
                    float(value),
                    replicate_values[name],
                    n_clusters,
                    level=level,
                    bounds=bounds.get(name, UNBOUNDED),
                )
                if corrected
                else percentile_interval(float(value), replicate_values[name], level=level)
            )
            intervals[name] = self.with_method(interval)
        return intervals

    def with_method(self, interval: Interval, prefix: str = "") -> Interval:
        """Return an interval whose method names the resamples as well.

        Args:
            interval: An interval of these resamples.
            prefix: What stands before the description, e.g. `paired `.
        """
        method = f"{prefix}{self.description}, {interval.method}" if interval.method else ""
        return replace(interval, method=method)

    def _sample_blocks(self) -> Iterator[NDArray[np.uint8]]:
        """Yield blocks (some replicates, clusters): how often each cluster was drawn."""
        n, remaining = len(self._cluster_index), self.replicates
        rng = np.random.default_rng(self.seed)
        while remaining:
            size = min(remaining, max(1, BLOCK_SIZE // n))
            sampled = rng.integers(n, size=(size, n)) + n * np.arange(size)[:, None]
            counts = np.bincount(sampled.ravel(), minlength=size * n)
            # uint8 is enough: one of more than 255 clusters is never drawn more than 255 times.
            yield counts.reshape(size, n).astype(np.uint8)
            remaining -= size


def bootstrap(
    rows: Array,
    clusters: Sequence[str],
    compute: ComputeValues,
    *,
    bounds: Mapping[str, Bounds] = NO_BOUNDS,
    replicates: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
    corrected: bool = True,
) -> dict[str, Interval]:
    """Return the bootstrap intervals of one system; see `BootstrapResamples.intervals`.

    Args:
        rows: Row statistics, `(n, k)`.
        clusters: The cluster of each row.
        compute: The family's `compute`.
        bounds: Of each metric that has some.
        replicates: The number of replicates.
        seed: The seed of the draws.
        level: The confidence level, between 0 and 1.
        corrected: Correct the limits for few clusters.
    """
    resamples = BootstrapResamples([clusters], replicates=replicates, seed=seed)
    return resamples.intervals(
        rows, clusters, compute, bounds=bounds, level=level, corrected=corrected
    )


def cluster_sums(rows: Array, clusters: Sequence[str], cluster_index: Mapping[str, int]) -> Array:
    """Sum the rows of each cluster.

    Args:
        rows: Row statistics, `(n, k)`.
        clusters: The cluster of each row.
        cluster_index: The row of each cluster in the result.

    Returns:
        `(len(cluster_index), k)`.

    Raises:
        ValueError: The rows have another shape, contain NaN, or have an unknown cluster.
    """
    if rows.ndim != 2 or len(rows) != len(clusters):
        raise ValueError(f"rows of shape {rows.shape} with {len(clusters)} clusters")
    if not np.isfinite(rows).all():
        raise ValueError("rows contain NaN or infinity: write 0 for a row that does not count")
    unknown = next((c for c in clusters if c not in cluster_index), None)
    if unknown is not None:
        raise ValueError(f"cluster {unknown!r} is not among the resampled ones")
    sums = np.zeros((len(cluster_index), rows.shape[1]))
    np.add.at(sums, [cluster_index[c] for c in clusters], rows)
    return sums


@dataclass(frozen=True)
class PairedDifference:
    """The difference of two systems, a - b, with its interval."""

    value: float
    interval: Interval


def paired_differences(
    rows_a: Array,
    rows_b: Array,
    clusters: Sequence[str],
    compute: ComputeValues,
    *,
    clusters_b: Sequence[str] | None = None,
    bounds: Mapping[str, Bounds] = NO_BOUNDS,
    resamples: BootstrapResamples | None = None,
    replicates: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, PairedDifference]:
    """Return the difference of every metric between two systems, with its interval.

    Args:
        rows_a: Row statistics of the first system, `(n, k)`.
        rows_b: Row statistics of the second system, `(m, k)`.
        clusters: The cluster of each row of `rows_a`.
        compute: The family's `compute`.
        clusters_b: The cluster of each row of `rows_b`, if the systems have different rows.
        bounds: Of each metric that has some.
        resamples: Resamples to share; None to draw `replicates` with `seed`.
        replicates: The number of replicates.
        seed: The seed of the draws.
        level: The confidence level, between 0 and 1.
    """
    b_clusters = clusters if clusters_b is None else clusters_b
    shared_resamples = resamples or BootstrapResamples(
        [clusters, b_clusters], replicates=replicates, seed=seed
    )
    a = shared_resamples.sum_by_cluster(rows_a, clusters)
    b = shared_resamples.sum_by_cluster(rows_b, b_clusters)
    n_clusters = int(((a != 0) | (b != 0)).any(axis=1).sum())
    values_a, values_b = compute(a.sum(axis=0)), compute(b.sum(axis=0))
    replicates_a = compute(shared_resamples.replicate_sums(rows_a, clusters))
    replicates_b = compute(shared_resamples.replicate_sums(rows_b, b_clusters))
    differences = {}
    for name in values_a:
        value = float(values_a[name] - values_b[name])
        interval = corrected_interval(
            value,
            replicates_a[name] - replicates_b[name],
            n_clusters,
            level=level,
            bounds=_difference_bounds(bounds.get(name, UNBOUNDED)),
        )
        differences[name] = PairedDifference(
            value, shared_resamples.with_method(interval, "paired ")
        )
    return differences


def _difference_bounds(bounds: Bounds) -> Bounds:
    width = bounds[1] - bounds[0]
    return -width, width
