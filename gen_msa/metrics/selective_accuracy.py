"""Selective accuracy: accuracy if a system may abstain on the rows with the lowest confidence.

Rows are ordered by confidence; rows without probabilities come last and stay in every count. Rows
of equal confidence share their rank, so the order of a file does not matter. The metrics are not
sums over rows, so they have no interval. Source: Geifman and El-Yaniv (2017).

    metrics["selective_accuracy"]().measure(pairs)["accuracy_at_80"]
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
"""Coverage in percent of the rows."""


class SelectiveAccuracyOptions(Settings):
    """No options."""


@metrics.register
class SelectiveAccuracy:
    """Accuracy of the most confident answers, and the area under the risk-coverage curve."""

    reads_explanations = False
    specs: tuple[MetricSpec, ...] = (
        *(
            MetricSpec(
                f"accuracy_at_{c}",
                f"accuracy of the {c} % of rows (rounded up) with the highest confidence",
            )
            for c in COVERAGES
        ),
        MetricSpec(
            "aurc",
            "mean over k = 1..n of the error rate of the k most confident rows",
            better="low",
        ),
    )
    signature = "ties:expected over random order|no probabilities:last"

    def __init__(self, **options: Any) -> None:
        build(SelectiveAccuracyOptions, options, "metric selective_accuracy")

    def measure(self, pairs: Sequence[Pair]) -> dict[str, float]:
        """Compute every metric; never NaN.

        Raises:
            UndefinedMetric: No scored row has probabilities.
        """
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
    """Return how many of the k most confident rows are correct, `(n,)`; expected among ties."""
    _, group = np.unique(-confidence, return_inverse=True)
    group_accuracy = np.bincount(group, weights=correct) / np.bincount(group)
    cumulative: Array = np.cumsum(group_accuracy[np.sort(group)])
    return cumulative
