"""Weighted and unweighted accuracy, the metrics of emotion recognition, over polarities.

Weighted accuracy is plain accuracy: each class weighs as many rows as it has. Unweighted accuracy
is the mean recall of the classes in the reference. An unparsed answer is wrong in both.

    metrics["wa_ua"]().row_statistics(pairs)
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from gen_msa.metrics._pairs import Pair
from gen_msa.metrics._thresholds import Array, nan_divide
from gen_msa.metrics.base import MetricSpec, UndefinedMetric, metrics
from gen_msa.settings import Settings, build
from gen_msa.types import Polarity


class WaUaOptions(Settings):
    """No options."""


@metrics.register
class WaUa:
    """Accuracy and mean recall over the reference polarities."""

    reads_explanations = False
    specs: tuple[MetricSpec, ...] = (
        MetricSpec("ua", "mean recall of the polarities in gold; an unparsed answer is wrong"),
        MetricSpec("wa", "share of correct rows; an unparsed answer is wrong"),
    )
    signature = "classes:those in gold"

    def __init__(self, **options: Any) -> None:
        build(WaUaOptions, options, "metric wa_ua")

    def row_statistics(self, pairs: Sequence[Pair]) -> Array:
        """Return the columns: scored, reference of each polarity (3), correct of each (3).

        Raises:
            UndefinedMetric: No reference opinion has a polarity.
        """
        classes = list(Polarity)
        rows = np.zeros((len(pairs), 1 + 2 * len(classes)))
        for row, pair in zip(rows, pairs, strict=True):
            if pair.label is not None:
                class_id = classes.index(pair.label)
                row[0] = row[1 + class_id] = 1
                row[1 + len(classes) + class_id] = pair.predicted_label is pair.label
        if not rows[:, 0].any():
            raise UndefinedMetric("no gold opinion has a polarity")
        return rows

    def compute(self, sums: Array) -> dict[str, Array]:
        """Return both metrics from sums of rows, `(..., 7)` -> `(...,)`.

        Args:
            sums: Sums of `row_statistics`; `ua` averages the recall of the polarities that occur.
        """
        split = 1 + len(Polarity)
        n_gold, n_correct = sums[..., 1:split], sums[..., split:]
        n_present = (n_gold > 0).sum(axis=-1)
        recall = np.divide(n_correct, n_gold, out=np.zeros_like(n_gold), where=n_gold > 0)
        return {
            "ua": nan_divide(recall.sum(axis=-1), n_present),
            "wa": nan_divide(n_correct.sum(axis=-1), sums[..., 0]),
        }
