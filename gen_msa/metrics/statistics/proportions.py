"""Shares: Wilson's interval, and the power of comparing two accuracies on the same rows.

wilson_interval(81, 263)     # (0.2553, 0.3662)
"""

from math import ceil, sqrt
from statistics import NormalDist


def detectable_difference(
    n: float, discordance: float, *, alpha: float = 0.05, power: float = 0.8
) -> float:
    """Return the smallest difference of two accuracies that `n` rows detect.

    A result above `discordance` means that no difference is detectable: accuracies cannot differ by
    more than the share of rows on which the systems disagree. Source: Connor (1987).

    Args:
        n: Rows, at least 1.
        discordance: Share of rows that exactly one system has right.
        alpha: Two-sided significance level.
        power: Probability of detection.

    Raises:
        ValueError: `n` is below 1, or a share is not in its range.
    """
    if n < 1:
        raise ValueError(f"at least 1 row is needed, not {n}")
    z_alpha, z_power = _normal_quantiles(alpha, power)
    _check_discordance(discordance)
    # d * sqrt(n) = z_alpha * sqrt(discordance) + z_power * sqrt(discordance - d²), solved for d.
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
    """Return the rows that detect a `difference` of two accuracies.

    Args:
        difference: Difference of the accuracies, as a share.
        discordance: Share of rows that exactly one system has right.
        alpha: Two-sided significance level.
        power: Probability of detection.

    Raises:
        ValueError: The difference is 0 or larger than `discordance`, or a share is not in its
            range.
    """
    z_alpha, z_power = _normal_quantiles(alpha, power)
    _check_discordance(discordance)
    d = abs(difference)
    if not 0 < d <= discordance:
        raise ValueError(
            f"systems that disagree on {discordance} of the rows cannot differ by {difference}"
        )
    return ceil(((z_alpha * sqrt(discordance) + z_power * sqrt(discordance - d * d)) / d) ** 2)


def _normal_quantiles(alpha: float, power: float) -> tuple[float, float]:
    if not 0 < alpha < 1 or not alpha < power < 1:
        raise ValueError(f"alpha {alpha} and power {power}: 0 < alpha < power < 1 is needed")
    return NormalDist().inv_cdf(1 - alpha / 2), NormalDist().inv_cdf(power)


def _check_discordance(discordance: float) -> None:
    if not 0 < discordance <= 1:
        raise ValueError(f"the discordance must be in (0, 1], not {discordance}")


Z95 = 1.959963984540054
"""Standard deviations that contain 95 % of a normal distribution."""


def wilson_interval(n_correct: int, n: int, z: float = Z95) -> tuple[float, float]:
    """Return Wilson's score interval of a share, in 0..1 (Wilson 1927).

    Args:
        n_correct: Correct rows.
        n: Rows, at least 1; they are taken to be independent.
        z: Standard deviations of the confidence level; 95 % by default.

    Raises:
        ValueError: `n` is below 1, or `n_correct` is not in 0..n.
    """
    if n < 1 or not 0 <= n_correct <= n:
        raise ValueError(f"{n_correct} of {n} is not a share")
    p = n_correct / n
    scale = 1 + z * z / n
    center = (p + z * z / (2 * n)) / scale
    half = z / scale * sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, center - half), min(1.0, center + half)
