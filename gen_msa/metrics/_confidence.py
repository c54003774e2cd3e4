"""How sure the reader was of each answer, and whether it was right. Knows nothing of figures.

believed = beliefs(pairs)           # where both gold's polarity and probabilities are there
believed.confidence, believed.right
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gen_msa.metrics._confusion import UNLABELLED, Array, predicted_label_ids, gold_label_ids
from gen_msa.metrics._pairs import Pair
from gen_msa.metrics.base import UndefinedMetric
from gen_msa.types import Opinion, Polarity


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
    return PredictedProbabilities(scored, has_probs, label_ids, scored & (label_ids == predicted_ids), probs, confidence)


def _normalized_probs(prediction: Opinion) -> Array:
    """In the classes' order; one that is not named has 0, and rounding in the file is undone."""
    named_probs = prediction.probs or {}
    probs = np.array([named_probs.get(polarity, 0.0) for polarity in Polarity])
    normalized: Array = probs / probs.sum()
    return normalized
