"""Calibration: whether a system that is 80 % confident is right 80 % of the time.

Computed over rows with probabilities; `has_probs` is their share of all rows. An unparsed answer is
wrong at any confidence. Sources: Guo et al. (2017) for the expected calibration error, Brier
(1950).

    metrics["calibration"](bins=10).row_statistics(pairs)
    calibration_curve(pairs)
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from gen_msa.metrics._confusion import Array, predicted_probabilities, safe_divide
from gen_msa.metrics._pairs import Pair
from gen_msa.metrics.base import MetricSpec, metrics
from gen_msa.results import CalibrationBin
from gen_msa.settings import Settings, build
from gen_msa.types import Polarity

N_BINS = 15


class CalibrationOptions(Settings):
    """The bins and the floor of the probabilities."""

    bins: int = Field(default=N_BINS, ge=1, le=1000)
    """Number of bins of equal width over 0..1, each closed on the right."""
    floor: float = Field(default=1e-6, gt=0, lt=0.1)
    """Lower bound of the reference class's probability in `nll`, which keeps it finite."""


@metrics.register
class Calibration:
    """Expected calibration error, Brier score, negative log likelihood, mean confidence."""

    reads_explanations = False

    def __init__(self, **options: Any) -> None:
        self.options = build(CalibrationOptions, options, "metric calibration")
        n, floor = self.options.bins, self.options.floor
        scope_note = "; over rows with probabilities, undefined without one"
        self.specs: tuple[MetricSpec, ...] = (
            MetricSpec(
                "ece",
                f"sum over {n} bins of equal width of |accuracy - mean confidence| x its share of "
                f"rows{scope_note}",
                better="low",
            ),
            MetricSpec(
                "brier",
                f"mean of sum over classes of (p - y)²; 0..2{scope_note}",
                "score",
                "low",
                (0.0, 2.0),
            ),
            MetricSpec(
                "nll",
                f"mean of -ln max(p of the reference class, {floor:g}){scope_note}",
                "nats",
                "low",
            ),
            MetricSpec(
                "confidence", f"mean probability of the predicted class{scope_note}", better=""
            ),
            MetricSpec("has_probs", "rows with probabilities / rows"),
        )
        self.signature = (
            f"bins:{n} equal width, right-closed|brier:sum over classes|floor:{floor:g}"
        )

    def row_statistics(self, pairs: Sequence[Pair]) -> Array:
        """Return the columns: scored, has probabilities, Brier, -ln p, confidence, and one per bin.

        The column of a bin sums confidence - correct.

        Raises:
            UndefinedMetric: No row has a reference polarity, or none of those has probabilities.
        """
        predictions = predicted_probabilities(pairs)
        rows = np.zeros((len(pairs), 5 + self.options.bins))
        rows[predictions.scored, 0] = 1
        indices = np.flatnonzero(predictions.has_probs)
        label_ids, probs, confidence = (
            predictions.label_ids[indices],
            predictions.probs[indices],
            predictions.confidence[indices],
        )
        rows[indices, 1] = 1
        rows[indices, 2] = ((probs - np.eye(len(Polarity))[label_ids]) ** 2).sum(axis=1)
        rows[indices, 3] = -np.log(
            np.maximum(probs[np.arange(len(indices)), label_ids], self.options.floor)
        )
        rows[indices, 4] = confidence
        rows[indices, 5 + _bin_index(confidence, self.options.bins)] = (
            confidence - predictions.correct[indices]
        )
        return rows

    def compute(self, sums: Array) -> dict[str, Array]:
        """Return every metric from sums of rows, `(..., 5 + bins)`.

        Args:
            sums: Sums of `row_statistics`; without probabilities, all but `has_probs` are NaN.
        """
        n_with_probs, nan = sums[..., 1], float("nan")
        return {
            "ece": safe_divide(np.abs(sums[..., 5:]).sum(axis=-1), n_with_probs, empty=nan),
            "brier": safe_divide(sums[..., 2], n_with_probs, empty=nan),
            "nll": safe_divide(sums[..., 3], n_with_probs, empty=nan),
            "confidence": safe_divide(sums[..., 4], n_with_probs, empty=nan),
            "has_probs": safe_divide(n_with_probs, sums[..., 0], empty=nan),
        }


def calibration_curve(pairs: Sequence[Pair], n: int = N_BINS) -> tuple[CalibrationBin, ...]:
    """Return the bins of the calibration curve that have rows, from low confidence to high.

    Args:
        pairs: The rows.
        n: The number of bins of equal width over 0..1.

    Raises:
        UndefinedMetric: No row has a reference polarity, or none of those has probabilities.
    """
    predictions = predicted_probabilities(pairs)
    confidence, correct = (
        predictions.confidence[predictions.has_probs],
        predictions.correct[predictions.has_probs],
    )
    bin_ids = _bin_index(confidence, n)
    return tuple(
        CalibrationBin(
            low=i / n,
            high=(i + 1) / n,
            n=int((bin_ids == i).sum()),
            confidence=float(confidence[bin_ids == i].mean()),
            accuracy=float(correct[bin_ids == i].mean()),
        )
        for i in range(n)
        if (bin_ids == i).any()
    )


def _bin_index(confidence: Array, n: int) -> NDArray[np.intp]:
    """Return which of `n` right-closed bins each confidence is in; 0 is in the first."""
    return np.digitize(confidence, np.linspace(0.0, 1.0, n + 1)[1:-1], right=True)
