"""McNemar's exact test: of the rows that only one of two readers has right, are they shared evenly?

For accuracies of independent rows. Rows that share a picture are not independent: where many do,
`permutation` of whole clusters is the test to believe. Knows nothing of readers.

    mcnemar(*discordant(right_a, right_b))      # p
"""

from collections.abc import Sequence


def discordant_counts(correct_a: Sequence[bool], correct_b: Sequence[bool]) -> tuple[int, int]:
    """Rows that only a has right, and those that only b has.

    Raises `ValueError` when the two differ in length.
    """
    pairs = list(zip(correct_a, correct_b, strict=True))
    return sum(bool(a and not b) for a, b in pairs), sum(bool(b and not a) for a, b in pairs)


def mcnemar_test(only_a: int, only_b: int, *, mid_p: bool = False) -> float:
    """Two-sided p; 1 where the two never differ.

    `mid_p` counts half of what was seen itself: less cautious, and nearer to its level (Fagerland
    2013). Raises `ValueError` for a negative count.
    """
    from scipy.stats import binom, binomtest

    if min(only_a, only_b) < 0:
        raise ValueError(f"{min(only_a, only_b)} rows cannot be")
    n = only_a + only_b
    if n == 0:
        return 1.0
    p = float(binomtest(only_a, n, 0.5).pvalue)
    return min(1.0, p - float(binom.pmf(only_a, n, 0.5))) if mid_p else p
