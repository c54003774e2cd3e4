"""Gold polarity against the reader's, counted: three classes by three and "unread".

Knows nothing of figures. An answer without a polarity, or none at all, is a fourth answer that no
gold has: it is wrong, and stays in every count.

    one_hot(pairs).sum(axis=0)          # [rows, neg→neg, neg→neu, neg→pos, neg→unread, neu→neg, …]
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
    """Gold's class of each pair, (n,): 0, 1, 2, or `UNLABELLED`.

    Raises `Undefined` when no pair has one.
    """
    id_list = [LABEL_IDS[p.label] if p.label else UNLABELLED for p in pairs]
    ids = np.array(id_list, dtype=np.intp)
    if not (ids != UNLABELLED).any():
        raise UndefinedMetric(
            "no gold opinion has a polarity" if len(pairs) else "there are no rows"
        )
    return ids


def predicted_label_ids(pairs: Sequence[Pair]) -> NDArray[np.intp]:
    """The reader's class of each pair, (n,): 0, 1, 2, or `UNREAD`."""
    return np.array(
        [LABEL_IDS[p.predicted_label] if p.predicted_label else UNPARSED for p in pairs],
        dtype=np.intp,
    )


def one_hot(pairs: Sequence[Pair]) -> Array:
    """Each pair's cell of the confusion, (n, 13); column 0 is 1 where gold has a polarity.

    Raises `Undefined` when no pair has one.
    """
    label_ids, predicted_ids = gold_label_ids(pairs), predicted_label_ids(pairs)
    rows = np.zeros((len(pairs), 1 + N_CLASSES * N_ANSWERS))
    scored = np.flatnonzero(label_ids != UNLABELLED)
    rows[scored, 0] = 1
    rows[scored, 1 + label_ids[scored] * N_ANSWERS + predicted_ids[scored]] = 1
    return rows


def confusion_matrix(sums: Array) -> Array:
    """Sums of `one_hot`, (..., 13), as gold by answer, (..., 3, 4)."""
    return sums[..., 1:].reshape(*sums.shape[:-1], N_CLASSES, N_ANSWERS)


def safe_divide(numerator: Any, denominator: Any, *, empty: float) -> Array:
    """`part / whole`, each (...,); `empty` where there is nothing to divide by."""
    numerator, denominator = np.broadcast_arrays(
        np.asarray(numerator, np.float64), np.asarray(denominator, np.float64)
    )
    out = np.full(denominator.shape, empty)
    quotient: Array = np.divide(numerator, denominator, out=out, where=denominator != 0)
    return quotient


# How sure the reader was of each answer, and whether it was right. Knows nothing of figures.


@dataclass(frozen=True)
class PredictedProbabilities:
    """Of n pairs, whatever they hold; a row that is not `given` has zeros everywhere else."""

    scored: NDArray[np.bool_]
    """(n,) Gold has a polarity."""
    has_probs: NDArray[np.bool_]
    """(n,) Gold has a polarity and the reader gave probabilities."""
    label_ids: NDArray[np.intp]
    """(n,) Gold's class; only where `scored`."""
    correct: NDArray[np.bool_]
    """(n,) The answer is gold's; wrong where it could not be read. Not held to `given`."""
    probs: Array
    """(n, 3) Probabilities, made to sum to exactly 1."""
    confidence: Array
    """(n,) Probability of the class that was answered; of the likeliest where none was read."""


def predicted_probabilities(pairs: Sequence[Pair]) -> PredictedProbabilities:
    """What the reader believed.

    Raises `Undefined` when no gold opinion has a polarity, or no such row has probabilities.
    """
    label_ids, predicted_ids = gold_label_ids(pairs), predicted_label_ids(pairs)
    scored = label_ids != UNLABELLED
    gives_probs = [p.prediction is not None and bool(p.prediction.probs) for p in pairs]
    has_probs = scored & np.array(gives_probs, dtype=np.bool_)
    if not has_probs.any():
        raise UndefinedMetric("the reader gives no probabilities")
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
    """In the classes' order; one that is not named has 0, and rounding in the file is undone."""
    named_probs = prediction.probs or {}
    probs = np.array([named_probs.get(polarity, 0.0) for polarity in Polarity])
    normalized: Array = probs / probs.sum()
    return normalized
