"""Reader a minus reader b on the same clusters, with an interval. Knows no reader.

Both are drawn the same clusters in every replicate, so that what is hard for both cancels out.

    paired(rows_a, rows_b, clusters, family.values)["accuracy"]     # Difference(.02, -.01, .05)
"""

from collections.abc import Sequence
from dataclasses import dataclass

from gen_msa.metrics.statistics._quantiles import Array, limits
from gen_msa.metrics.statistics.bootstrap import Draws, Values


@dataclass(frozen=True)
class Difference:
    """`value` is a's figure minus b's; the ends are NaN where nothing can be said of them."""

    value: float
    low: float
    high: float


def paired(
    rows_a: Array,
    rows_b: Array,
    clusters: Sequence[str],
    values: Values,
    *,
    clusters_b: Sequence[str] | None = None,
    draws: Draws | None = None,
    replicates: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, Difference]:
    """The difference of every figure, with its percentile interval.

    `clusters_b`: where b has other rows than a (it named other aspects) of the same clusters.
    `draws`: made before, for several readers; else `replicates` are drawn here with `seed`.
    """
    of_b = clusters if clusters_b is None else clusters_b
    drawn = draws or Draws([clusters, of_b], replicates=replicates, seed=seed)
    whole_a = values(drawn.of_clusters(rows_a, clusters).sum(axis=0))
    whole_b = values(drawn.of_clusters(rows_b, of_b).sum(axis=0))
    many_a, many_b = values(drawn.sums(rows_a, clusters)), values(drawn.sums(rows_b, of_b))
    found = {}
    for name in whole_a:
        value = float(whole_a[name] - whole_b[name])
        low, high = limits(value, many_a[name] - many_b[name], None, level)
        found[name] = Difference(value, low, high)
    return found
