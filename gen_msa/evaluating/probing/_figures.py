"""Figures of a probe: sums over rows divided by sums over rows, each with an interval.

All figures of one call come from the same draws of clusters, so that differences are paired. Knows
nothing of posts or readers.

    values({"flip_rate": Ratio([1.0, 0.0, None])}, ["a", "a", "b"], bench)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan

import numpy as np
from numpy.typing import NDArray

from gen_msa.evaluating.probing._bench import ProbeHarness
from gen_msa.metrics import UndefinedMetric
from gen_msa.metrics.statistics.bootstrap import BootstrapResamples, Interval
from gen_msa.results import MetricValue

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Ratio:
    """Sum of `top` over sum of `bottom`; a row whose `top` is None is left out of both."""

    numerator: Sequence[float | None]
    denominator: Sequence[float] | None = None
    """None: 1 for each row, so that the figure is a mean."""
    note: str = ""
    """Printed with the figure, and in its place when no row counts."""

    def row_sums(self) -> Array:
        """What each row adds: (rows, 2)."""
        denominator = self.denominator if self.denominator is not None else [1.0] * len(self.numerator)
        pairs = zip(self.numerator, denominator, strict=True)
        return np.array([(0.0, 0.0) if t is None else (t, b) for t, b in pairs]).reshape(-1, 2)


def known_mean(values: Sequence[float | None]) -> float | None:
    """Mean of what there is; None for nothing."""
    known = [f for f in values if f is not None]
    return sum(known) / len(known) if known else None


def known_difference(a: Sequence[float | None], b: Sequence[float | None]) -> list[float | None]:
    """`a` minus `b`, row by row; None where either is."""
    pairs = zip(a, b, strict=True)
    return [None if x is None or y is None else x - y for x, y in pairs]


def ratio_values(ratios: Mapping[str, Ratio], clusters: Sequence[str], harness: ProbeHarness) -> dict[str, MetricValue]:
    """Each figure with its 95 % percentile interval over whole clusters drawn anew."""
    names = list(ratios)
    rows = np.hstack([r.row_sums() for r in ratios.values()])
    included = [i for i in range(len(rows)) if any(r.numerator[i] is not None for r in ratios.values())]
    rows, clusters = rows[included], [clusters[i] for i in included]

    def compute(sums: Array) -> dict[str, Array]:
        numerator, denominator = sums[..., 0::2], sums[..., 1::2]
        quotient = np.divide(numerator, denominator, out=np.full_like(numerator, np.nan), where=denominator != 0)
        return {name: quotient[..., i] for i, name in enumerate(names)}

    intervals: dict[str, Interval] = {}
    try:
        resamples = BootstrapResamples([clusters], replicates=harness.replicates, seed=harness.seed)
    except UndefinedMetric as e:
        method = str(e)
    else:
        method = f"{resamples.description}, {len(set(clusters))} clusters"
        intervals = resamples.intervals(rows, clusters, compute)
    point_values = {name: float(v) for name, v in compute(rows.sum(axis=0)).items()}
    return {n: _ratio_value(ratios[n], point_values[n], intervals.get(n), method) for n in names}


def _ratio_value(ratio: Ratio, point: float, interval: Interval | None, method: str) -> MetricValue:
    n = sum(t is not None for t in ratio.numerator)
    if isnan(point):
        reason = "undefined: no row counts" if not n else "undefined: it would be divided by zero"
        return MetricValue(value=None, n=n, note="; ".join(filter(None, (reason, ratio.note))))
    if interval is None or isnan(interval.low):
        reason = method if interval is None else "no interval: too few draws have a row that counts"
        return MetricValue(value=point, n=n, note="; ".join(filter(None, (reason, ratio.note))))
    return MetricValue(value=point, n=n, low=interval.low, high=interval.high, method=method, note=ratio.note)
