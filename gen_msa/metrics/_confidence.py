"""How sure the reader was of each answer, and whether it was right. Knows nothing of figures.

believed = beliefs(pairs)           # where both gold's polarity and probabilities are there
believed.confidence, believed.right
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gen_msa.metrics._confusion import UNLABELLED, Array, answers, truths
from gen_msa.metrics._pairs import Pair
from gen_msa.metrics.base import Undefined
from gen_msa.types import Opinion, Polarity


@dataclass(frozen=True)
class Beliefs:
    """Of n pairs, whatever they hold; a row that is not `given` has zeros everywhere else."""

    scored: NDArray[np.bool_]
    """(n,) Gold has a polarity."""
    given: NDArray[np.bool_]
    """(n,) Gold has a polarity and the reader gave probabilities."""
    truth: NDArray[np.intp]
    """(n,) Gold's class; only where `scored`."""
    right: NDArray[np.bool_]
    """(n,) The answer is gold's; wrong where it could not be read. Not held to `given`."""
    probs: Array
    """(n, 3) Probabilities, made to sum to exactly 1."""
    confidence: Array
    """(n,) Probability of the class that was answered; of the likeliest where none was read."""


def beliefs(pairs: Sequence[Pair]) -> Beliefs:
    """What the reader believed.

    Raises `Undefined` when no gold opinion has a polarity, or no such row has probabilities.
    """
    truth, answer = truths(pairs), answers(pairs)
    scored = truth != UNLABELLED
    held = [p.said is not None and bool(p.said.probs) for p in pairs]
    given = scored & np.array(held, dtype=np.bool_)
    if not given.any():
        raise Undefined("the reader gives no probabilities")
    probs = np.zeros((len(pairs), len(Polarity)))
    confidence = np.zeros(len(pairs))
    for i, pair in enumerate(pairs):
        said = pair.said
        if said is not None and given[i]:
            probs[i] = _probs(said)
            confidence[i] = probs[i, answer[i]] if said.polarity else probs[i].max()
    return Beliefs(scored, given, truth, scored & (truth == answer), probs, confidence)


def _probs(said: Opinion) -> Array:
    """In the classes' order; one that is not named has 0, and rounding in the file is undone."""
    named = said.probs or {}
    found = np.array([named.get(polarity, 0.0) for polarity in Polarity])
    whole: Array = found / found.sum()
    return whole
