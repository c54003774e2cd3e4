"""Selective accuracy: how good a reader is when it may keep silent where it is least sure.

Rows in the order of its confidence; one without probabilities comes last and stays in every count.
Rows of equal confidence share their rank, so that the order of a file changes nothing. Knows
nothing of how probabilities came to be. Not a sum over rows: no interval.

    metrics["selective"]().measure(pairs)["accuracy_at_80"]
"""

from collections.abc import Sequence
from math import ceil
from typing import Any

import numpy as np

from gen_msa.metrics._confusion import Array, predicted_probabilities
from gen_msa.metrics._pairs import Pair
from gen_msa.metrics.base import MetricSpec, metrics
from gen_msa.settings import Settings, build

COVERAGES = (50, 80, 90)
"""Percent of the rows that are answered."""


class SelectiveAccuracyOptions(Settings):
    """None."""


@metrics.register
class SelectiveAccuracy:
    """Accuracy of the surest answers, and the area under the risk-coverage curve."""

    specs: tuple[MetricSpec, ...] = (
        *(
            MetricSpec(
                f"accuracy_at_{c}", f"accuracy of the {c} % of rows (rounded up) most sure of"
            )
            for c in COVERAGES
        ),
        MetricSpec(
            "aurc", "mean over k = 1..n of the error rate of the k surest rows", better="low"
        ),
    )
    signature = "ties:expected over random order|no probabilities:last"

    def __init__(self, **options: Any) -> None:
        build(SelectiveAccuracyOptions, options, "metric selective")

    def measure(self, pairs: Sequence[Pair]) -> dict[str, float]:
        """Every figure; never NaN. Raises `Undefined` when no scored row has probabilities."""
        predictions = predicted_probabilities(pairs)
        confidence = np.where(predictions.has_probs, predictions.confidence, -1.0)[
            predictions.scored
        ]
        n_correct = _cumulative_correct(confidence, predictions.correct[predictions.scored])
        n = len(n_correct)
        counts = {c: ceil(c * n / 100) for c in COVERAGES}
        risk = 1 - n_correct / np.arange(1, n + 1)
        accuracies = {f"accuracy_at_{c}": float(n_correct[k - 1] / k) for c, k in counts.items()}
        return {**accuracies, "aurc": float(risk.mean())}


def _cumulative_correct(confidence: Array, correct: Any) -> Array:
    """How many of the k surest rows are right, (n,) for k = 1..n, as expected among ties."""
    _, group = np.unique(-confidence, return_inverse=True)
    group_accuracy = np.bincount(group, weights=correct) / np.bincount(group)
    cumulative: Array = np.cumsum(group_accuracy[np.sort(group)])
    return cumulative
