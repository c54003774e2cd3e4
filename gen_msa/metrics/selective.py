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

from gen_msa.metrics._confidence import beliefs
from gen_msa.metrics._confusion import Array
from gen_msa.metrics._pairs import Pair
from gen_msa.metrics.base import Figure, metrics
from gen_msa.settings import Settings, build

COVERAGES = (50, 80, 90)
"""Percent of the rows that are answered."""


class SelectiveOptions(Settings):
    """None."""


@metrics.register
class Selective:
    """Accuracy of the surest answers, and the area under the risk-coverage curve."""

    figures: tuple[Figure, ...] = (
        *(
            Figure(f"accuracy_at_{c}", f"accuracy of the {c} % of rows (rounded up) most sure of")
            for c in COVERAGES
        ),
        Figure("aurc", "mean over k = 1..n of the error rate of the k surest rows", better="low"),
    )
    signature = "ties:expected over random order|no probabilities:last"

    def __init__(self, **options: Any) -> None:
        build(SelectiveOptions, options, "metric selective")

    def measure(self, pairs: Sequence[Pair]) -> dict[str, float]:
        """Every figure; never NaN. Raises `Undefined` when no scored row has probabilities."""
        held = beliefs(pairs)
        confidence = np.where(held.given, held.confidence, -1.0)[held.scored]
        right = _right_of_surest(confidence, held.right[held.scored])
        n = len(right)
        kept = {c: ceil(c * n / 100) for c in COVERAGES}
        risk = 1 - right / np.arange(1, n + 1)
        at = {f"accuracy_at_{c}": float(right[k - 1] / k) for c, k in kept.items()}
        return {**at, "aurc": float(risk.mean())}


def _right_of_surest(confidence: Array, right: Any) -> Array:
    """How many of the k surest rows are right, (n,) for k = 1..n, as expected among ties."""
    _, group = np.unique(-confidence, return_inverse=True)
    of_group = np.bincount(group, weights=right) / np.bincount(group)
    found: Array = np.cumsum(of_group[np.sort(group)])
    return found
