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

from gen_msa.evaluating.probing._bench import Bench
from gen_msa.metrics import Undefined
from gen_msa.metrics.statistics.bootstrap import Draws, Interval
from gen_msa.results import Value

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Ratio:
    """Sum of `top` over sum of `bottom`; a row whose `top` is None is left out of both."""

    top: Sequence[float | None]
    bottom: Sequence[float] | None = None
    """None: 1 for each row, so that the figure is a mean."""
    note: str = ""
    """Printed with the figure, and in its place when no row counts."""

    def sums(self) -> Array:
        """What each row adds: (rows, 2)."""
        bottom = self.bottom if self.bottom is not None else [1.0] * len(self.top)
        pairs = zip(self.top, bottom, strict=True)
        return np.array([(0.0, 0.0) if t is None else (t, b) for t, b in pairs]).reshape(-1, 2)


def mean(found: Sequence[float | None]) -> float | None:
    """Mean of what there is; None for nothing."""
    there = [f for f in found if f is not None]
    return sum(there) / len(there) if there else None


def minus(a: Sequence[float | None], b: Sequence[float | None]) -> list[float | None]:
    """`a` minus `b`, row by row; None where either is."""
    pairs = zip(a, b, strict=True)
    return [None if x is None or y is None else x - y for x, y in pairs]


def values(ratios: Mapping[str, Ratio], clusters: Sequence[str], bench: Bench) -> dict[str, Value]:
    """Each figure with its 95 % percentile interval over whole clusters drawn anew."""
    names = list(ratios)
    rows = np.hstack([r.sums() for r in ratios.values()])
    counted = [i for i in range(len(rows)) if any(r.top[i] is not None for r in ratios.values())]
    rows, clusters = rows[counted], [clusters[i] for i in counted]

    def figures(sums: Array) -> dict[str, Array]:
        top, bottom = sums[..., 0::2], sums[..., 1::2]
        found = np.divide(top, bottom, out=np.full_like(top, np.nan), where=bottom != 0)
        return {name: found[..., i] for i, name in enumerate(names)}

    intervals: dict[str, Interval] = {}
    try:
        draws = Draws([clusters], replicates=bench.replicates, seed=bench.seed)
    except Undefined as e:
        how = str(e)
    else:
        how = f"{draws.how}, {len(set(clusters))} clusters"
        intervals = draws.intervals(rows, clusters, figures)
    points = {name: float(v) for name, v in figures(rows.sum(axis=0)).items()}
    return {n: _value(ratios[n], points[n], intervals.get(n), how) for n in names}


def _value(ratio: Ratio, point: float, interval: Interval | None, how: str) -> Value:
    n = sum(t is not None for t in ratio.top)
    if isnan(point):
        why = "undefined: no row counts" if not n else "undefined: it would be divided by zero"
        return Value(value=None, n=n, note="; ".join(filter(None, (why, ratio.note))))
    if interval is None or isnan(interval.low):
        why = how if interval is None else "no interval: too few draws have a row that counts"
        return Value(value=point, n=n, note="; ".join(filter(None, (why, ratio.note))))
    return Value(value=point, n=n, low=interval.low, high=interval.high, how=how, note=ratio.note)
