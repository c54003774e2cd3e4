"""Calibration: whether a reader that is 80 % sure is right 80 % of the time.

About rows with probabilities only; `given` says how many of all rows those are, so that nothing is
left out unseen. An answer that could not be read is wrong, however sure the reader was. Knows
nothing of how probabilities came to be.

    metrics["calibration"](bins=10).rows(pairs)
    bins(pairs)                                     # the calibration curve
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from gen_msa.metrics._confidence import beliefs
from gen_msa.metrics._confusion import Array, share
from gen_msa.metrics._pairs import Pair
from gen_msa.metrics.base import Figure, metrics
from gen_msa.results import Bin
from gen_msa.settings import Settings, build
from gen_msa.types import Polarity

BINS = 15


class CalibrationOptions(Settings):
    """Where two conventions are about."""

    bins: int = Field(default=BINS, ge=1, le=1000)
    """Of equal width over 0..1, each closed on its right."""
    floor: float = Field(default=1e-6, gt=0, lt=0.1)
    """A smaller probability of gold's class counts as this much in `nll`, which is then finite."""


@metrics.register
class Calibration:
    """Expected calibration error, Brier score, negative log likelihood, mean confidence."""

    def __init__(self, **options: Any) -> None:
        self.options = build(CalibrationOptions, options, "metric calibration")
        n, floor = self.options.bins, self.options.floor
        rest = "; over rows with probabilities, undefined without one"
        self.figures: tuple[Figure, ...] = (
            Figure(
                "ece",
                f"sum over {n} bins of equal width of |accuracy - mean confidence| x its share of "
                f"rows{rest}",
                better="low",
            ),
            Figure("brier", f"mean of sum over classes of (p - y)²; 0..2{rest}", "score", "low"),
            Figure("nll", f"mean of -ln max(p of gold's class, {floor:g}){rest}", "nats", "low"),
            Figure("confidence", f"mean probability of the answered class{rest}", better=""),
            Figure("given", "rows with probabilities / rows"),
        )
        self.signature = (
            f"bins:{n} equal width, right-closed|brier:sum over classes|floor:{floor:g}"
        )

    def rows(self, pairs: Sequence[Pair]) -> Array:
        """Columns: scored, given, Brier, -ln p, confidence, then confidence - right of each bin.

        Raises `Undefined` when no row has gold's polarity, or none of those has probabilities.
        """
        held = beliefs(pairs)
        rows = np.zeros((len(pairs), 5 + self.options.bins))
        rows[held.scored, 0] = 1
        at = np.flatnonzero(held.given)
        truth, probs, confidence = held.truth[at], held.probs[at], held.confidence[at]
        rows[at, 1] = 1
        rows[at, 2] = ((probs - np.eye(len(Polarity))[truth]) ** 2).sum(axis=1)
        rows[at, 3] = -np.log(np.maximum(probs[np.arange(len(at)), truth], self.options.floor))
        rows[at, 4] = confidence
        rows[at, 5 + _bin(confidence, self.options.bins)] = confidence - held.right[at]
        return rows

    def values(self, sums: Array) -> dict[str, Array]:
        """Every figure of sums of rows, (..., 5 + bins)."""
        given, nothing = sums[..., 1], float("nan")
        return {
            "ece": share(np.abs(sums[..., 5:]).sum(axis=-1), given, empty=nothing),
            "brier": share(sums[..., 2], given, empty=nothing),
            "nll": share(sums[..., 3], given, empty=nothing),
            "confidence": share(sums[..., 4], given, empty=nothing),
            "given": share(given, sums[..., 0], empty=nothing),
        }


def bins(pairs: Sequence[Pair], n: int = BINS) -> tuple[Bin, ...]:
    """The calibration curve: the bins that have rows, from low confidence to high.

    Raises `Undefined` where `Calibration.rows` does.
    """
    held = beliefs(pairs)
    confidence, right = held.confidence[held.given], held.right[held.given]
    of = _bin(confidence, n)
    return tuple(
        Bin(
            low=i / n,
            high=(i + 1) / n,
            n=int((of == i).sum()),
            confidence=float(confidence[of == i].mean()),
            accuracy=float(right[of == i].mean()),
        )
        for i in range(n)
        if (of == i).any()
    )


def _bin(confidence: Array, n: int) -> NDArray[np.intp]:
    """Which of `n` right-closed bins each confidence lies in; 0 lies in the first."""
    return np.digitize(confidence, np.linspace(0.0, 1.0, n + 1)[1:-1], right=True)
