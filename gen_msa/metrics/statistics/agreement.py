"""Agreement of two raters, or of any number, on an ordered scale.

Quadratic weighted kappa (Cohen 1968) of two raters who marked the same things; Krippendorff's alpha
with the ordinal difference, of any number of raters who left gaps. Both are 1 for perfect agreement
and 0 for chance. Know nothing of judges.

    weighted_kappa([1, 2, 5], [1, 3, 5])
    krippendorff([[1, 2, None], [1, 3, 5]])        # a row a rater, None where it gave no mark
"""

from collections import Counter
from collections.abc import Sequence
from itertools import permutations


def weighted_kappa(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Cohen's kappa with quadratic weights; None without rows, or when both always say the same.

    A rater that always says one thing agrees by chance alone: 0. Raises `ValueError` for unequal
    lengths.
    """
    observed = sum((a - b) ** 2 for a, b in zip(first, second, strict=True))
    chance = sum(
        n * m * (a - b) ** 2 for a, n in Counter(first).items() for b, m in Counter(second).items()
    )
    return 1 - len(first) * observed / chance if chance else None


def krippendorff(raters: Sequence[Sequence[float | None]]) -> float | None:
    """Krippendorff's alpha, ordinal; None when nothing was marked twice, or only one mark is used.

    `raters[i][j]` is what rater i made of thing j.
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
    """Squared number of marks that lie between two, half of each end's own taken off."""
    low, high = min(a, b), max(a, b)
    between = sum(counts[v] for v in scale if low <= v <= high)
    return 0.0 if a == b else (between - (counts[a] + counts[b]) / 2) ** 2
