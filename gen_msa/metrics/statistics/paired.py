"""Reader a minus reader b on the same clusters, with an interval. Knows no reader.

Both are drawn the same clusters in every replicate, so that what is hard for both cancels out.

    paired(rows_a, rows_b, clusters, family.values)["accuracy"]     # Difference(.02, -.01, .05)
"""

from collections.abc import Sequence
from dataclasses import dataclass

from gen_msa.metrics.statistics._quantiles import Array, interval_limits
from gen_msa.metrics.statistics.bootstrap import BootstrapResamples, ComputeValues


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
    shared_resamples = resamples or BootstrapResamples([clusters, b_clusters], replicates=replicates, seed=seed)
    values_a = compute(shared_resamples.sum_by_cluster(rows_a, clusters).sum(axis=0))
    values_b = compute(shared_resamples.sum_by_cluster(rows_b, b_clusters).sum(axis=0))
    replicates_a, replicates_b = compute(shared_resamples.replicate_sums(rows_a, clusters)), compute(shared_resamples.replicate_sums(rows_b, b_clusters))
    differences = {}
    for name in values_a:
        value = float(values_a[name] - values_b[name])
        low, high = interval_limits(value, replicates_a[name] - replicates_b[name], None, level)
        differences[name] = PairedDifference(value, low, high)
    return differences
