"""How small a difference of two accuracies on the same rows can be seen at all.

Connor's formula for McNemar's test. What counts is how often the two readers part: the share of
rows that exactly one has right. With rows in clusters, n is rows divided by the design effect.
Knows nothing of readers.

    detectable(1037, parting=0.2)           # 0.0389: below 3.9 points 1,037 rows show little
    rows_needed(0.01, parting=0.2)          # 15,696
"""

from math import ceil, sqrt
from statistics import NormalDist


def detectable(n: float, parting: float, *, alpha: float = 0.05, power: float = 0.8) -> float:
    """The smallest difference (share) that `n` rows show with `power`, two-sided at `alpha`.

    More than `parting` means: none, for accuracies cannot differ by more than their readers part.
    Raises `ValueError` for an `n` below 1, or shares that are none.
    """
    if n < 1:
        raise ValueError(f"{n} rows show nothing")
    a, b = _normal(alpha, power)
    _check(parting)
    # d * sqrt(n) = a * sqrt(parting) + b * sqrt(parting - d²), solved for d.
    root = a * a * n * parting - (n + b * b) * (a * a - b * b) * parting
    return (a * sqrt(n * parting) + sqrt(max(0.0, root))) / (n + b * b)


def rows_needed(
    difference: float, parting: float, *, alpha: float = 0.05, power: float = 0.8
) -> int:
    """Rows that show a `difference` (share) with `power`, two-sided at `alpha`.

    Raises `ValueError` for a difference of 0, or of more than `parting`.
    """
    a, b = _normal(alpha, power)
    _check(parting)
    d = abs(difference)
    if not 0 < d <= parting:
        raise ValueError(
            f"readers that part in {parting} of the rows cannot differ by {difference}"
        )
    return ceil(((a * sqrt(parting) + b * sqrt(parting - d * d)) / d) ** 2)


def _normal(alpha: float, power: float) -> tuple[float, float]:
    if not 0 < alpha < 1 or not alpha < power < 1:
        raise ValueError(f"alpha {alpha} and power {power}: 0 < alpha < power < 1 is needed")
    return NormalDist().inv_cdf(1 - alpha / 2), NormalDist().inv_cdf(power)


def _check(parting: float) -> None:
    if not 0 < parting <= 1:
        raise ValueError(f"{parting} is no share of rows in which two readers part")
