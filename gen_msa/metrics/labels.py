"""Accuracy, F1 of each class and their mean, of one polarity an aspect.

An opinion without a polarity (None) is wrong and stays in every count: it takes from the recall of
its gold class and adds to no other. Knows nothing of how answers came to be.

    score([Polarity.NEUTRAL], [None]).accuracy      # 0.0
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

from gen_msa.types import Polarity

Z95 = 1.959963984540054
"""Standard deviations that hold 95 % of a normal distribution."""


@dataclass(frozen=True)
class Scores:
    """Figures of `n` opinions; every share lies in 0..1."""

    n: int
    read: int
    """Opinions that have a polarity."""
    right: int
    f1: Mapping[Polarity, float]
    """2TP / (2TP + FP + FN) of each class; 0 for a class in neither gold nor answers."""
    confusion: Mapping[Polarity, Mapping[Polarity | None, int]]
    """How often gold (outer) was read as what (inner; None: could not be read)."""

    @property
    def accuracy(self) -> float:
        """Share of opinions that are right."""
        return self.right / self.n

    @property
    def macro_f1(self) -> float:
        """Mean of the three classes' F1, those without a single row included."""
        return sum(self.f1.values()) / len(self.f1)

    @property
    def read_rate(self) -> float:
        """Share of opinions that have a polarity."""
        return self.read / self.n

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the accuracy; too narrow where rows share a picture."""
        return wilson(self.right, self.n)


def score(gold: Sequence[Polarity], said: Sequence[Polarity | None]) -> Scores:
    """Figures of what was `said` about the aspects that `gold` labels, in the same order.

    Raises `ValueError` when the two differ in length or are empty.
    """
    if not gold:
        raise ValueError("there is nothing to score")
    pairs = Counter(zip(gold, said, strict=True))
    answers: tuple[Polarity | None, ...] = (*Polarity, None)
    confusion = {g: {a: pairs[g, a] for a in answers} for g in Polarity}
    return Scores(
        n=len(gold),
        read=sum(a is not None for a in said),
        right=sum(confusion[c][c] for c in Polarity),
        f1={c: _f1_of(c, confusion) for c in Polarity},
        confusion=confusion,
    )


def f1(right: int, said: int, gold: int) -> float:
    """Harmonic mean of `right/said` and `right/gold`; 0 where nothing was said nor to be said."""
    return 2 * right / (said + gold) if said + gold else 0.0


def wilson(right: int, n: int, z: float = Z95) -> tuple[float, float]:
    """Wilson's score interval of a share, in 0..1. Raises `ValueError` for `n` below 1."""
    if n < 1 or not 0 <= right <= n:
        raise ValueError(f"{right} of {n} is no share")
    p = right / n
    scale = 1 + z * z / n
    middle = (p + z * z / (2 * n)) / scale
    half = z / scale * sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def _f1_of(
    polarity: Polarity, confusion: Mapping[Polarity, Mapping[Polarity | None, int]]
) -> float:
    said = sum(confusion[g][polarity] for g in Polarity)
    return f1(confusion[polarity][polarity], said, sum(confusion[polarity].values()))
