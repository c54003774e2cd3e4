"""p-values of many comparisons, so that the best of twenty is not taken for luck's absence.

`holm`: the chance of any false alarm among all is held. `benjamini_hochberg`: the share of false
alarms among those raised is. Knows nothing of what was tested.

    holm([0.01, 0.04, 0.03])        # [0.03, 0.06, 0.06]
"""

from collections.abc import Sequence

import numpy as np


def holm(p: Sequence[float]) -> list[float]:
    """Adjusted p-values in the order given. Raises `ValueError` for what is no p-value."""
    _check_p_values(p)
    adjusted, largest = [0.0] * len(p), 0.0
    for rank, i in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        largest = max(largest, min(1.0, (len(p) - rank) * p[i]))
        adjusted[i] = largest
    return adjusted


def benjamini_hochberg(p: Sequence[float]) -> list[float]:
    """Adjusted p-values in the order given. Raises `ValueError` for what is no p-value."""
    from scipy.stats import false_discovery_control

    _check_p_values(p)
    return [float(q) for q in false_discovery_control(np.array(p), method="bh")] if p else []


def _check_p_values(p: Sequence[float]) -> None:
    invalid = [value for value in p if not 0 <= value <= 1]
    if invalid:
        raise ValueError(f"{invalid[0]} is no p-value; leave out comparisons that have none")
