"""Metrics: figures that compare what one reader said with what another did.

A family is a file, and its name is the file's. What a family counts of each row adds up over rows,
so that any sample of posts, drawn again and again, has its figures in one matrix product. Knows
nothing of readers, prompts or models; takes `Pair`s and gives numbers.

    family = metrics["labels"]()
    rows = family.rows(pairs)                       # (pairs, k): what each row adds
    family.values(rows.sum(axis=0))["macro_f1"]     # the figure, as a 0-d array

`statistics/` has the intervals and tests over such rows.
"""

from gen_msa.metrics._pairs import Pair, pair_up, shuffle_explanations
from gen_msa.metrics.base import (
    CorpusMetric,
    Metric,
    MetricFactory,
    MetricSpec,
    UndefinedMetric,
    metrics,
)

__all__ = [
    "CorpusMetric",
    "Metric",
    "MetricFactory",
    "MetricSpec",
    "Pair",
    "UndefinedMetric",
    "metrics",
    "pair_up",
    "shuffle_explanations",
]
