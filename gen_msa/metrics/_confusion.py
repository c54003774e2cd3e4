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
from gen_msa.metrics.base import Undefined
from gen_msa.types import Polarity

Array = NDArray[np.float64]

CLASSES = len(Polarity)
ANSWERS = CLASSES + 1
CODE = {polarity: code for code, polarity in enumerate(Polarity)}
UNREAD = CLASSES
UNLABELLED = -1


def truths(pairs: Sequence[Pair]) -> NDArray[np.intp]:
    """Gold's class of each pair, (n,): 0, 1, 2, or `UNLABELLED`.

    Raises `Undefined` when no pair has one.
    """
    found = [CODE[p.truth] if p.truth else UNLABELLED for p in pairs]
    codes = np.array(found, dtype=np.intp)
    if not (codes != UNLABELLED).any():
        raise Undefined("no gold opinion has a polarity" if len(pairs) else "there are no rows")
    return codes


def answers(pairs: Sequence[Pair]) -> NDArray[np.intp]:
    """The reader's class of each pair, (n,): 0, 1, 2, or `UNREAD`."""
    return np.array([CODE[p.answer] if p.answer else UNREAD for p in pairs], dtype=np.intp)


def one_hot(pairs: Sequence[Pair]) -> Array:
    """Each pair's cell of the confusion, (n, 13); column 0 is 1 where gold has a polarity.

    Raises `Undefined` when no pair has one.
    """
    truth, answer = truths(pairs), answers(pairs)
    rows = np.zeros((len(pairs), 1 + CLASSES * ANSWERS))
    scored = np.flatnonzero(truth != UNLABELLED)
    rows[scored, 0] = 1
    rows[scored, 1 + truth[scored] * ANSWERS + answer[scored]] = 1
    return rows


def table(sums: Array) -> Array:
    """Sums of `one_hot`, (..., 13), as gold by answer, (..., 3, 4)."""
    return sums[..., 1:].reshape(*sums.shape[:-1], CLASSES, ANSWERS)


def share(part: Any, whole: Any, *, empty: float) -> Array:
    """`part / whole`, each (...,); `empty` where there is nothing to divide by."""
    part, whole = np.broadcast_arrays(np.asarray(part, np.float64), np.asarray(whole, np.float64))
    out = np.full(whole.shape, empty)
    found: Array = np.divide(part, whole, out=out, where=whole != 0)
    return found
