"""Sentiment intensity: agreement of predicted and reference scores on the scale of a data set.

The metrics of multimodal sentiment analysis: mean absolute error, Pearson correlation, and accuracy
and F1 after discretization. A missing prediction is wrong in every accuracy and F1; error and
correlation are over rows with both scores, and `read_rate` is the share of those.

    metrics["intensity"](scale="sims").row_statistics(pairs)
"""

from collections.abc import Callable, Sequence
from math import inf
from typing import Any, Literal

import numpy as np

from gen_msa.metrics._pairs import Pair
from gen_msa.metrics._thresholds import (
    N_BINARY_COLUMNS,
    SIMS_3_EDGES,
    SIMS_5_EDGES,
    Array,
    Bools,
    bin_scores,
    binary_accuracy,
    binary_counts,
    binary_weighted_f1,
    nan_divide,
    round_to_classes,
)
from gen_msa.metrics.base import MetricSpec, UndefinedMetric, metrics
from gen_msa.settings import Settings, build
from gen_msa.types import Opinion

MIN_RELATIVE_VARIANCE = 1e-12
"""Variance, as a share of the mean square, below which scores count as constant: the rounding error
of a constant is smaller, the variance of real predictions larger."""
_N_MOMENTS = 7
_LARGE, _UNIT = 2.0**400, 2.0**600
"""Moments of scores beyond `_LARGE` are summed in units of `_UNIT`: squares would overflow."""
_MOMENTS = 3
"""First column of the moments, as they are and then in units of `_UNIT`."""
_CLASSES = _MOMENTS + 2 * _N_MOMENTS


class IntensityOptions(Settings):
    """The convention of the scale."""

    scale: Literal["mosi", "mosei", "sims"] = "mosi"
    """`mosi` and `mosei`: -3 to 3. `sims`: -1 to 1; scores are clipped to this range first."""
    nonzero_only: bool = False
    """Error and correlation only over rows with a nonzero reference, as in some published code."""


@metrics.register
class Intensity:
    """MAE, Pearson's r, and accuracy and weighted F1 of the discretized scale."""

    reads_explanations = False

    def __init__(self, **options: Any) -> None:
        self.options = build(IntensityOptions, options, "metric intensity")
        self._is_sims = self.options.scale == "sims"
        self.specs = _specs(self._is_sims, self.options.nonzero_only)
        cuts = (
            "right-closed cuts ±0.1, ±0.7; clipped to ±1"
            if self._is_sims
            else "clip and round half to even"
        )
        error_rows = "gold not 0" if self.options.nonzero_only else "all"
        self.signature = f"scale:{self.options.scale}|cuts:{cuts}|error over:{error_rows}"

    def row_statistics(self, pairs: Sequence[Pair]) -> Array:
        """Return the columns: scored, predicted, large, 7 moments twice, 6 of each split, correct.

        The last columns are 1 for a correct class among 3, 5 and, except for SIMS, 7.

        Raises:
            UndefinedMetric: No reference opinion has a score.
        """
        gold = np.array([_score(p.gold) for p in pairs], dtype=np.float64)
        predictions = np.array([_score(p.prediction) for p in pairs], dtype=np.float64)
        scored = ~np.isnan(gold)
        if not scored.any():
            raise UndefinedMetric("no gold opinion has a score")
        has_prediction = scored & ~np.isnan(predictions)
        gold, predictions = np.where(scored, gold, 0.0), np.where(has_prediction, predictions, 0.0)
        if self._is_sims:
            gold, predictions = np.clip(gold, -1.0, 1.0), np.clip(predictions, -1.0, 1.0)
        usable = has_prediction & (gold != 0) if self.options.nonzero_only else has_prediction
        large = usable & (np.maximum(np.abs(gold), np.abs(predictions)) > _LARGE)
        columns = [c.astype(np.float64) for c in (scored, has_prediction, large)]
        # Where a row is large, the moments of all rows are taken in the large unit.
        small = usable & ~large
        columns += [
            np.where(small, m, 0.0)
            for m in _moments(np.where(small, gold, 0.0), np.where(small, predictions, 0.0))
        ]
        columns += [np.where(usable, m, 0.0) for m in _moments(gold / _UNIT, predictions / _UNIT)]
        for included, is_upper in self._binary_splits(gold, scored):
            columns += binary_counts(
                is_upper(gold), is_upper(predictions), included, has_prediction
            )
        columns += [
            (is_match & has_prediction).astype(np.float64)
            for is_match in self._class_matches(gold, predictions)
        ]
        return np.column_stack(columns)

    def compute(self, sums: Array) -> dict[str, Array]:
        """Return each metric from sums of rows; NaN if no row counts.

        Args:
            sums: Sums of `row_statistics`, `(..., 25)` for SIMS, otherwise `(..., 32)`.
        """
        scored, large = sums[..., 0], sums[..., 2] > 0
        moments = np.where(
            large[..., None],
            sums[..., _MOMENTS + _N_MOMENTS : _CLASSES],
            sums[..., _MOMENTS : _MOMENTS + _N_MOMENTS],
        )
        with np.errstate(over="ignore"):
            error = nan_divide(moments[..., 1], moments[..., 0]) * np.where(large, _UNIT, 1.0)
        values = {
            "mae": np.minimum(error, np.finfo(np.float64).max),
            "pearson": _pearson(moments),
            "read_rate": nan_divide(sums[..., 1], scored),
        }
        column = _CLASSES
        for name in [""] if self._is_sims else ["_has0", "_non0"]:
            values["acc2" + name] = binary_accuracy(sums[..., column : column + N_BINARY_COLUMNS])
            values["f1" + name] = binary_weighted_f1(sums[..., column : column + N_BINARY_COLUMNS])
            column += N_BINARY_COLUMNS
        for i, name in enumerate(["acc3", "acc5"] if self._is_sims else ["acc3", "acc5", "acc7"]):
            values[name] = nan_divide(sums[..., column + i], scored)
        return {f.name: values[f.name] for f in self.specs}

    def _binary_splits(
        self, gold: Array, scored: Bools
    ) -> list[tuple[Bools, Callable[[Array], Bools]]]:
        """Return each binary split: the rows that count, and the test for the upper class."""
        if self._is_sims:
            return [(scored, _above)]
        return [(scored, _not_below), (scored & (gold != 0), _above)]

    def _class_matches(self, gold: Array, predictions: Array) -> list[Bools]:
        if self._is_sims:
            return [
                bin_scores(gold, e) == bin_scores(predictions, e)
                for e in (SIMS_3_EDGES, SIMS_5_EDGES)
            ]
        return [round_to_classes(gold, m) == round_to_classes(predictions, m) for m in (1, 2, 3)]


def _score(opinion: Opinion | None) -> float:
    """Return the score of an opinion; NaN if there is none."""
    return float("nan") if opinion is None or opinion.score is None else opinion.score


def _above(scores: Array) -> Bools:
    return scores > 0


def _not_below(scores: Array) -> Bools:
    return scores >= 0


def _moments(gold: Array, predictions: Array) -> tuple[Array, ...]:
    ones = np.ones_like(gold)
    return (
        ones,
        np.abs(predictions - gold),
        predictions,
        gold,
        predictions * predictions,
        gold * gold,
        predictions * gold,
    )


def _pearson(moments: Array) -> Array:
    """Return Pearson's r of sums `(..., 7)`; NaN if either side does not vary."""
    n = moments[..., 0]
    p, y, pp, yy, py = (nan_divide(moments[..., i], n) for i in range(2, _N_MOMENTS))
    varies = (pp - p * p > MIN_RELATIVE_VARIANCE * pp) & (yy - y * y > MIN_RELATIVE_VARIANCE * yy)
    with np.errstate(invalid="ignore"):
        norm = np.sqrt(pp - p * p) * np.sqrt(yy - y * y)
    r: Array = np.divide(py - p * y, norm, out=np.full(n.shape, np.nan), where=varies)
    return np.asarray(r.clip(-1.0, 1.0))


def _specs(sims: bool, nonzero_only: bool) -> tuple[MetricSpec, ...]:
    rows = "rows with both scores" + (" and gold not 0" if nonzero_only else "")
    clipped = ", both clipped to ±1" if sims else ", not clipped"
    mae = MetricSpec(
        "mae", f"mean |prediction - gold| over {rows}{clipped}", "score", "low", (0.0, inf)
    )
    pearson = MetricSpec("pearson", f"Pearson's r over {rows}{clipped}", "score", range=(-1.0, 1.0))
    read_rate = MetricSpec("read_rate", "share of gold scores with a predicted score")
    if sims:
        cuts = (
            MetricSpec("acc2", "same side: [-1, 0] or (0, 1]; no score is wrong"),
            MetricSpec("f1", "F1 of these two, weighted by gold rows; no score is wrong"),
            MetricSpec("acc3", "same bin of the cuts -0.1, 0.1, closed on the right"),
            MetricSpec("acc5", "same bin of the cuts -0.7, -0.1, 0.1, 0.7, closed on the right"),
        )
        return (mae, pearson, *cuts, read_rate)
    has0, non0 = (
        "(prediction >= 0) = (gold >= 0), all rows",
        "(prediction > 0) = (gold > 0), gold not 0",
    )
    binary_specs = (
        MetricSpec("acc2_has0", f"{has0}; no score is wrong"),
        MetricSpec("f1_has0", f"F1 of both classes weighted by gold rows, of {has0}"),
        MetricSpec("acc2_non0", f"{non0}; a score of 0 counts as negative, no score is wrong"),
        MetricSpec("f1_non0", f"F1 of both classes weighted by gold rows, of {non0}"),
    )
    about_template = "equal after clipping to ±{} and rounding half to even; no score is wrong"
    accuracies = (MetricSpec(f"acc{2 * m + 1}", about_template.format(m)) for m in (1, 2, 3))
    return (mae, pearson, *binary_specs, *accuracies, read_rate)
