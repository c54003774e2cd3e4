"""Weighted and unweighted accuracy, the pair of figures of emotion recognition, over polarities.

Weighted accuracy is plain accuracy: each class weighs as many rows as it has. Unweighted accuracy
is the mean recall of the classes that gold has. An answer that could not be read is wrong in both.

    metrics["wa_ua"]().rows(pairs)
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from gen_msa.metrics._cuts import Array, ratio
from gen_msa.metrics._pairs import Pair
from gen_msa.metrics.base import Figure, Undefined, metrics
from gen_msa.settings import Settings, build
from gen_msa.types import Polarity


class WaUaOptions(Settings):
    """There is nothing to choose."""


@metrics.register
class WaUa:
    """Accuracy and mean recall over gold's polarities."""

    figures: tuple[Figure, ...] = (
        Figure("ua", "mean recall of the polarities that gold has; an unread answer is wrong"),
        Figure("wa", "share of rows that are right; an unread answer is wrong"),
    )
    signature = "classes:those in gold"

    def __init__(self, **options: Any) -> None:
        build(WaUaOptions, options, "metric wa_ua")

    def rows(self, pairs: Sequence[Pair]) -> Array:
        """Columns: scored, gold of each polarity (3), right of each (3). Raises `Undefined`."""
        classes = list(Polarity)
        rows = np.zeros((len(pairs), 1 + 2 * len(classes)))
        for row, pair in zip(rows, pairs, strict=True):
            if pair.truth is not None:
                at = classes.index(pair.truth)
                row[0] = row[1 + at] = 1
                row[1 + len(classes) + at] = pair.answer is pair.truth
        if not rows[:, 0].any():
            raise Undefined("no gold opinion has a polarity")
        return rows

    def values(self, sums: Array) -> dict[str, Array]:
        """Both figures of sums of rows (..., 7) -> each (...,)."""
        half = 1 + len(Polarity)
        gold, right = sums[..., 1:half], sums[..., half:]
        present = (gold > 0).sum(axis=-1)
        recall = np.divide(right, gold, out=np.zeros_like(gold), where=gold > 0)
        return {
            "ua": ratio(recall.sum(axis=-1), present),
            "wa": ratio(right.sum(axis=-1), sums[..., 0]),
        }
