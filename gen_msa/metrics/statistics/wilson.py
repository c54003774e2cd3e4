"""Wilson's interval of a share. Knows nothing of what is counted, nor that rows may hang together.

wilson(81, 263)     # (0.2553, 0.3662)
"""

from math import sqrt

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
