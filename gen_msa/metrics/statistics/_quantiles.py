"""From replicates of a figure to its interval. Knows nothing of how replicates were had.

limits(0.7, replicates, None, 0.95)     # (0.67, 0.73)
"""

from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Method = Literal["percentile", "bca"]

MAX_UNDEFINED_SHARE = 0.05
"""Share of replicates without a value above which nothing is said."""


def interval_limits(value: float, replicates: Array, jackknife: Array | None, level: float) -> tuple[float, float]:
    """Low and high end of the interval of `value` from its replicates `drawn`, (replicates,).

    With `without`, the figure with each cluster left out, the interval is bias-corrected and
    accelerated. NaN twice where the figure or more than 5 % of its replicates are undefined.
    Raises `ValueError` for a level outside 0..1.
    """
    if not 0 < level < 1:
        raise ValueError(f"a level of {level} is not between 0 and 1")
    defined = replicates[~np.isnan(replicates)]
    if np.isnan(value) or len(defined) < (1 - MAX_UNDEFINED_SHARE) * len(replicates):
        return float("nan"), float("nan")
    quantiles = np.array([(1 - level) / 2, (1 + level) / 2])
    if jackknife is not None:
        quantiles = _bca_quantiles(quantiles, value, defined, jackknife[~np.isnan(jackknife)])
    low, high = np.quantile(defined, quantiles)
    return float(low), float(high)


def _bca_quantiles(quantiles: Array, value: float, replicates: Array, jackknife: Array) -> Array:
    """Which quantiles BCa takes (Efron 1987); the plain ones where the figure does not vary."""
    share_below = ((replicates < value).mean() + (replicates <= value).mean()) / 2
    deviations = jackknife.mean() - jackknife if len(jackknife) else np.zeros(1)
    spread = (deviations**2).sum() ** 1.5
    if not 0 < share_below < 1 or spread == 0:
        return quantiles
    normal = NormalDist()
    bias, skew = normal.inv_cdf(share_below), (deviations**3).sum() / (6 * spread)
    z = [bias + normal.inv_cdf(end) for end in quantiles]
    return np.array([normal.cdf(bias + score / (1 - skew * score)) for score in z])
