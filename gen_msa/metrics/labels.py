"""Accuracy, F1 of each class and their means, of one polarity an aspect.

An opinion without a polarity (None) is wrong and stays in every count: it takes from the recall of
its gold class and adds to no other. Knows nothing of how answers came to be.

    score([Polarity.NEUTRAL], [None]).accuracy      # 0.0
    metrics["labels"]().rows(pairs)                 # the same counts, row by row
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gen_msa.metrics._pairs import Pair
from gen_msa.metrics.base import Figure, metrics
from gen_msa.metrics.statistics.wilson import Z95, wilson
from gen_msa.settings import Settings, build
from gen_msa.types import Polarity

if TYPE_CHECKING:
    from gen_msa.metrics.base import Array

__all__ = ["Z95", "Labels", "Scores", "f1", "score", "wilson"]


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


def _f1_of(
    polarity: Polarity, confusion: Mapping[Polarity, Mapping[Polarity | None, int]]
) -> float:
    said = sum(confusion[g][polarity] for g in Polarity)
    return f1(confusion[polarity][polarity], said, sum(confusion[polarity].values()))


class LabelsOptions(Settings):
    """None: there is one way to count labels."""


def _figures() -> tuple[Figure, ...]:
    unread = "an unread or missing answer is wrong"
    means = [
        Figure("accuracy", f"rows whose polarity is right / rows; {unread}"),
        Figure("macro_f1", f"mean of the three classes' F1, absent classes included; {unread}"),
        Figure("weighted_f1", "mean of the classes' F1, weighted by their gold rows"),
        Figure("read_rate", "rows that the reader gave a polarity / rows"),
    ]
    kinds = {
        "f1": "2TP / (2TP + FP + FN) of {}; 0 where it is in neither gold nor answers",
        "precision": "right among the rows said to be {}; 0 where none is",
        "recall": "right among the rows that are {}; 0 where none is",
    }
    classes = [Figure(f"{k}_{c}", about.format(c)) for k, about in kinds.items() for c in Polarity]
    return (*means, *classes)


@metrics.register
class Labels:
    """Polarity against polarity; rows without gold's polarity are not scored."""

    figures: tuple[Figure, ...] = _figures()
    signature = "classes:negative,neutral,positive|unread:wrong|absent class:0"

    def __init__(self, **options: Any) -> None:
        build(LabelsOptions, options, "metric labels")

    def rows(self, pairs: Sequence[Pair]) -> "Array":
        """Columns: scored, then the 12 cells of gold by answer (three classes, unread).

        Raises `Undefined` when no gold opinion has a polarity.
        """
        from gen_msa.metrics import _confusion  # numpy: the door opens without it

        return _confusion.one_hot(pairs)

    def values(self, sums: "Array") -> "dict[str, Array]":
        """Every figure of sums of rows, (..., 13); undefined (NaN) without a scored row only."""
        from gen_msa.metrics._confusion import share, table

        counts, n = table(sums), sums[..., 0]
        right = counts.diagonal(axis1=-2, axis2=-1)
        gold, said = counts.sum(axis=-1), counts[..., :-1].sum(axis=-2)
        by_class = {
            "f1": share(2 * right, gold + said, empty=0.0),
            "precision": share(right, said, empty=0.0),
            "recall": share(right, gold, empty=0.0),
        }
        of_rows = share(n, n, empty=float("nan"))  # 1, or NaN where there are no rows
        found = {
            "accuracy": share(right.sum(axis=-1), n, empty=float("nan")),
            "macro_f1": by_class["f1"].mean(axis=-1) * of_rows,
            "weighted_f1": share((by_class["f1"] * gold).sum(axis=-1), n, empty=float("nan")),
            "read_rate": share(said.sum(axis=-1), n, empty=float("nan")),
        }
        for kind, values in by_class.items():
            for i, c in enumerate(Polarity):
                found[f"{kind}_{c}"] = values[..., i] * of_rows
        return found
