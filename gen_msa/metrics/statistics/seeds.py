"""One figure of several seeds: its mean, and how far it is scattered. Knows no reader.

spread([0.71, 0.73, 0.72])      # Spread(mean=0.72, sd=0.01, n=3)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from statistics import fmean, stdev


@dataclass(frozen=True)
class SeedSpread:
    """Of `n` seeds."""

    mean: float
    std: float | None
    """Of a seed, not of the mean: divided by n - 1; None for one seed."""
    n: int


def seed_spread(values: Sequence[float]) -> SeedSpread:
    """Mean and standard deviation. Raises `ValueError` for no value, NaN or infinity."""
    if not values or not all(isfinite(v) for v in values):
        raise ValueError(f"{list(values)} are no figures of seeds")
    return SeedSpread(fmean(values), stdev(values) if len(values) > 1 else None, len(values))
