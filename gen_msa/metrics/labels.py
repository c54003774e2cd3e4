"""Accuracy and F1 of polarities, one per aspect; also as plain JSON for training logs.

An opinion without a polarity (None) is wrong and stays in every count: it lowers the recall of its
reference class and the precision of none.

    score_labels([Polarity.NEUTRAL], [None]).accuracy      # 0.0
    metrics["labels"]().row_statistics(pairs)              # the same counts, row by row
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from typing import TYPE_CHECKING, Any

from gen_msa.metrics._pairs import Pair
from gen_msa.metrics.base import MetricSpec, metrics
from gen_msa.metrics.statistics.intervals import SHARE, mean_interval
from gen_msa.settings import Settings, build
from gen_msa.types import Polarity

if TYPE_CHECKING:
    from gen_msa.metrics.base import Array


@dataclass(frozen=True)
class Scores:
    """Metrics of `n` opinions; every share is in 0..1."""

    n: int
    n_read: int
    """Opinions with a polarity."""
    n_correct: int
    f1: Mapping[Polarity, float]
    """2TP / (2TP + FP + FN) of each class; 0 for a class in neither gold nor predictions."""
    confusion: Mapping[Polarity, Mapping[Polarity | None, int]]
    """Counts by reference class, then predicted class (None: unparsed)."""
    interval: tuple[float, float] | None = None
    """The 95 % interval of the accuracy (`intervals.mean_interval`); None for too few clusters."""

    @property
    def accuracy(self) -> float:
        """Share of correct opinions."""
        return self.n_correct / self.n

    @property
    def macro_f1(self) -> float:
        """Mean F1 of the three classes, including those without a row."""
        return sum(self.f1.values()) / len(self.f1)

    @property
    def read_rate(self) -> float:
        """Share of opinions with a polarity."""
        return self.n_read / self.n


def score_labels(
    gold: Sequence[Polarity],
    predictions: Sequence[Polarity | None],
    clusters: Sequence[str] | None = None,
) -> Scores:
    """Score predicted polarities.

    Args:
        gold: Reference polarity of each aspect.
        predictions: Predicted polarity of the same aspects; None for unparsed.
        clusters: What rows share that are not independent (an image, a post); None if all are.

    Returns:
        The metrics, in which an unparsed prediction counts as an error.

    Raises:
        ValueError: The lengths differ, or there are no rows.
    """
    if not gold:
        raise ValueError("there is nothing to score")
    pairs = Counter(zip(gold, predictions, strict=True))
    correct = [float(g is p) for g, p in zip(gold, predictions, strict=True)]
    interval = mean_interval(correct, clusters or [str(i) for i in range(len(gold))], bounds=SHARE)
    answer_labels: tuple[Polarity | None, ...] = (*Polarity, None)
    confusion = {g: {a: pairs[g, a] for a in answer_labels} for g in Polarity}
    return Scores(
        n=len(gold),
        n_read=sum(a is not None for a in predictions),
        n_correct=sum(confusion[c][c] for c in Polarity),
        f1={c: _class_f1(c, confusion) for c in Polarity},
        confusion=confusion,
        interval=None if isnan(interval.low) else (interval.low, interval.high),
    )


def f1(n_correct: int, n_predicted: int, n_gold: int) -> float:
    """Return the harmonic mean of precision and recall from counts; 0 if both totals are 0.

    Args:
        n_correct: Correct rows of the class.
        n_predicted: Rows predicted as the class.
        n_gold: Rows of the class.
    """
    return 2 * n_correct / (n_predicted + n_gold) if n_predicted + n_gold else 0.0


def _class_f1(
    polarity: Polarity, confusion: Mapping[Polarity, Mapping[Polarity | None, int]]
) -> float:
    n_predicted = sum(confusion[g][polarity] for g in Polarity)
    return f1(confusion[polarity][polarity], n_predicted, sum(confusion[polarity].values()))


class LabelsOptions(Settings):
    """No options."""


def _specs() -> tuple[MetricSpec, ...]:
    unparsed_note = "an unparsed or missing prediction is wrong"
    means = [
        MetricSpec("accuracy", f"rows with the correct polarity / rows; {unparsed_note}"),
        MetricSpec(
            "macro_f1", f"mean of the three classes' F1, absent classes included; {unparsed_note}"
        ),
        MetricSpec("weighted_f1", "mean of the classes' F1, weighted by their gold rows"),
        MetricSpec("read_rate", "rows with a predicted polarity / rows"),
    ]
    per_class = {
        "f1": "2TP / (2TP + FP + FN) of {}; 0 where it is in neither gold nor predictions",
        "precision": "correct among rows predicted as {}; 0 where there are none",
        "recall": "correct among rows of class {}; 0 where there are none",
    }
    classes = [
        MetricSpec(f"{k}_{c}", about.format(c)) for k, about in per_class.items() for c in Polarity
    ]
    return (*means, *classes)


@metrics.register
class Labels:
    """Polarity against polarity; rows without a reference polarity are not scored."""

    reads_explanations = False
    specs: tuple[MetricSpec, ...] = _specs()
    signature = "classes:negative,neutral,positive|unparsed:wrong|absent class:0"

    def __init__(self, **options: Any) -> None:
        build(LabelsOptions, options, "metric labels")

    def row_statistics(self, pairs: Sequence[Pair]) -> "Array":
        """Return the columns: scored, then the 12 cells of reference class by predicted class.

        Raises:
            UndefinedMetric: No reference opinion has a polarity.
        """
        from gen_msa.metrics import _confusion

        return _confusion.one_hot(pairs)

    def compute(self, sums: "Array") -> "dict[str, Array]":
        """Return each metric from sums of rows, `(..., 13)`; NaN only without a scored row.

        Args:
            sums: Sums of `row_statistics`; each metric is `(...,)`.
        """
        from gen_msa.metrics._confusion import confusion_matrix, safe_divide

        counts, n = confusion_matrix(sums), sums[..., 0]
        n_correct = counts.diagonal(axis1=-2, axis2=-1)
        n_gold, n_predicted = counts.sum(axis=-1), counts[..., :-1].sum(axis=-2)
        by_class = {
            "f1": safe_divide(2 * n_correct, n_gold + n_predicted, empty=0.0),
            "precision": safe_divide(n_correct, n_predicted, empty=0.0),
            "recall": safe_divide(n_correct, n_gold, empty=0.0),
        }
        any_row = safe_divide(n, n, empty=float("nan"))  # 1, or NaN where there are no rows
        results = {
            "accuracy": safe_divide(n_correct.sum(axis=-1), n, empty=float("nan")),
            "macro_f1": by_class["f1"].mean(axis=-1) * any_row,
            "weighted_f1": safe_divide(
                (by_class["f1"] * n_gold).sum(axis=-1), n, empty=float("nan")
            ),
            "read_rate": safe_divide(n_predicted.sum(axis=-1), n, empty=float("nan")),
        }
        for kind, values in by_class.items():
            for i, c in enumerate(Polarity):
                results[f"{kind}_{c}"] = values[..., i] * any_row
        return results


# Metrics of a dev source as plain JSON, the same for every kind of model.


def label_metrics(scores: Scores) -> dict[str, Any]:
    """Return accuracy with its interval, F1 and confusion as plain JSON; shares in 0..1.

    `accuracy_95` is None where there are too few clusters for an interval.
    A prediction without a label counts as wrong, and is called `unparsed` in the confusion.
    """
    return {
        "accuracy": scores.accuracy,
        "accuracy_95": list(scores.interval) if scores.interval else None,
        "macro_f1": scores.macro_f1,
        "f1": {str(p): v for p, v in scores.f1.items()},
        "confusion": {
            str(g): {str(a or "unparsed"): n for a, n in row.items()}
            for g, row in scores.confusion.items()
        },
    }
