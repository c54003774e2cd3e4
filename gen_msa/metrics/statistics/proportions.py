"""Wilson's interval of a share. Knows nothing of what is counted, nor that rows may hang together.

wilson(81, 263)     # (0.2553, 0.3662)
"""

from math import ceil, sqrt
from statistics import NormalDist

# How small a difference of two accuracies on the same rows can be seen at all.


def detectable_difference(
    n: float, discordance: float, *, alpha: float = 0.05, power: float = 0.8
) -> float:
    """The smallest difference (share) that `n` rows show with `power`, two-sided at `alpha`.

    More than `parting` means: none, for accuracies cannot differ by more than their readers part.
    Raises `ValueError` for an `n` below 1, or shares that are none.
    """
    if n < 1:
        raise ValueError(f"{n} rows show nothing")
    z_alpha, z_power = _normal_quantiles(alpha, power)
    _check_discordance(discordance)
    # d * sqrt(n) = a * sqrt(parting) + b * sqrt(parting - d²), solved for d.
    discriminant = (
        z_alpha * z_alpha * n * discordance
        - (n + z_power * z_power) * (z_alpha * z_alpha - z_power * z_power) * discordance
    )
    return (z_alpha * sqrt(n * discordance) + sqrt(max(0.0, discriminant))) / (
        n + z_power * z_power
    )


def rows_needed(
    difference: float, discordance: float, *, alpha: float = 0.05, power: float = 0.8
) -> int:
    """Rows that show a `difference` (share) with `power`, two-sided at `alpha`.

    Raises `ValueError` for a difference of 0, or of more than `parting`.
    """
    z_alpha, z_power = _normal_quantiles(alpha, power)
    _check_discordance(discordance)
    d = abs(difference)
    if not 0 < d <= discordance:
        raise ValueError(
            f"readers that part in {discordance} of the rows cannot differ by {difference}"
        )
    return ceil(((z_alpha * sqrt(discordance) + z_power * sqrt(discordance - d * d)) / d) ** 2)


def _normal_quantiles(alpha: float, power: float) -> tuple[float, float]:
    if not 0 < alpha < 1 or not alpha < power < 1:
        raise ValueError(f"alpha {alpha} and power {power}: 0 < alpha < power < 1 is needed")
    return NormalDist().inv_cdf(1 - alpha / 2), NormalDist().inv_cdf(power)


def _check_discordance(discordance: float) -> None:
    if not 0 < discordance <= 1:
        raise ValueError(f"{discordance} is no share of rows in which two readers part")


Z95 = 1.959963984540054
"""Standard deviations that hold 95 % of a normal distribution."""


def wilson_interval(n_correct: int, n: int, z: float = Z95) -> tuple[float, float]:
    """Wilson's score interval of a share, in 0..1. Raises `ValueError` for `n` below 1."""
    if n < 1 or not 0 <= n_correct <= n:
        raise ValueError(f"{n_correct} of {n} is no share")
    p = n_correct / n
    scale = 1 + z * z / n
    center = (p + z * z / (2 * n)) / scale
    half = z / scale * sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, center - half), min(1.0, center + half)
