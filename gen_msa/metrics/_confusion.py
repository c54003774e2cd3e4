"""Confusion counts of polarities: three reference classes by three predicted ones and "unparsed".

A missing or unparsed prediction is a fourth answer that no reference has: it is wrong, and it stays
in every count.

    one_hot(pairs).sum(axis=0)      # [rows, neg→neg, neg→neu, neg→pos, neg→unparsed, neu→neg, …]
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gen_msa.metrics._pairs import Pair
from gen_msa.metrics.base import UndefinedMetric
from gen_msa.types import Opinion, Polarity

Array = NDArray[np.float64]

N_CLASSES = len(Polarity)
N_ANSWERS = N_CLASSES + 1
LABEL_IDS = {polarity: code for code, polarity in enumerate(Polarity)}
UNPARSED = N_CLASSES
UNLABELLED = -1


def gold_label_ids(pairs: Sequence[Pair]) -> NDArray[np.intp]:
    """Return the reference class of each pair, `(n,)`: 0, 1, 2 or `UNLABELLED`.

    Raises:
        UndefinedMetric: No pair has one.
    """
    id_list = [LABEL_IDS[p.label] if p.label else UNLABELLED for p in pairs]
    ids = np.array(id_list, dtype=np.intp)
    if not (ids != UNLABELLED).any():
        raise UndefinedMetric(
            "no gold opinion has a polarity" if len(pairs) else "there are no rows"
        )
    return ids


def predicted_label_ids(pairs: Sequence[Pair]) -> NDArray[np.intp]:
    """Return the predicted class of each pair, `(n,)`: 0, 1, 2 or `UNPARSED`."""
    return np.array(
        [LABEL_IDS[p.predicted_label] if p.predicted_label else UNPARSED for p in pairs],
        dtype=np.intp,
    )


def one_hot(pairs: Sequence[Pair]) -> Array:
    """Return the confusion cell of each pair, `(n, 13)`; column 0 is 1 for labelled rows.

    Raises:
        UndefinedMetric: No pair has a reference label.
    """
    label_ids, predicted_ids = gold_label_ids(pairs), predicted_label_ids(pairs)
    rows = np.zeros((len(pairs), 1 + N_CLASSES * N_ANSWERS))
    scored = np.flatnonzero(label_ids != UNLABELLED)
    rows[scored, 0] = 1
    rows[scored, 1 + label_ids[scored] * N_ANSWERS + predicted_ids[scored]] = 1
    return rows


def confusion_matrix(sums: Array) -> Array:
    """Reshape sums of `one_hot`, `(..., 13)`, to reference by prediction, `(..., 3, 4)`.

    Args:
        sums: Sums over rows; column 0, the number of scored rows, is dropped.

    Returns:
        Counts; the last answer column is for unparsed answers.
    """
    return sums[..., 1:].reshape(*sums.shape[:-1], N_CLASSES, N_ANSWERS)


def safe_divide(numerator: Any, denominator: Any, *, empty: float) -> Array:
    """Divide element by element; `empty` where the denominator is 0.

    Args:
        numerator: `(...,)`.
        denominator: `(...,)`.
        empty: The result of a division by 0.

    Returns:
        The quotients as float64, in the broadcast shape of both arguments.
    """
    numerator, denominator = np.broadcast_arrays(
        np.asarray(numerator, np.float64), np.asarray(denominator, np.float64)
    )
    filled = np.full(denominator.shape, empty)
    quotient: Array = np.divide(numerator, denominator, out=filled, where=denominator != 0)
    return quotient


@dataclass(frozen=True)
class PredictedProbabilities:
    """Predicted probabilities of n pairs; rows without any are 0 in the other fields."""

    scored: NDArray[np.bool_]
    """`(n,)` The reference has a polarity."""
    has_probs: NDArray[np.bool_]
    """`(n,)` The reference has a polarity and the prediction has probabilities."""
    label_ids: NDArray[np.intp]
    """`(n,)` Reference class; valid where `scored`."""
    correct: NDArray[np.bool_]
    """`(n,)` The prediction is correct, with or without probabilities; unparsed ones are wrong."""
    probs: Array
    """`(n, 3)` Probabilities, scaled to sum to 1."""
    confidence: Array
    """`(n,)` Probability of the predicted class, or the highest one if it is unparsed."""


def predicted_probabilities(pairs: Sequence[Pair]) -> PredictedProbabilities:
    """Collect the predicted probabilities of `pairs`.

    Raises:
        UndefinedMetric: No pair has a reference polarity, or none of those has probabilities.
    """
    label_ids, predicted_ids = gold_label_ids(pairs), predicted_label_ids(pairs)
    scored = label_ids != UNLABELLED
    gives_probs = [p.prediction is not None and bool(p.prediction.probs) for p in pairs]
    has_probs = scored & np.array(gives_probs, dtype=np.bool_)
    if not has_probs.any():
        raise UndefinedMetric("the system gives no probabilities")
    probs = np.zeros((len(pairs), len(Polarity)))
    confidence = np.zeros(len(pairs))
    for i, pair in enumerate(pairs):
        prediction = pair.prediction
        if prediction is not None and has_probs[i]:
            probs[i] = _normalized_probs(prediction)
            confidence[i] = probs[i, predicted_ids[i]] if prediction.polarity else probs[i].max()
    return PredictedProbabilities(
        scored, has_probs, label_ids, scored & (label_ids == predicted_ids), probs, confidence
    )


def _normalized_probs(prediction: Opinion) -> Array:
    """Return the probabilities in class order, missing ones as 0, scaled to sum to 1."""
    named_probs = prediction.probs or {}
    probs = np.array([named_probs.get(polarity, 0.0) for polarity in Polarity])
    normalized: Array = probs / probs.sum()
    return normalized
