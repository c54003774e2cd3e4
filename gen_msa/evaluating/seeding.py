"""The mean row of a reader that was trained with several seeds. Each seed's own row stays whole.

The figures of one seed all come from its one checkpoint; the mean row says how far they scatter.

    mean_of("builtin", [first, second, third])
"""

from collections.abc import Sequence

from gen_msa.metrics.statistics.seeds import seed_spread
from gen_msa.results import SystemResult, MetricValue


def mean_over_seeds(name: str, seeds: Sequence[SystemResult]) -> SystemResult:
    """Mean and standard deviation of every figure over `seeds`, each seed's value beside it."""
    first = seeds[0]
    mean_metrics = {
        family: {metric_name: _mean_value([s.metrics[family][metric_name] for s in seeds]) for metric_name in family_metrics}
        for family, family_metrics in first.metrics.items()
    }
    return SystemResult(
        name=f"{name}, mean of {len(seeds)} seeds",
        model=first.model,
        rows=first.rows,
        posts=first.posts,
        metrics=mean_metrics,
        notes=(f"each seed is one checkpoint: {', '.join(s.name for s in seeds)}",),
    )


def _mean_value(values: Sequence[MetricValue]) -> MetricValue:
    defined = [v.value for v in values if v.value is not None]
    if len(defined) < len(values):
        note = f"undefined for {len(values) - len(defined)} of {len(values)} seeds"
        return MetricValue(value=None, n=values[0].n, note=note, seeds=tuple(defined))
    found = seed_spread(defined)
    note = f"sd {found.std:.4f} over {found.n} seeds" if found.std is not None else ""
    return MetricValue(value=found.mean, n=values[0].n, note=note, seeds=tuple(defined))
