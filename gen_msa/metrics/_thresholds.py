"""Discretize sentiment scores into the classes of the literature, and count binary decisions.

Two conventions differ at every boundary: MOSI and MOSEI round (half to even), SIMS uses bins that
are closed on the right. All scores are arrays without NaN.

    round_to_classes(numpy.array([0.5, 1.5, 2.5]), 3)    # 0., 2., 2.
    bin_scores(numpy.array([0.1, 0.11]), (-0.1, 0.1))    # 1., 2.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]

SIMS_3_EDGES = (-0.1, 0.1)
SIMS_5_EDGES = (-0.7, -0.1, 0.1, 0.7)


def round_to_classes(scores: Array, max_abs: float) -> Array:
    """Return the classes of MOSI: the nearest integer within ±`max_abs`, halves to the even one.

    Args:
        scores: Scores, `(n,)`.
        max_abs: The largest class.
    """
    clipped: Array = np.clip(scores, -max_abs, max_abs)
    return np.round(clipped)


def bin_scores(scores: Array, edges: Sequence[float]) -> Array:
    """Return the classes of SIMS: 0 up to and including the first edge, 1 up to the second, etc.

    Args:
        scores: Scores, `(n,)`.
        edges: Class boundaries, ascending.
    """
    return np.searchsorted(np.asarray(edges), scores, side="left").astype(np.float64)


def nan_divide(numerator: Array, denominator: Array) -> Array:
    """Divide element by element; NaN where the denominator is 0.

    Args:
        numerator: `(...,)`.
        denominator: `(...,)`, broadcast against the numerator.

    Returns:
        The quotients, in the broadcast shape of both arguments.
    """
    nans = np.full(np.broadcast_shapes(numerator.shape, denominator.shape), np.nan)
    quotient: Array = np.divide(numerator, denominator, out=nans, where=denominator != 0)
    return quotient


N_BINARY_COLUMNS = 6
"""Columns of `binary_counts`."""


def binary_counts(
    gold: Bools, prediction: Bools, included: Bools, has_prediction: Bools
) -> list[Array]:
    """Count a binary decision, as columns that add up over rows.

    Args:
        gold: Reference class of each row, `(n,)`.
        prediction: Predicted class of each row, `(n,)`.
        included: Rows that count, `(n,)`.
        has_prediction: Rows with a prediction, `(n,)`. A row without one lowers the recall of its
            reference class and adds to neither predicted class.

    Returns:
        Six columns `(n,)`: reference, predicted and correct, for the class False, then for True.
    """
    class_masks = [(~gold, ~prediction), (gold, prediction)]
    columns: list[Array] = []
    for gold_mask, prediction_mask in class_masks:
        answered_mask = prediction_mask & included & has_prediction
        counts = (gold_mask & included, answered_mask, answered_mask & gold_mask)
        columns += [c.astype(np.float64) for c in counts]
    return columns


def binary_accuracy(sums: Array) -> Array:
    """Return the share of correct rows from sums of `binary_counts`, `(..., 6)` -> `(...,)`.

    Args:
        sums: Sums over rows; the result is NaN where no row is counted.
    """
    return nan_divide(sums[..., 2] + sums[..., 5], sums[..., 0] + sums[..., 3])


def binary_weighted_f1(sums: Array) -> Array:
    """Return F1 weighted by reference rows from sums of `binary_counts`, `(..., 6)` -> `(...,)`.

    Args:
        sums: Sums over rows; the result is NaN where no row is counted.
    """
    n_gold, n_predicted, n_correct = (sums[..., i::3] for i in range(3))
    total = n_gold + n_predicted
    f1 = np.divide(2 * n_correct, total, out=np.zeros_like(total), where=total != 0)
    return nan_divide((n_gold * f1).sum(axis=-1), n_gold.sum(axis=-1))
