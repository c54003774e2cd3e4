"""Intervals by drawing whole clusters (pictures, posts) again, with replacement.

Because rows add up, a replicate is a matrix product: how often each cluster was drawn, times the
sums of the clusters. The draws are made once and serve any number of readers, families and slices,
whose replicates are thereby paired. Knows nothing of what rows count.

    draws = Draws([clusters], replicates=10_000, seed=0)
    draws.intervals(rows, clusters, family.values)["macro_f1"]      # Interval(low=.61, high=.67)
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gen_msa.metrics.base import UndefinedMetric

# From replicates of a figure to its interval. Knows nothing of how replicates were had.

Array = NDArray[np.float64]
Method = Literal["percentile", "bca"]

MAX_UNDEFINED_SHARE = 0.05
"""Share of replicates without a value above which nothing is said."""


def interval_limits(
    value: float, replicates: Array, jackknife: Array | None, level: float
) -> tuple[float, float]:
    """Low and high end of the interval of `value` from its replicates `drawn`, (replicates,).

    With `without`, the figure with each cluster left out, the interval is bias-corrected and
    accelerated. NaN twice where the figure or more than 5 % of its replicates are undefined.
    Raises `ValueError` for a level outside 0..1.
    """
    if not 0 < level < 1:
        raise ValueError(f"a level of {level} is not between 0 and 1")
    defined = replicates[~np.isnan(replicates)]
    if np.isnan(value) or len(defined) < (1 - MAX_UNDEFINED_SHARE) * len(replicates):
        return float("nan"), float("nan")
    quantiles = np.array([(1 - level) / 2, (1 + level) / 2])
    if jackknife is not None:
        quantiles = _bca_quantiles(quantiles, value, defined, jackknife[~np.isnan(jackknife)])
    low, high = np.quantile(defined, quantiles)
    return float(low), float(high)


def _bca_quantiles(quantiles: Array, value: float, replicates: Array, jackknife: Array) -> Array:
    """Which quantiles BCa takes (Efron 1987); the plain ones where the figure does not vary."""
    share_below = ((replicates < value).mean() + (replicates <= value).mean()) / 2
    deviations = jackknife.mean() - jackknife if len(jackknife) else np.zeros(1)
    spread = (deviations**2).sum() ** 1.5
    if not 0 < share_below < 1 or spread == 0:
        return quantiles
    normal = NormalDist()
    bias, skew = normal.inv_cdf(share_below), (deviations**3).sum() / (6 * spread)
    z = [bias + normal.inv_cdf(end) for end in quantiles]
    return np.array([normal.cdf(bias + score / (1 - skew * score)) for score in z])


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
        self._cluster_index = {
            c: i
            for i, c in enumerate(
                sorted({c for system_clusters in clusters for c in system_clusters})
            )
        }
        if len(self._cluster_index) < 2:
            raise UndefinedMetric(
                f"{len(self._cluster_index)} cluster: an interval needs two or more"
            )
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
        point_values, replicate_values = (
            compute(cluster_totals.sum(axis=0)),
            compute(self.replicate_sums(rows, clusters)),
        )
        jackknife_values = (
            compute(cluster_totals.sum(axis=0) - cluster_totals) if method == "bca" else {}
        )
        return {
            name: Interval(
                *interval_limits(
                    float(value), replicate_values[name], jackknife_values.get(name), level
                )
            )
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


# Reader a minus reader b on the same clusters, with an interval. Knows no reader.


@dataclass(frozen=True)
class PairedDifference:
    """`value` is a's figure minus b's; the ends are NaN where nothing can be said of them."""

    value: float
    low: float
    high: float


def paired_differences(
    rows_a: Array,
    rows_b: Array,
    clusters: Sequence[str],
    compute: ComputeValues,
    *,
    clusters_b: Sequence[str] | None = None,
    resamples: BootstrapResamples | None = None,
    replicates: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, PairedDifference]:
    """The difference of every figure, with its percentile interval.

    `clusters_b`: where b has other rows than a (it named other aspects) of the same clusters.
    `draws`: made before, for several readers; else `replicates` are drawn here with `seed`.
    """
    b_clusters = clusters if clusters_b is None else clusters_b
    shared_resamples = resamples or BootstrapResamples(
        [clusters, b_clusters], replicates=replicates, seed=seed
    )
    values_a = compute(shared_resamples.sum_by_cluster(rows_a, clusters).sum(axis=0))
    values_b = compute(shared_resamples.sum_by_cluster(rows_b, b_clusters).sum(axis=0))
    replicates_a, replicates_b = (
        compute(shared_resamples.replicate_sums(rows_a, clusters)),
        compute(shared_resamples.replicate_sums(rows_b, b_clusters)),
    )
    differences = {}
    for name in values_a:
        value = float(values_a[name] - values_b[name])
        low, high = interval_limits(value, replicates_a[name] - replicates_b[name], None, level)
        differences[name] = PairedDifference(value, low, high)
    return differences
