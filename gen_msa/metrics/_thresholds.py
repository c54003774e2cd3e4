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

SIMS_3_EDGES = (-0.1, 0.1)
SIMS_5_EDGES = (-0.7, -0.1, 0.1, 0.7)


def round_to_classes(scores: Array, max_abs: float) -> Array:
    """Classes of MOSI: the nearest whole number within ±`most`; halves go to the even one."""
    clipped: Array = np.clip(scores, -max_abs, max_abs)
    return np.round(clipped)


def bin_scores(scores: Array, edges: Sequence[float]) -> Array:
    """Classes of SIMS: 0 up to and with the first edge, 1 up to and with the second, …"""
    return np.searchsorted(np.asarray(edges), scores, side="left").astype(np.float64)


def nan_divide(numerator: Array, denominator: Array) -> Array:
    """`part / whole`, and NaN where `whole` is 0."""
    nans = np.full(np.broadcast_shapes(numerator.shape, denominator.shape), np.nan)
    quotient: Array = np.divide(numerator, denominator, out=nans, where=denominator != 0)
    return quotient


N_BINARY_COLUMNS = 6
"""Columns that `two_classes` gives."""


def binary_counts(
    gold: Bools, prediction: Bools, included: Bools, has_prediction: Bools
) -> list[Array]:
    """Columns that add up over rows: gold, said and right, of the class False, then of True.

    Only rows in `over` count. One that is not `read` has no answer: it takes from the recall of its
    gold class and adds to neither answer.
    """
    class_masks = [(~gold, ~prediction), (gold, prediction)]
    columns: list[Array] = []
    for gold_mask, prediction_mask in class_masks:
        answered_mask = prediction_mask & included & has_prediction
        counts = (gold_mask & included, answered_mask, answered_mask & gold_mask)
        columns += [c.astype(np.float64) for c in counts]
    return columns


def binary_accuracy(sums: Array) -> Array:
    """Share of rows that are right, from sums of `two_classes` (..., 6) -> (...,)."""
    return nan_divide(sums[..., 2] + sums[..., 5], sums[..., 0] + sums[..., 3])


def binary_weighted_f1(sums: Array) -> Array:
    """F1 of both classes, weighted by their gold rows, from sums of `two_classes`."""
    n_gold, n_predicted, n_correct = (sums[..., i::3] for i in range(3))
    total = n_gold + n_predicted
    f1 = np.divide(2 * n_correct, total, out=np.zeros_like(total), where=total != 0)
    return nan_divide((n_gold * f1).sum(axis=-1), n_gold.sum(axis=-1))
