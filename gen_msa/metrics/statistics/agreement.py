"""Agreement of raters on an ordinal scale.

Quadratic weighted kappa (Cohen 1968) of two raters of the same items; Krippendorff's alpha with the
ordinal difference, for any number of raters and missing ratings. Both are 1 for perfect agreement
and 0 for chance.

    weighted_kappa([1, 2, 5], [1, 3, 5])
    krippendorff([[1, 2, None], [1, 3, 5]])        # one row per rater, None for a missing rating
"""

from collections import Counter
from collections.abc import Sequence
from itertools import permutations


def weighted_kappa(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Return Cohen's kappa with quadratic weights.

    Args:
        first: Ratings of one rater.
        second: Ratings of the same items by the other.

    Returns:
        Kappa; 0 if one rater is constant; None without ratings, or if both are constant and equal.

    Raises:
        ValueError: The lengths differ.
    """
    observed = sum((a - b) ** 2 for a, b in zip(first, second, strict=True))
    chance = sum(
        n * m * (a - b) ** 2 for a, n in Counter(first).items() for b, m in Counter(second).items()
    )
    return 1 - len(first) * observed / chance if chance else None


def krippendorff(raters: Sequence[Sequence[float | None]]) -> float | None:
    """Return Krippendorff's ordinal alpha; None without two ratings of an item or two values.

    `raters[i][j]` is the rating of item j by rater i.
    """
    units = [[v for v in unit if v is not None] for unit in zip(*raters, strict=True)]
    units = [unit for unit in units if len(unit) > 1]
    weights: dict[tuple[float, float], float] = {}
    for unit in units:
        for pair in permutations(unit, 2):
            weights[pair] = weights.get(pair, 0.0) + 1 / (len(unit) - 1)
    counts = Counter(v for unit in units for v in unit)
    scale = sorted(counts)
    distances = {(a, b): _ordinal(a, b, scale, counts) for a in scale for b in scale}
    observed = sum(w * distances[pair] for pair, w in weights.items())
    chance = sum(counts[a] * counts[b] * d for (a, b), d in distances.items())
    return 1 - (sum(counts.values()) - 1) * observed / chance if chance else None


def _ordinal(a: float, b: float, scale: Sequence[float], counts: Counter[float]) -> float:
    """Return the squared ordinal difference: ratings between two values, minus half of each end."""
    low, high = min(a, b), max(a, b)
    between = sum(counts[v] for v in scale if low <= v <= high)
    return 0.0 if a == b else (between - (counts[a] + counts[b]) / 2) ** 2
