"""Where the field cuts a scale of sentiment into classes, and the counts of a cut into two.

Knows nothing of opinions; takes arrays of scores without NaN. Two conventions, which differ at
every edge: MOSI and MOSEI round (numpy's half to even), SIMS uses bins that are closed on the
right.

    rounded(numpy.array([0.5, 1.5, 2.5]), 3)      # 0., 2., 2.
    binned(numpy.array([0.1, 0.11]), (-0.1, 0.1))  # 1, 2
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]

SIMS_3 = (-0.1, 0.1)
SIMS_5 = (-0.7, -0.1, 0.1, 0.7)


def rounded(scores: Array, most: float) -> Array:
    """Classes of MOSI: the nearest whole number within ±`most`; halves go to the even one."""
    clipped: Array = np.clip(scores, -most, most)
    return np.round(clipped)


def binned(scores: Array, edges: Sequence[float]) -> Array:
    """Classes of SIMS: 0 up to and with the first edge, 1 up to and with the second, …"""
    return np.searchsorted(np.asarray(edges), scores, side="left").astype(np.float64)


def ratio(part: Array, whole: Array) -> Array:
    """`part / whole`, and NaN where `whole` is 0."""
    blank = np.full(np.broadcast_shapes(part.shape, whole.shape), np.nan)
    found: Array = np.divide(part, whole, out=blank, where=whole != 0)
    return found


TWO = 6
"""Columns that `two_classes` gives."""


def two_classes(gold: Bools, said: Bools, over: Bools, read: Bools) -> list[Array]:
    """Columns that add up over rows: gold, said and right, of the class False, then of True.

    Only rows in `over` count. One that is not `read` has no answer: it takes from the recall of its
    gold class and adds to neither answer.
    """
    sides = [(~gold, ~said), (gold, said)]
    columns: list[Array] = []
    for true, answer in sides:
        answered = answer & over & read
        counts = (true & over, answered, answered & true)
        columns += [c.astype(np.float64) for c in counts]
    return columns


def accuracy_of_two(sums: Array) -> Array:
    """Share of rows that are right, from sums of `two_classes` (..., 6) -> (...,)."""
    return ratio(sums[..., 2] + sums[..., 5], sums[..., 0] + sums[..., 3])


def weighted_f1_of_two(sums: Array) -> Array:
    """F1 of both classes, weighted by their gold rows, from sums of `two_classes`."""
    gold, said, right = (sums[..., i::3] for i in range(3))
    both = gold + said
    f1 = np.divide(2 * right, both, out=np.zeros_like(both), where=both != 0)
    return ratio((gold * f1).sum(axis=-1), gold.sum(axis=-1))
