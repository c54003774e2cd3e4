"""Gold polarity against the reader's, counted: three classes by three and "unread".

Knows nothing of figures. An answer without a polarity, or none at all, is a fourth answer that no
gold has: it is wrong, and stays in every count.

    one_hot(pairs).sum(axis=0)          # [rows, neg→neg, neg→neu, neg→pos, neg→unread, neu→neg, …]
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gen_msa.metrics._pairs import Pair
from gen_msa.metrics.base import UndefinedMetric
from gen_msa.types import Polarity

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
        raise UndefinedMetric("no gold opinion has a polarity" if len(pairs) else "there are no rows")
    return ids


def predicted_label_ids(pairs: Sequence[Pair]) -> NDArray[np.intp]:
    """The reader's class of each pair, (n,): 0, 1, 2, or `UNREAD`."""
    return np.array([LABEL_IDS[p.predicted_label] if p.predicted_label else UNPARSED for p in pairs], dtype=np.intp)


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
    numerator, denominator = np.broadcast_arrays(np.asarray(numerator, np.float64), np.asarray(denominator, np.float64))
    out = np.full(denominator.shape, empty)
    quotient: Array = np.divide(numerator, denominator, out=out, where=denominator != 0)
    return quotient
