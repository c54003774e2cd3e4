"""From posts with opinions to one `EvaluationResult`: pairs, scores, comparisons and example rows.

Every system is measured on the reference's rows in the same order.

    result = evaluate(Suite(data="opinions.jsonl"), load_examples(open_examples("opinions.jsonl")))
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from math import isfinite, isnan
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gen_msa import __version__
from gen_msa.errors import MissingExtra, UserError, did_you_mean
from gen_msa.evaluation import probes
from gen_msa.evaluation.load import EvaluationData, PairBuilder, SystemOutput, cluster_id
from gen_msa.evaluation.scores import (
    Families,
    SystemScores,
    compare_systems,
    is_additive,
    metric_definitions,
    power_notes,
)
from gen_msa.evaluation.suite import Suite
from gen_msa.metrics import (
    CorpusMetric,
    Metric,
    Pair,
    UndefinedMetric,
    metrics,
    shuffle_explanations,
)
from gen_msa.metrics.calibration import calibration_curve
from gen_msa.metrics.labels import score_labels
from gen_msa.metrics.statistics.bootstrap import BootstrapResamples
from gen_msa.predictors.image_counts import (
    count_images,
    count_unseen,
    image_line,
    unseen_rate,
)
from gen_msa.report.style import unused_line
from gen_msa.results import (
    CalibrationBin,
    EvaluationResult,
    MetricDefinition,
    MetricValue,
    PublishedResult,
    SelectedRow,
    SystemResult,
    UnparsedAnswer,
)
from gen_msa.types import Status

EXAMPLES_PER_SYSTEM = 10
MAX_DISAGREEMENTS = 200
RANKING_FAMILIES = ("aspect_mention", "quote_fidelity", "grounding", "chrf")
"""Metric families whose headline metric rates an explanation row by row."""

PerRowScores = Mapping[str, NDArray[np.float64]]
"""Family -> its headline metric for every row, (rows,); NaN where the metric does not apply."""


def find_disagreements(
    pairs_by_system: Mapping[str, Sequence[Pair]], limit: int = MAX_DISAGREEMENTS
) -> tuple[SelectedRow, ...]:
    """Return the reference's rows to which systems give different polarities, most divided first.

    Args:
        pairs_by_system: System -> pairs. All begin with the reference's rows in the same order;
            pairs without a reference opinion are ignored.
        limit: Maximum number of rows.

    Returns:
        The selected rows; empty for fewer than two systems.
    """
    if len(pairs_by_system) < 2:
        return ()
    rows = [[p for p in pairs if p.gold is not None] for pairs in pairs_by_system.values()]
    disagreements: list[tuple[int, SelectedRow]] = []
    for row_pairs in zip(*rows, strict=True):
        labels = [p.predicted_label for p in row_pairs]
        if len(set(labels)) > 1:
            n_wrong = sum(label != row_pairs[0].label for label in labels)
            reason = ", ".join(
                f"{n}: {a or 'unparsed'}" for n, a in zip(pairs_by_system, labels, strict=True)
            )
            # An even split between right and wrong tells more than a single system in error.
            imbalance = abs(2 * n_wrong - len(labels))
            disagreements.append((imbalance, _selected_row(row_pairs[0], reason)))
    disagreements.sort(key=lambda item: item[0])
    return tuple(row for _, row in disagreements[:limit])


def rank_explanations(
    name: str, pairs: Sequence[Pair], per_row_scores: PerRowScores
) -> tuple[tuple[SelectedRow, ...], tuple[SelectedRow, ...]]:
    """Return the best and the worst explanations of one system.

    The score of a row is the mean of its row-wise metrics (0..1) plus 1 if the polarity is correct.
    Among equal scores, higher confidence ranks higher when the polarity is correct and lower when
    it is wrong.

    Args:
        name: Display name of the system.
        pairs: Its rows.
        per_row_scores: Family -> score of each of `pairs`, (rows,).

    Returns:
        Two tuples of at most `EXAMPLES_PER_SYSTEM` rows: the best first, and the worst first.
    """
    families = [f for f in RANKING_FAMILIES if f in per_row_scores]
    scored: list[tuple[float, float, SelectedRow]] = []
    for i, pair in enumerate(pairs):
        if not pair.explanation or pair.label is None:
            continue
        row_scores = {
            f: float(per_row_scores[f][i]) for f in families if not np.isnan(per_row_scores[f][i])
        }
        is_correct = pair.predicted_label == pair.label
        confidence = (pair.prediction.probability if pair.prediction else None) or 0.0
        mean_score = float(np.mean(list(row_scores.values()))) if row_scores else 0.0
        reasons = [f"{name}: {'right' if is_correct else f'wrong, gold is {pair.label}'}"]
        reasons += [f"{f} {v:.2f}" for f, v in row_scores.items()] + [
            f"probability {confidence:.2f}"
        ]
        scored.append(
            (
                is_correct + mean_score,
                confidence if is_correct else -confidence,
                _selected_row(pair, ", ".join(reasons)),
            )
        )
    scored.sort(key=lambda item: item[:2])
    worst = tuple(row for _, _, row in scored[:EXAMPLES_PER_SYSTEM])
    best = tuple(row for _, _, row in reversed(scored[-EXAMPLES_PER_SYSTEM:]))
    return best, worst if len(scored) >= 2 * EXAMPLES_PER_SYSTEM else worst[: len(scored) // 2]


def _selected_row(pair: Pair, reason: str) -> SelectedRow:
    opinion = pair.gold or pair.prediction
    assert opinion is not None  # noqa: S101  a pair has one of the two
    aspect = opinion.aspect
    return SelectedRow(post=pair.post.id, aspect=aspect.term, start=aspect.start, reason=reason)


SHUFFLED_BASELINE = "shuffled explanations"
EXPLANATION_FAMILIES = (
    "aspect_mention",
    "quote_fidelity",
    "copying",
    "grounding",
    "bleu",
    "rouge",
    "chrf",
)
"""Metric families that are about explanations and add up over rows."""


def shuffled_baseline(scores: SystemScores, seed: int) -> dict[str, dict[str, MetricValue]]:
    """Compute the headline metrics of explanations after shuffling them among posts.

    The values are what explanations score by chance.

    Args:
        scores: The scores of one system.
        seed: Seed of the shuffle.

    Returns:
        `{SHUFFLED_BASELINE: {"family.metric": value}}`; empty for a system without explanations.
    """
    try:
        shuffled_pairs = shuffle_explanations(scores.pairs, seed)
    except UndefinedMetric:
        return {}
    families = {
        f: m for f, m in scores.families.items() if f in EXPLANATION_FAMILIES and is_additive(m)
    }
    shuffled_scores = SystemScores(shuffled_pairs, families)
    values: dict[str, MetricValue] = {}
    for family, rows in shuffled_scores.row_statistics.items():
        metric_name = families[family].specs[0].name
        value = shuffled_scores.compute(family)[metric_name]
        defined = not isnan(value)
        values[f"{family}.{metric_name}"] = MetricValue(
            value=value if defined else None,
            n=int(rows[:, 0].sum()),
            note="each explanation is paired with another post" if defined else "undefined",
        )
    return {SHUFFLED_BASELINE: values} if values else {}


@dataclass(frozen=True)
class SeedSpread:
    """Mean and standard deviation over `n` seeds."""

    mean: float
    std: float | None
    """Sample standard deviation (divided by n - 1); None for one seed."""
    n: int


HUGE_VALUE = 1e100


def seed_spread(values: Sequence[float]) -> SeedSpread:
    """Compute mean and standard deviation. Raises `ValueError` for no value, NaN or infinity."""
    if not values or not all(isfinite(v) for v in values):
        raise ValueError(f"the values of the seeds must be finite numbers, not {list(values)}")
    # In units of the largest value, sums and squares of huge values stay finite.
    largest = max(map(abs, values))
    unit = largest if largest > HUGE_VALUE else 1.0
    scaled = [v / unit for v in values]
    std = stdev(scaled) * unit if len(values) > 1 else None
    return SeedSpread(fmean(scaled) * unit, std, len(values))


def mean_over_seeds(name: str, seeds: Sequence[SystemResult]) -> SystemResult:
    """Build the row of means over the seeds of one system.

    Args:
        name: Display name of the system.
        seeds: The result of each seed, the main one first.

    Returns:
        A result whose metrics are means over the seeds, with each seed's value beside them.
    """
    first = seeds[0]
    mean_metrics = {
        family: {
            metric_name: _mean_value([s.metrics[family][metric_name] for s in seeds])
            for metric_name in family_metrics
        }
        for family, family_metrics in first.metrics.items()
    }
    return SystemResult(
        name=f"{name}, mean of {len(seeds)} seeds",
        model=first.model,
        rows=first.rows,
        posts=first.posts,
        metrics=mean_metrics,
        seeds=tuple(s.name for s in seeds),
        notes=(f"each seed is one checkpoint: {', '.join(s.name for s in seeds)}",),
    )


def _mean_value(values: Sequence[MetricValue]) -> MetricValue:
    defined = [v.value for v in values if v.value is not None]
    if len(defined) < len(values):
        note = f"undefined for {len(values) - len(defined)} of {len(values)} seeds"
        return MetricValue(value=None, n=values[0].n, note=note, seeds=tuple(defined))
    return MetricValue(value=seed_spread(defined).mean, n=values[0].n, seeds=tuple(defined))


ProbeValues = Mapping[str, Mapping[str, Mapping[str, MetricValue]]]
"""System -> probe -> metric -> value."""


def evaluate(
    suite: Suite,
    data: EvaluationData,
    outputs: Sequence[SystemOutput] = (),
    *,
    published: Sequence[PublishedResult] = (),
    probes: ProbeValues | None = None,
) -> EvaluationResult:
    """Measure every system and compare them.

    Args:
        suite: Metrics, reference, slices and statistics.
        data: The posts with all opinions.
        outputs: The systems to measure; none: every annotator in the data. A system named
            `suite.reference` is not measured.
        published: Published results to show beside ours.
        probes: System -> probe -> metrics, computed elsewhere.

    Returns:
        The result with intervals, paired comparisons and example rows.

    Raises:
        UserError: No system has opinions, or `suite.reference` has none.
    """
    candidates = [a for a in outputs if suite.reference not in (a.name, a.seed_of)]
    systems = candidates or systems_in_data(suite, data)
    families = _build_families(suite)
    scores = _score_systems(suite, data, systems, families)
    resamples = _resamples(suite, scores)
    main_scores = {a.name: scores[a.name] for a in systems if not a.seed_of}
    first_scores = next(iter(scores.values()))
    system_results = [
        _system_result(suite, scores[a.name], a, resamples, _count_images(data, a.name))
        for a in systems
    ]
    unused = _count_unused(data, system_results)
    best, worst = _best_and_worst(main_scores)
    return EvaluationResult(
        **_result_header(suite, data, first_scores),
        unused=unused,
        definitions=(*metric_definitions(families), *_probe_definitions(suite)),
        systems=tuple(_with_seed_means(system_results, systems)),
        comparisons=compare_systems(main_scores, suite.headline, resamples, suite.correction)
        if resamples
        else (),
        published=tuple(published),
        disagreements=find_disagreements({n: b.pairs for n, b in main_scores.items()}),
        best=best,
        worst=worst,
        probes={
            name: {
                **shuffled_baseline(system_scores, suite.seed),
                **_as_dicts((probes or {}).get(name, {})),
            }
            for name, system_scores in main_scores.items()
        },
        notes=(*_input_notes(data, unused, first_scores), *power_notes(main_scores)),
    )


def _count_images(data: EvaluationData, system: str) -> Counter[str]:
    """Count the images of the posts that a system answered: `seen`, or why not."""
    counts: Counter[str] = Counter()
    for example in data.examples:
        counts += count_images(example.post, example.opinions_by(system))
    return counts


def _count_unused(data: EvaluationData, systems: Sequence[SystemResult]) -> Counter[str]:
    """Count what of the data was not used; of images, those that not a single system saw."""
    return Counter(data.unused) + Counter(image=min(count_unseen(s.images) for s in systems))


def check_suite(suite: Suite, data: EvaluationData) -> None:
    """Check before prediction what `evaluate` would reject afterwards.

    Args:
        suite: The suite.
        data: The posts with the opinions that come with them.

    Raises:
        UserError: A wrong metric option, a headline that cannot be tested, a name that is already
            taken, or a reference without opinions.
        MissingExtra: The packages of the statistics are not installed.
    """
    if find_spec("scipy") is None:
        raise MissingExtra("scipy", "eval")
    _build_families(suite)
    name_clashes = [e.display_name for e in suite.models if e.display_name in data.annotators()]
    if name_clashes:
        raise UserError(
            f"{data.name} already has opinions by {name_clashes[0]!r}",
            hint="give the model another `name` in the suite",
        )
    if suite.reference not in (*data.annotators(), *(e.display_name for e in suite.models)):
        raise UserError(
            f"{data.name} has no opinions by {suite.reference!r}; it has {_annotator_list(data)}",
            hint="name one of these annotators: --reference NAME",
        )
    if not suite.models:
        systems_in_data(suite, data)


def _annotator_list(data: EvaluationData) -> str:
    return ", ".join(data.annotators()) or "no opinions at all"


def _build_families(suite: Suite) -> dict[str, Metric | CorpusMetric]:
    """Build every metric family of the suite.

    Raises:
        UserError: A wrong option, or a headline metric that is not computed row by row.
    """
    families = {name: metrics[name](**options) for name, options in suite.metric_options().items()}
    for full_name in suite.headline:
        family, _, metric_name = full_name.partition(".")
        names = [f.name for f in families[family].specs]
        if metric_name not in names:
            raise UserError(
                f"headline {full_name}: no such metric", hint=did_you_mean(metric_name, names)
            )
        if not is_additive(families[family]):
            raise UserError(
                f"headline {full_name}: {family} is not a sum over rows, so it cannot be tested",
                hint="name a metric of another family",
            )
    return families


def _result_header(suite: Suite, data: EvaluationData, scores: SystemScores) -> dict[str, Any]:
    """Return what the metrics are about and how they were computed."""
    return {
        "title": suite.title or data.name,
        "data": data.name,
        "data_sha256": data.sha256,
        "reference": suite.reference,
        "posts": len(data.examples),
        "rows": sum(p.gold is not None for p in scores.pairs),
        "clusters": len({cluster_id(suite, e) for e in data.examples}),
        "clustered_by": suite.cluster,
        "rejected": data.rejected,
        "seed": suite.seed,
        "headline": suite.headline,
        "replicates": suite.replicates,
        "version": __version__,
    }


def systems_in_data(suite: Suite, data: EvaluationData) -> list[SystemOutput]:
    """Return every annotator in the data except the reference, as systems.

    Args:
        suite: Names the reference.
        data: The posts with all opinions.

    Raises:
        UserError: There is no other annotator.
    """
    names = [name for name in data.annotators() if name != suite.reference]
    if not names:
        raise UserError(
            f"{data.name} has no opinions to compare with those of {suite.reference!r}",
            hint="name a model: --model builtin",
        )
    return [SystemOutput(name=n, file=Path(data.name), annotator=n, model=n) for n in names]


def _score_systems(
    suite: Suite, data: EvaluationData, systems: Sequence[SystemOutput], families: Families
) -> dict[str, SystemScores]:
    if suite.reference not in data.annotators():
        raise UserError(
            f"{data.name} has no opinions by {suite.reference!r}; it has {_annotator_list(data)}"
        )
    pair_builder = PairBuilder(suite, data)
    return {a.name: SystemScores(pair_builder.pairs_of(a.name), families) for a in systems}


def _resamples(suite: Suite, scores: Mapping[str, SystemScores]) -> BootstrapResamples | None:
    try:
        clusters = [b.clusters for b in scores.values()]
        return BootstrapResamples(clusters, replicates=suite.replicates, seed=suite.seed)
    except UndefinedMetric:
        return None


def _system_result(
    suite: Suite,
    scores: SystemScores,
    output: SystemOutput,
    resamples: BootstrapResamples | None,
    images: Counter[str],
) -> SystemResult:
    rows = [p for p in scores.pairs if p.gold is not None]
    labelled = [(p.label, p.predicted_label) for p in rows if p.label is not None]
    confusion = (
        score_labels([g for g, _ in labelled], [a for _, a in labelled]).confusion
        if labelled
        else {}
    )
    return SystemResult(
        name=output.name,
        model=output.model or output.name,
        fingerprint=output.fingerprint,
        rows=len(rows),
        posts=len({p.post.id for p in rows}),
        n_missing=sum(p.prediction is None for p in rows),
        n_spurious=len(scores.pairs) - len(rows),
        metrics=scores.metric_values(resamples),
        confusion={
            str(g): {str(a or "unparsed"): n for a, n in row.items()}
            for g, row in confusion.items()
        },
        calibration=_curve_bins(scores),
        slices=tuple(
            level
            for name in suite.slices
            for level in scores.slice_scores(name, suite.headline, resamples)
        ),
        unparsed=tuple(_unparsed_answers(scores)),
        images=images,
        cost=output.cost,
        cost_benchmark=output.cost_benchmark,
        notes=(
            *[image_line(images)] * bool(unseen_rate(images)),
            *(f"{family}: {reason}" for family, reason in scores.undefined_reasons.items()),
        ),
    )


def _curve_bins(scores: SystemScores) -> tuple[CalibrationBin, ...]:
    """Return the calibration curve; nothing for a system without probabilities."""
    try:
        return tuple(b for b in calibration_curve(scores.pairs) if b.n)
    except UndefinedMetric:
        return ()


def _unparsed_answers(scores: SystemScores) -> list[UnparsedAnswer]:
    """List the answers without a polarity where the reference has one, in full."""
    unparsed = []
    for pair in scores.pairs:
        if pair.label is None or pair.predicted_label is not None or pair.gold is None:
            continue
        prediction = pair.prediction
        status = str(prediction.status) if prediction else "missing"
        unparsed.append(
            UnparsedAnswer(
                post=pair.post.id,
                aspect=pair.gold.aspect.term,
                status=str(Status.EMPTY) if status == Status.OK else status,
                raw=(prediction.raw if prediction else "") or "",
            )
        )
    return unparsed


def _best_and_worst(
    scores: Mapping[str, SystemScores],
) -> tuple[tuple[SelectedRow, ...], tuple[SelectedRow, ...]]:
    best: list[SelectedRow] = []
    worst: list[SelectedRow] = []
    for name, system_scores in scores.items():
        per_row_scores = {
            f: system_scores.per_row_scores(f)
            for f in RANKING_FAMILIES
            if f in system_scores.row_statistics
        }
        system_best, system_worst = rank_explanations(name, system_scores.pairs, per_row_scores)
        best += system_best
        worst += system_worst
    return tuple(best), tuple(worst)


def _with_seed_means(
    results: Sequence[SystemResult], systems: Sequence[SystemOutput]
) -> list[SystemResult]:
    """Return each system, its other seeds after it, and then the mean over its seeds."""
    with_means: list[SystemResult] = []
    for result, system in zip(results, systems, strict=True):
        if system.seed_of:
            continue
        other_seeds = [r for r, a in zip(results, systems, strict=True) if a.seed_of == result.name]
        with_means += [result, *other_seeds]
        if other_seeds:
            with_means.append(mean_over_seeds(result.name, [result, *other_seeds]))
    return with_means


def _probe_definitions(suite: Suite) -> list[MetricDefinition]:
    return [
        MetricDefinition(family=name, name=f.name, about=f.about, unit=f.unit, better=f.better)
        for name in suite.probe_options()
        for f in probes.probes[name].specs
    ]


def _as_dicts(probes: Mapping[str, Mapping[str, MetricValue]]) -> dict[str, dict[str, MetricValue]]:
    return {name: dict(values) for name, values in probes.items()}


def _input_notes(data: EvaluationData, unused: Counter[str], scores: SystemScores) -> list[str]:
    """Return the notes on the data, what of it was not used, and rows without a gold polarity."""
    notes = [*data.notes, *[unused_line(unused)] * bool(unused)]
    n = sum(p.gold is not None and p.label is None and p.gold.score is None for p in scores.pairs)
    no_polarity = f"{n:,} rows have no gold polarity and are left out of the label metrics"
    return [*notes, *[no_polarity] * bool(n)]
