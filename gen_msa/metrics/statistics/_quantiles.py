"""From replicates of a figure to its interval. Knows nothing of how replicates were had.

limits(0.7, replicates, None, 0.95)     # (0.67, 0.73)
"""

from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Method = Literal["percentile", "bca"]

UNDEFINED = 0.05
"""Share of replicates without a value above which nothing is said."""


def limits(value: float, drawn: Array, without: Array | None, level: float) -> tuple[float, float]:
    """Low and high end of the interval of `value` from its replicates `drawn`, (replicates,).

    With `without`, the figure with each cluster left out, the interval is bias-corrected and
    accelerated. NaN twice where the figure or more than 5 % of its replicates are undefined.
    Raises `ValueError` for a level outside 0..1.
    """
    if not 0 < level < 1:
        raise ValueError(f"a level of {level} is not between 0 and 1")
    defined = drawn[~np.isnan(drawn)]
    if np.isnan(value) or len(defined) < (1 - UNDEFINED) * len(drawn):
        return float("nan"), float("nan")
    ends = np.array([(1 - level) / 2, (1 + level) / 2])
    if without is not None:
        ends = _corrected(ends, value, defined, without[~np.isnan(without)])
    low, high = np.quantile(defined, ends)
    return float(low), float(high)


def _corrected(ends: Array, value: float, drawn: Array, without: Array) -> Array:
    """Which quantiles BCa takes (Efron 1987); the plain ones where the figure does not vary."""
    below = ((drawn < value).mean() + (drawn <= value).mean()) / 2
    off = without.mean() - without if len(without) else np.zeros(1)
    spread = (off**2).sum() ** 1.5
    if not 0 < below < 1 or spread == 0:
        return ends
    normal = NormalDist()
    bias, skew = normal.inv_cdf(below), (off**3).sum() / (6 * spread)
    z = [bias + normal.inv_cdf(end) for end in ends]
    return np.array([normal.cdf(bias + one / (1 - skew * one)) for one in z])
