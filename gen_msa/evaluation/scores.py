"""Score systems by every metric family, with intervals and by slice, and compare them in pairs.

All systems are resampled over the same clusters, so that differences between them are paired. A
metric that is undefined has no value but a reason.

    scores = SystemScores(pairs, {"labels": metrics["labels"]()})
    scores.metric_values(resamples)["labels"]["macro_f1"].value
"""

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from math import isnan

import numpy as np
from numpy.typing import NDArray
from typing_extensions import TypeIs

from gen_msa.errors import UserError, did_you_mean
from gen_msa.metrics import CorpusMetric, Metric, Pair, UndefinedMetric
from gen_msa.metrics.statistics.bootstrap import BootstrapResamples, paired_differences
from gen_msa.metrics.statistics.hypothesis_tests import (
    benjamini_hochberg,
    discordant_counts,
    holm,
    mcnemar_test,
    permutation_test,
)
from gen_msa.metrics.statistics.intervals import Bounds, Interval, too_few_clusters
from gen_msa.metrics.statistics.proportions import detectable_difference
from gen_msa.results import MetricDefinition, MetricValue, PairedComparison, SliceMetrics
from gen_msa.spans import SearchableText

_NEGATION = re.compile(
    r"\b(?:no|not|never|none|nobody|nothing|neither|nor|without|cannot|hardly|barely)\b|n['’]t\b",
    re.IGNORECASE,
)
_SHORT, _LONG = 10, 20
"""Words; about the lower and upper third of Twitter-2015."""


def _aspects(pair: Pair) -> str:
    n = len(pair.post.aspects)
    return "3 and more" if n >= 3 else str(n)


def _length(pair: Pair) -> str:
    n = len(pair.post.text.split())
    return f"to {_SHORT} words" if n <= _SHORT else f"over {_LONG}" if n > _LONG else "between"


def _negation(pair: Pair) -> str:
    return "yes" if _NEGATION.search(pair.post.text) else "no"


def _image(pair: Pair) -> str:
    return "with" if any(m.kind == "image" for m in pair.post.media) else "without"


def _visible(pair: Pair) -> str:
    """Return whether the image text names the aspect; no level where there is no image text."""
    opinion = pair.gold or pair.prediction
    image_text = " ".join(pair.extra_inputs.get(name, "") for name in ("caption", "objects"))
    if opinion is None or not opinion.aspect.term or not image_text.strip():
        return ""
    return (
        "named in it" if SearchableText(image_text).find(opinion.aspect.term) else "not named in it"
    )


def _gold(pair: Pair) -> str:
    return str(pair.label or "")


SLICES: Mapping[str, Callable[[Pair], str]] = {
    "aspects": _aspects,
    "length": _length,
    "negation": _negation,
    "image": _image,
    "visible": _visible,
    "gold": _gold,
}


def slice_rows(name: str, pairs: Sequence[Pair]) -> dict[str, list[int]]:
    """Group rows by the level of a slice.

    Args:
        name: Name of the slice.
        pairs: The rows.

    Returns:
        Level -> indices of its rows, levels in sorted order.

    Raises:
        UserError: No such slice.
    """
    if name not in SLICES:
        raise UserError(f"no slice named {name!r}", hint=did_you_mean(name, SLICES))
    indices_by_level: dict[str, list[int]] = {}
    for i, pair in enumerate(pairs):
        level = SLICES[name](pair)
        if level:
            indices_by_level.setdefault(level, []).append(i)
    return dict(sorted(indices_by_level.items()))


Array = NDArray[np.float64]
Families = Mapping[str, Metric | CorpusMetric]

NO_ROW = "undefined: no row decides it"
NO_INTERVAL = "no interval: the metric is not a sum over rows"


class SystemScores:
    """The rows of a system, counted once by every metric family."""

    def __init__(self, pairs: Sequence[Pair], families: Families) -> None:
        self.pairs = tuple(pairs)
        self.clusters = [p.cluster for p in pairs]
        self.families = families
        self.row_statistics: dict[str, Array] = {}
        """Family -> (rows, k); only families whose counts add up over rows."""
        self.undefined_reasons: dict[str, str] = {}
        """Families that are undefined for these rows, with the reason."""
        self._corpus_values: dict[str, dict[str, float]] = {}
        for name, family in families.items():
            try:
                if is_additive(family):
                    self.row_statistics[name] = family.row_statistics(self.pairs)
                else:
                    self._corpus_values[name] = family.measure(self.pairs)
            except UndefinedMetric as e:
                self.undefined_reasons[name] = str(e)

    @property
    def rows_independent(self) -> bool:
        """Whether no two rows with a gold label share a cluster."""
        labelled_clusters = [p.cluster for p in self.pairs if p.label is not None]
        return len(set(labelled_clusters)) == len(labelled_clusters)

    def correct(self) -> list[bool]:
        """Return whether each row with a gold label is predicted correctly, in gold's order."""
        return [p.predicted_label == p.label for p in self.pairs if p.label is not None]

    def metric(self, name: str) -> Metric:
        """Return the additive family `name`."""
        family = self.families[name]
        if not is_additive(family):
            raise TypeError(f"{name} is not a sum over rows")
        return family

    def compute(self, family: str, indices: Sequence[int] | None = None) -> dict[str, float]:
        """Compute every metric of an additive family.

        Args:
            family: Name of the family.
            indices: The rows to use; None for all.

        Returns:
            Metric -> value; NaN where it is undefined.
        """
        rows = (
            self.row_statistics[family]
            if indices is None
            else self.row_statistics[family][list(indices)]
        )
        values = self.metric(family).compute(rows.sum(axis=0))
        return {name: float(v) for name, v in values.items()}

    def per_row_scores(self, family: str) -> Array:
        """Return the headline metric of each row, (rows,); NaN where it does not apply."""
        rows = self.row_statistics[family]
        metric = self.metric(family)
        scores = np.asarray(metric.compute(rows)[metric.specs[0].name], dtype=float)
        return np.where(rows[:, 0] > 0, scores, np.nan)

    def metric_values(
        self, resamples: BootstrapResamples | None
    ) -> dict[str, dict[str, MetricValue]]:
        """Return family -> metric -> value, in the order of the families."""
        return {name: self._family_values(name, resamples) for name in self.families}

    def slice_scores(
        self, name: str, headline: Sequence[str], resamples: BootstrapResamples | None
    ) -> list[SliceMetrics]:
        """Compute the headline metrics of each level of one slice.

        Args:
            name: Name of the slice.
            headline: Metrics as `family.metric`.
            resamples: Bootstrap resamples; None: no intervals.

        Returns:
            One entry per level.
        """
        families = dict.fromkeys(full_name.partition(".")[0] for full_name in headline)
        levels = []
        for level, indices in slice_rows(name, self.pairs).items():
            values_by_family = {
                f: self._additive_values(f, resamples, indices)
                for f in families
                if f in self.row_statistics
            }
            metrics = {
                full_name: values_by_family[family][metric_name]
                for full_name in headline
                for family, _, metric_name in [full_name.partition(".")]
                if family in values_by_family
            }
            levels.append(SliceMetrics(slice=name, level=level, n=len(indices), metrics=metrics))
        return levels

    def _family_values(
        self, name: str, resamples: BootstrapResamples | None
    ) -> dict[str, MetricValue]:
        if name in self.undefined_reasons:
            empty = MetricValue(value=None, n=0, note=self.undefined_reasons[name])
            return {f.name: empty for f in self.families[name].specs}
        if name in self.row_statistics:
            return self._additive_values(name, resamples, None)
        n = len(self.pairs)
        return {
            k: _metric_value(v, n, note=NO_INTERVAL) for k, v in self._corpus_values[name].items()
        }

    def _additive_values(
        self, name: str, resamples: BootstrapResamples | None, indices: Sequence[int] | None
    ) -> dict[str, MetricValue]:
        rows, clusters = self.row_statistics[name], self.clusters
        if indices is not None:
            rows, clusters = rows[list(indices)], [clusters[i] for i in indices]
        n = int(rows[:, 0].sum())
        values = self.compute(name, indices)
        if resamples is None or not n:
            note = too_few_clusters(len(set(clusters))) if n else ""
            return {metric: _metric_value(v, n, note=note) for metric, v in values.items()}
        intervals = resamples.intervals(
            rows, clusters, self.metric(name).compute, bounds=metric_bounds(self.metric(name))
        )
        return {metric: _metric_value(v, n, intervals[metric]) for metric, v in values.items()}


def is_additive(family: Metric | CorpusMetric) -> TypeIs[Metric]:
    """Return whether the counts of a family add up over rows."""
    return hasattr(family, "row_statistics")


def metric_bounds(family: Metric) -> dict[str, Bounds]:
    """Return the bounds of the metrics of a family, for their intervals."""
    return {spec.name: spec.bounds for spec in family.specs}


def metric_definitions(families: Families) -> tuple[MetricDefinition, ...]:
    """Return the definition of every metric."""
    return tuple(
        MetricDefinition(
            family=name,
            name=f.name,
            about=f.about,
            unit=f.unit,
            better=f.better,
            signature=family.signature,
        )
        for name, family in families.items()
        for f in family.specs
    )


def _metric_value(
    value: float, n: int, interval: Interval | None = None, note: str = ""
) -> MetricValue:
    if isnan(value):
        return MetricValue(value=None, n=n, note=NO_ROW)
    if interval is None or isnan(interval.low):
        return MetricValue(value=value, n=n, note=interval.note if interval else note)
    return MetricValue(
        value=value, n=n, low=interval.low, high=interval.high, method=interval.method, note=note
    )


# Pairwise comparison of systems on the same rows: difference, interval, test, adjusted p value.

ACCURACY = "labels.accuracy"
CORRECTION_NAMES = {"holm": "Holm", "bh": "Benjamini-Hochberg"}


def compare_systems(
    systems: Mapping[str, SystemScores],
    headline: Sequence[str],
    resamples: BootstrapResamples,
    correction: str = "holm",
) -> tuple[PairedComparison, ...]:
    """Compare every pair of systems by every headline metric that both have.

    Args:
        systems: System -> its scores.
        headline: Metrics as `family.metric`.
        resamples: Bootstrap resamples that all systems share.
        correction: `holm`, or `bh` for Benjamini-Hochberg.

    Returns:
        The comparisons, with p values adjusted for their number.
    """
    comparisons = [
        comparison
        for metric in headline
        for a, b in combinations(systems, 2)
        if (comparison := _compare_pair(systems, a, b, metric, resamples)) is not None
    ]
    adjust = holm if correction == "holm" else benjamini_hochberg
    adjusted_p = adjust([c.p for c in comparisons])
    adjustment = f"{CORRECTION_NAMES[correction]} over {len(comparisons)}"
    return tuple(
        c.model_copy(update={"p_adjusted": p, "adjustment": adjustment})
        for c, p in zip(comparisons, adjusted_p, strict=True)
    )


def power_notes(systems: Mapping[str, SystemScores]) -> list[str]:
    """Describe the smallest difference in accuracy to the first system that is detectable."""
    names = list(systems)
    notes = []
    for other in names[1:]:
        a, b = systems[names[0]].correct(), systems[other].correct()
        discordance = sum(discordant_counts(a, b)) / len(a) if a else 0.0
        if discordance:
            min_difference = detectable_difference(len(a), discordance)
            notes.append(
                f"{names[0]} and {other} differ in {discordance:.1%} of {len(a):,} rows: a "
                f"difference in accuracy below {100 * min_difference:.1f} points would be missed "
                "with probability above 0.2 (rows taken as independent)"
            )
    return notes


def _compare_pair(
    systems: Mapping[str, SystemScores], a: str, b: str, metric: str, resamples: BootstrapResamples
) -> PairedComparison | None:
    """Compare two systems, p not yet adjusted; None where one of the two lacks the metric."""
    family, _, metric_name = metric.partition(".")
    first, second = systems[a], systems[b]
    if family not in first.row_statistics or family not in second.row_statistics:
        return None
    compute = first.metric(family).compute
    rows = first.row_statistics[family], second.row_statistics[family]
    difference = paired_differences(
        *rows,
        first.clusters,
        compute,
        clusters_b=second.clusters,
        bounds=metric_bounds(first.metric(family)),
        resamples=resamples,
    )[metric_name]
    test, p = _run_test(first, second, metric, resamples)
    if isnan(difference.value) or isnan(p):
        return None
    interval = difference.interval
    return PairedComparison(
        a=a,
        b=b,
        family=family,
        metric=metric_name,
        difference=difference.value,
        low=None if isnan(interval.low) else interval.low,
        high=None if isnan(interval.low) else interval.high,
        method=interval.method or interval.note,
        test=test,
        p=p,
        p_adjusted=p,
        adjustment="none",
    )


def _run_test(
    first: SystemScores, second: SystemScores, metric: str, resamples: BootstrapResamples
) -> tuple[str, float]:
    family, _, metric_name = metric.partition(".")
    if metric == ACCURACY and first.rows_independent and second.rows_independent:
        return "McNemar, exact", mcnemar_test(*discordant_counts(first.correct(), second.correct()))
    result = permutation_test(
        first.row_statistics[family],
        second.row_statistics[family],
        first.clusters,
        first.metric(family).compute,
        clusters_b=second.clusters,
        replicates=resamples.replicates,
        seed=resamples.seed,
    )
    return result.description, result.p[metric_name]
