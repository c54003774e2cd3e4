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

from gen_msa.metrics.base import Undefined
from gen_msa.metrics.statistics._quantiles import Array, Method, limits

Values = Callable[[Array], Mapping[str, Array]]
"""Every figure from sums of rows, (..., k) -> each (...,): `Metric.values`."""

AT_ONCE = 1 << 20
"""Draws of a cluster held in memory at a time, 8 bytes each."""
KEPT = 1 << 28
"""Bytes of draws that are kept for the next reader; more than that is drawn anew, alike."""


@dataclass(frozen=True)
class Interval:
    """Where a figure lies with the given confidence; NaN twice where that cannot be said."""

    low: float
    high: float


class Draws:
    """Which clusters each replicate drew; the same for everyone who asks."""

    def __init__(
        self,
        clusters: Sequence[Sequence[str]],
        *,
        replicates: int = 10_000,
        seed: int = 0,
        keep: int = KEPT,
    ) -> None:
        """`clusters`: of each reader's rows; replicates draw from the clusters of all of them.

        Raises `Undefined` below two clusters, `ValueError` below two replicates.
        """
        if replicates < 2:
            raise ValueError(f"{replicates} replicates make no interval")
        self._number = {c: i for i, c in enumerate(sorted({c for of in clusters for c in of}))}
        if len(self._number) < 2:
            raise Undefined(f"{len(self._number)} cluster: an interval needs two or more")
        self.replicates, self.seed = replicates, seed
        fits = replicates * len(self._number) <= keep
        self._kept = list(self._draw()) if fits else None

    @property
    def how(self) -> str:
        """For `Value.how`."""
        return f"cluster bootstrap, {self.replicates} replicates, seed {self.seed}"

    def of_clusters(self, rows: Array, clusters: Sequence[str]) -> Array:
        """Sums of each cluster's rows, (clusters, k); a cluster without rows has zeros.

        Raises `ValueError` for rows that are not (n, k), hold NaN, or have an unknown cluster.
        """
        return cluster_sums(rows, clusters, self._number)

    def sums(self, rows: Array, clusters: Sequence[str]) -> Array:
        """Sums of the rows of each replicate, (replicates, k)."""
        of = self.of_clusters(rows, clusters)
        blocks = self._kept if self._kept is not None else self._draw()
        return np.concatenate([block.astype(np.float64) @ of for block in blocks])

    def intervals(
        self,
        rows: Array,
        clusters: Sequence[str],
        values: Values,
        *,
        level: float = 0.95,
        method: Method = "percentile",
    ) -> dict[str, Interval]:
        """The interval of every figure. Replicates without a value are left out of it, and if they
        are more than 5 %, or the figure itself has none, there is no interval (NaN).

        `method="bca"` corrects bias and skew, for few clusters; it looks at each one left out.
        """
        of = self.of_clusters(rows, clusters)
        whole, drawn = values(of.sum(axis=0)), values(self.sums(rows, clusters))
        without = values(of.sum(axis=0) - of) if method == "bca" else {}
        return {
            name: Interval(*limits(float(one), drawn[name], without.get(name), level))
            for name, one in whole.items()
        }

    def _draw(self) -> Iterator[NDArray[np.uint8]]:
        """Blocks (some replicates, clusters): how often each cluster was drawn."""
        n, left = len(self._number), self.replicates
        rng = np.random.default_rng(self.seed)
        while left:
            size = min(left, max(1, AT_ONCE // n))
            drawn = rng.integers(n, size=(size, n)) + n * np.arange(size)[:, None]
            counts = np.bincount(drawn.ravel(), minlength=size * n)
            # One of more than 255 clusters, drawn more than 255 times: not in the world's lifetime.
            yield counts.reshape(size, n).astype(np.uint8)
            left -= size


def bootstrap(
    rows: Array,
    clusters: Sequence[str],
    values: Values,
    *,
    replicates: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
    method: Method = "percentile",
) -> dict[str, Interval]:
    """`Draws.intervals` of one reader."""
    draws = Draws([clusters], replicates=replicates, seed=seed)
    return draws.intervals(rows, clusters, values, level=level, method=method)


def cluster_sums(rows: Array, clusters: Sequence[str], number: Mapping[str, int]) -> Array:
    """Sums of the rows of each cluster, (len(number), k), each in the row that `number` says.

    Raises `ValueError` for rows that are not (n, k), hold NaN, or have an unknown cluster.
    """
    if rows.ndim != 2 or len(rows) != len(clusters):
        raise ValueError(f"rows of shape {rows.shape} with {len(clusters)} clusters")
    if not np.isfinite(rows).all():
        raise ValueError("rows hold NaN or infinity: a metric writes 0 where it counts nothing")
    unknown = next((c for c in clusters if c not in number), None)
    if unknown is not None:
        raise ValueError(f"cluster {unknown!r} is none of those that are drawn")
    found = np.zeros((len(number), rows.shape[1]))
    np.add.at(found, [number[c] for c in clusters], rows)
    return found
