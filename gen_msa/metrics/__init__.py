"""Metrics: compare the opinions of one system with a reference.

A metric family is a module, and its name is the module's. What a family computes for each row adds
up over rows, so the metrics of any resample of posts take one matrix product.

    family = metrics["labels"]()
    rows = family.row_statistics(pairs)              # (pairs, k): what each row adds
    family.compute(rows.sum(axis=0))["macro_f1"]     # the metric, as a 0-d array

The subpackage `statistics` has intervals and tests over such rows.
"""

from gen_msa.metrics._pairs import Pair, image_cluster, pair_up, shuffle_explanations
from gen_msa.metrics.base import (
    CorpusMetric,
    Metric,
    MetricFactory,
    MetricSpec,
    UndefinedMetric,
    metrics,
    reads_explanations,
)

__all__ = [
    "CorpusMetric",
    "Metric",
    "MetricFactory",
    "MetricSpec",
    "Pair",
    "UndefinedMetric",
    "image_cluster",
    "metrics",
    "pair_up",
    "reads_explanations",
    "shuffle_explanations",
]
