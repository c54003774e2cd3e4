"""Sentiment intensity: how near a reader's score comes to gold's, on the scale of the data set.

The figures of the MMSA line of work: mean absolute error, correlation, and accuracies after the
scale is cut into classes. A gold score that the reader gave no (finite) score for is wrong in every
accuracy and F1; error and correlation can only be had over rows with both scores, and `read_rate`
says how many those are. Knows nothing of how a score came to be.

    metrics["intensity"](scale="sims").rows(pairs)
"""

from collections.abc import Callable, Sequence
from math import isfinite
from typing import Any, Literal

import numpy as np

from gen_msa.errors import UserError
from gen_msa.metrics._cuts import (
    SIMS_3,
    SIMS_5,
    TWO,
    Array,
    Bools,
    accuracy_of_two,
    binned,
    ratio,
    rounded,
    two_classes,
    weighted_f1_of_two,
)
from gen_msa.metrics._pairs import Pair
from gen_msa.metrics.base import Figure, Undefined, metrics
from gen_msa.settings import Settings, build

SPREAD = 1e-12
"""Least variance, as a share of the mean square, below which scores count as all the same: what
rounding leaves of a constant is smaller, what a reader says is larger."""
_MOMENTS = 7


class IntensityOptions(Settings):
    """Which convention is followed."""

    scale: Literal["mosi", "mosei", "sims"] = "mosi"
    """`mosi` and `mosei`: -3 to 3. `sims`: -1 to 1, and every score is clipped to it first."""
    nonzero_only: bool = False
    """Error and correlation over rows whose gold score is not 0, as some published code has it."""


@metrics.register
class Intensity:
    """MAE, Pearson's r, and the accuracies and weighted F1 of the cut scale."""

    def __init__(self, **options: Any) -> None:
        self.options = build(IntensityOptions, options, "metric intensity")
        self._sims = self.options.scale == "sims"
        self.figures = _figures(self._sims, self.options.nonzero_only)
        cuts = (
            "right-closed cuts ±0.1, ±0.7; clipped to ±1"
            if self._sims
            else "clip and round half to even"
        )
        over = "gold not 0" if self.options.nonzero_only else "all"
        self.signature = f"scale:{self.options.scale}|cuts:{cuts}|error over:{over}"

    def rows(self, pairs: Sequence[Pair]) -> Array:
        """Columns: scored, read, 7 moments, 6 of each cut into two, then right in 3, 5 (and 7).

        Raises `Undefined` when no gold opinion has a score, `UserError` when one is not finite.
        """
        gold = np.array([_gold(p) for p in pairs], dtype=np.float64)
        said = np.array([_said(p) for p in pairs], dtype=np.float64)
        scored = ~np.isnan(gold)
        if not scored.any():
            raise Undefined("no gold opinion has a score")
        read = scored & ~np.isnan(said)
        gold, said = np.where(scored, gold, 0.0), np.where(read, said, 0.0)
        if self._sims:
            gold, said = np.clip(gold, -1.0, 1.0), np.clip(said, -1.0, 1.0)
        both = read & (gold != 0) if self.options.nonzero_only else read
        columns = [scored.astype(np.float64), read.astype(np.float64)]
        columns += [m * both for m in _moments(gold, said)]
        for over, side in self._halves(gold, scored):
            columns += two_classes(side(gold), side(said), over, read)
        columns += [(right & read).astype(np.float64) for right in self._rights(gold, said)]
        return np.column_stack(columns)

    def values(self, sums: Array) -> dict[str, Array]:
        """Every figure of sums of rows; NaN where no row is left to divide by."""
        scored, moments = sums[..., 0], sums[..., 2 : 2 + _MOMENTS]
        found = {
            "mae": ratio(moments[..., 1], moments[..., 0]),
            "pearson": _pearson(moments),
            "read_rate": ratio(sums[..., 1], scored),
        }
        at = 2 + _MOMENTS
        for name in [""] if self._sims else ["_has0", "_non0"]:
            found["acc2" + name] = accuracy_of_two(sums[..., at : at + TWO])
            found["f1" + name] = weighted_f1_of_two(sums[..., at : at + TWO])
            at += TWO
        for i, name in enumerate(["acc3", "acc5"] if self._sims else ["acc3", "acc5", "acc7"]):
            found[name] = ratio(sums[..., at + i], scored)
        return {f.name: found[f.name] for f in self.figures}

    def _halves(self, gold: Array, scored: Bools) -> list[tuple[Bools, Callable[[Array], Bools]]]:
        """Each cut into two: the rows that it is about, and which scores are in its upper half."""
        if self._sims:
            return [(scored, _above)]
        return [(scored, _not_below), (scored & (gold != 0), _above)]

    def _rights(self, gold: Array, said: Array) -> list[Bools]:
        if self._sims:
            return [binned(gold, e) == binned(said, e) for e in (SIMS_3, SIMS_5)]
        return [rounded(gold, m) == rounded(said, m) for m in (1, 2, 3)]


def _gold(pair: Pair) -> float:
    """Gold's score; NaN where it gives none."""
    score = pair.gold.score if pair.gold else None
    if score is not None and not isfinite(score):
        raise UserError(
            f"post {pair.post.id}: gold's score is {score}", mend="give a number, or leave it out"
        )
    return float("nan") if score is None else score


def _said(pair: Pair) -> float:
    """The reader's score; NaN where it gave none that is finite."""
    score = pair.said.score if pair.said else None
    return score if score is not None and isfinite(score) else float("nan")


def _above(scores: Array) -> Bools:
    return scores > 0


def _not_below(scores: Array) -> Bools:
    return scores >= 0


def _moments(gold: Array, said: Array) -> tuple[Array, ...]:
    one = np.ones_like(gold)
    return one, np.abs(said - gold), said, gold, said * said, gold * gold, said * gold


def _pearson(moments: Array) -> Array:
    """Pearson's r of sums (..., 7); NaN where either side does not vary."""
    n = moments[..., 0]
    p, y, pp, yy, py = (ratio(moments[..., i], n) for i in range(2, _MOMENTS))
    varies = (pp - p * p > SPREAD * pp) & (yy - y * y > SPREAD * yy)
    with np.errstate(invalid="ignore"):
        size = np.sqrt((pp - p * p) * (yy - y * y))
    r: Array = np.divide(py - p * y, size, out=np.full(n.shape, np.nan), where=varies)
    return np.asarray(r.clip(-1.0, 1.0))


def _figures(sims: bool, nonzero_only: bool) -> tuple[Figure, ...]:
    rows = "rows with both scores" + (" and gold not 0" if nonzero_only else "")
    clipped = ", both clipped to ±1" if sims else ", not clipped"
    mae = Figure("mae", f"mean |said - gold| over {rows}{clipped}", "score", "low")
    pearson = Figure("pearson", f"Pearson's r over {rows}{clipped}", "score")
    read = Figure("read_rate", "share of gold scores that the reader gave a finite score for")
    if sims:
        cuts = (
            Figure("acc2", "same side: [-1, 0] or (0, 1]; no score is wrong"),
            Figure("f1", "F1 of these two, weighted by gold rows; no score is wrong"),
            Figure("acc3", "same bin of the cuts -0.1, 0.1, closed on the right"),
            Figure("acc5", "same bin of the cuts -0.7, -0.1, 0.1, 0.7, closed on the right"),
        )
        return (mae, pearson, *cuts, read)
    has0, non0 = "(said >= 0) = (gold >= 0), all rows", "(said > 0) = (gold > 0), gold not 0"
    halves = (
        Figure("acc2_has0", f"{has0}; no score is wrong"),
        Figure("f1_has0", f"F1 of both classes weighted by gold rows, of {has0}"),
        Figure("acc2_non0", f"{non0}; a score of 0 counts as negative, no score is wrong"),
        Figure("f1_non0", f"F1 of both classes weighted by gold rows, of {non0}"),
    )
    whole = "equal after clipping to ±{} and rounding half to even; no score is wrong"
    accuracies = (Figure(f"acc{2 * m + 1}", whole.format(m)) for m in (1, 2, 3))
    return (mae, pearson, *halves, *accuracies, read)
