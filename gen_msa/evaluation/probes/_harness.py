"""What a probe works with: existing predictions as rows, and prediction of changed posts.

perturbation = Perturbation(row, "grey", post, row.aspect, description="a grey image")
trials = harness.predict([perturbation])
"""

import hashlib
import random
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import isnan
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gen_msa.metrics import UndefinedMetric
from gen_msa.metrics.statistics.bootstrap import BootstrapResamples
from gen_msa.metrics.statistics.intervals import (
    SHARE,
    SHARE_DIFFERENCE,
    UNBOUNDED,
    Bounds,
    Interval,
    too_few_clusters,
)
from gen_msa.predictors import Predictor, PredictorSettings
from gen_msa.results import MetricValue
from gen_msa.types import Aspect, FrozenModel, Opinion, Polarity, Post, Status

_BATCH_SIZE = 256
"""Posts per call of `predict`."""


@dataclass(frozen=True)
class ProbeRow:
    """One prediction that has a label, and the gold opinion."""

    post: Post
    """As the model gets it, with all aspects."""
    aspect: Aspect
    gold: Opinion | None
    prediction: Opinion
    cluster: str
    """The path of the first image, or the id of the post: rows of one cluster are dependent."""

    @property
    def predicted_label(self) -> Polarity:
        """The predicted label."""
        if self.prediction.polarity is None:
            raise ValueError(f"post {self.post.id}: a row without a label")
        return self.prediction.polarity

    @property
    def gold_label(self) -> Polarity | None:
        """The gold label; None where there is none."""
        return self.gold.polarity if self.gold else None


@dataclass(frozen=True)
class Perturbation:
    """The changed post of a row."""

    row: ProbeRow
    variant: str
    """The kind of change, e.g. `grey`."""
    post: Post
    aspect: Aspect
    """The aspect to predict, as it stands in the changed post."""
    description: str
    """What was changed, for the log."""


class Trial(FrozenModel):
    """One row of the sample log: a change, and the label before and after it."""

    variant: str
    post: str
    aspect: str
    start: int | None = None
    description: str
    gold: Polarity | None = None
    before: Polarity | None
    after: Polarity | None
    p_before: float | None = None
    """Probability of the label `before` in the original prediction."""
    p_after: float | None = None
    """Probability of the same label after the change."""
    note: str = ""
    """Why the changed post could not be predicted; such a row is in no metric."""

    @property
    def flipped(self) -> float | None:
        """1 when the label changes or is missing, else 0; None when there is no prediction."""
        return None if self.note else float(self.after is not self.before)

    @property
    def probability_drop(self) -> float | None:
        """Loss of probability of the label; None without probabilities."""
        unknown = self.p_before is None or self.p_after is None
        return None if unknown or self.note else (self.p_before or 0.0) - (self.p_after or 0.0)

    @property
    def accuracy_drop(self) -> float | None:
        """Correct before minus correct after: -1, 0 or 1; None without a gold label."""
        if self.note or self.gold is None:
            return None
        return float(self.before is self.gold) - float(self.after is self.gold)


@dataclass(frozen=True)
class ProbeHarness:
    """A model, its predictions, and limits on further predictions."""

    predictor: Predictor
    settings: PredictorSettings
    media_root: Path
    rows: tuple[ProbeRow, ...]
    seed: int = 0
    limit: int | None = None
    """Posts that one probe changes."""
    replicates: int = 10_000

    def sample_rows(self, rows: Iterable[ProbeRow]) -> list[ProbeRow]:
        """Return the rows of at most `limit` posts, chosen by a hash of seed and post id."""
        rows = list(rows)
        ids = sorted({r.post.id for r in rows}, key=lambda i: hash_order(self.seed, i))
        selected = set(ids[: self.limit])
        return [r for r in rows if r.post.id in selected]

    def rng(self, *parts: object) -> random.Random:
        """Return a random generator that depends on the seed and `parts` only."""
        return random.Random(hash_order(self.seed, *parts))

    def predict(
        self, perturbations: Sequence[Perturbation], predictor: Predictor | None = None
    ) -> list[Trial]:
        """Predict changed posts; equal posts are predicted once.

        Args:
            perturbations: The changes.
            predictor: The model; None: the one that is probed.

        Returns:
            One trial per change, in order.
        """
        predictor = predictor or self.predictor
        distinct_posts = {c.post.model_dump_json(): c.post for c in perturbations}
        posts = list(distinct_posts.values())
        opinions_by_post: dict[str, dict[Aspect, Opinion] | str] = {}
        for i in range(0, len(posts), _BATCH_SIZE):
            batch = posts[i : i + _BATCH_SIZE]
            for post, prediction in zip(batch, predictor.predict(batch), strict=True):
                opinions_by_post[post.model_dump_json()] = prediction.rejection or {
                    o.aspect: o for o in prediction.opinions
                }
        return [build_trial(c, opinions_by_post[c.post.model_dump_json()]) for c in perturbations]


def build_trial(perturbation: Perturbation, opinions: dict[Aspect, Opinion] | str) -> Trial:
    """Build the log row of a change.

    Args:
        perturbation: The change.
        opinions: Aspect -> opinion about the changed post, or why the post was rejected.

    Returns:
        The trial, with a note where the changed post was not predicted.
    """
    row = perturbation.row
    after = None if isinstance(opinions, str) else opinions.get(perturbation.aspect)
    note = opinions if isinstance(opinions, str) else ""
    if not note and after is None:
        note = "the model did not answer about the aspect"
    if after is not None and after.status is Status.ERROR:
        note = after.provenance.get("error", "") or "the model could not be called"
    elif after is not None and _image_note(after) != _image_note(row.prediction):
        note = _image_note(after)  # the new image was rejected, so the model did not see it
    return Trial(
        variant=perturbation.variant,
        post=row.post.id,
        aspect=row.aspect.term,
        start=row.aspect.start,
        description=perturbation.description,
        gold=row.gold_label,
        before=row.predicted_label,
        after=after.polarity if after else None,
        p_before=row.prediction.probability,
        p_after=after.probs.get(row.predicted_label) if after and after.probs else None,
        note=note,
    )


def _image_note(opinion: Opinion) -> str:
    return opinion.provenance.get("image", "")


def hash_order(*parts: object) -> int:
    """Return a number that depends on `parts` only: the order of things under a seed."""
    text = "\0".join(map(str, parts)).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big")


Array = NDArray[np.float64]


@dataclass(frozen=True)
class Ratio:
    """Sum of `numerator` over sum of `denominator`.

    Rows whose numerator is None are left out of both sums.
    """

    numerator: Sequence[float | None]
    denominator: Sequence[float] | None = None
    """None: 1 for each row, so that the metric is a mean."""
    note: str = ""
    """Printed with the metric, and in place of it when no row counts."""
    signed: bool = False
    """Whether the mean is a difference in -1..1, not a share in 0..1."""

    @property
    def bounds(self) -> Bounds:
        """The smallest and the largest possible value."""
        if self.denominator is not None:
            return UNBOUNDED
        return SHARE_DIFFERENCE if self.signed else SHARE

    def row_sums(self) -> Array:
        """Return what each row adds: (rows, 2)."""
        denominator = (
            self.denominator if self.denominator is not None else [1.0] * len(self.numerator)
        )
        pairs = zip(self.numerator, denominator, strict=True)
        return np.array([(0.0, 0.0) if t is None else (t, b) for t, b in pairs]).reshape(-1, 2)


def defined_mean(values: Sequence[float | None]) -> float | None:
    """Return the mean of the values that are not None; None if there are none."""
    defined = [v for v in values if v is not None]
    return sum(defined) / len(defined) if defined else None


def defined_differences(a: Sequence[float | None], b: Sequence[float | None]) -> list[float | None]:
    """Subtract row by row.

    Args:
        a: Minuends.
        b: Subtrahends, as many.

    Returns:
        `a - b`; None where either is None.
    """
    pairs = zip(a, b, strict=True)
    return [None if x is None or y is None else x - y for x, y in pairs]


def ratio_values(
    ratios: Mapping[str, Ratio], clusters: Sequence[str], harness: ProbeHarness
) -> dict[str, MetricValue]:
    """Compute each ratio with its 95 % interval from a cluster bootstrap.

    Args:
        ratios: Metric -> ratio; all have the same rows.
        clusters: The cluster of each row.
        harness: Provides seed and number of replicates.

    Returns:
        Metric -> value.
    """
    resamples: BootstrapResamples | None = None
    sums = {name: ratio.row_sums() for name, ratio in ratios.items()}
    included = [
        i for i in range(len(clusters)) if any(r.numerator[i] is not None for r in ratios.values())
    ]
    included_clusters = [clusters[i] for i in included]
    with suppress(UndefinedMetric):
        resamples = BootstrapResamples(
            [included_clusters], replicates=harness.replicates, seed=harness.seed
        )
    values = {}
    for name, ratio in ratios.items():
        rows = sums[name][included]
        interval = Interval.undefined(too_few_clusters(len(set(included_clusters))))
        if resamples is not None:
            bounds = {"quotient": ratio.bounds}
            interval = resamples.intervals(rows, included_clusters, _quotient, bounds=bounds)[
                "quotient"
            ]
        point = float(_quotient(rows.sum(axis=0))["quotient"])
        values[name] = _ratio_value(ratio, point, interval)
    return values


def _quotient(sums: Array) -> dict[str, Array]:
    numerator, denominator = sums[..., 0], sums[..., 1]
    empty = np.full_like(numerator, np.nan)
    return {"quotient": np.divide(numerator, denominator, out=empty, where=denominator != 0)}


def _ratio_value(ratio: Ratio, point: float, interval: Interval) -> MetricValue:
    n = sum(t is not None for t in ratio.numerator)
    if isnan(point):
        reason = "undefined: no row counts" if not n else "undefined: division by zero"
        return MetricValue(value=None, n=n, note="; ".join(filter(None, (reason, ratio.note))))
    if isnan(interval.low):
        note = "; ".join(filter(None, (interval.note, ratio.note)))
        return MetricValue(value=point, n=n, note=note)
    return MetricValue(
        value=point,
        n=n,
        low=interval.low,
        high=interval.high,
        method=interval.method,
        note=ratio.note,
    )
