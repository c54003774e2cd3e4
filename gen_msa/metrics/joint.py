"""Joint extraction: which aspects a system finds in a post, and their polarities.

Counts sets within a post after merging duplicates: (span, polarity) for JMASA, spans for MATE, and
the polarity of matched spans for MASC. A system that gives one span two polarities predicts two
elements, of which one can be correct; in MASC that span is wrong. An unparsed answer is an element
that is never correct. A reference aspect without a polarity is excluded, with the predictions on
it. Source of the task: Ju et al. (2021).

    metrics["joint"]().row_statistics(pairs)
    metrics["joint"](legacy_sc_f=True)              # adds VLP-MABSA's own metric under that name
"""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gen_msa.metrics._confusion import LABEL_IDS, N_CLASSES, Array, safe_divide
from gen_msa.metrics._pairs import Pair
from gen_msa.metrics.base import MetricSpec, UndefinedMetric, metrics
from gen_msa.settings import Settings, build
from gen_msa.spans import fold
from gen_msa.types import Aspect, Opinion, Polarity, given_polarities

SpanKey = tuple[int, int] | str
Polarities = frozenset[Polarity | None]


@dataclass(frozen=True)
class AspectSpan:
    """One aspect of one side, however often it is named."""

    row: int
    """The first row that names the aspect."""
    key: SpanKey
    """Start and end, or the term if there is no offset."""
    start: int | None
    folded_term: str
    polarities: Polarities
    """All polarities of the aspect; None for an unparsed answer."""


@dataclass(frozen=True)
class SpanMatch:
    """An aspect that both sides name."""

    gold: AspectSpan
    prediction: AspectSpan
    by_folded_term: bool
    """Matched by the case-folded term, not by the span."""


def span_key(aspect: Aspect) -> SpanKey:
    """Return the key that all mentions of one aspect by one side share."""
    return aspect.term if aspect.start is None else (aspect.start, aspect.start + len(aspect.term))


def aspect_spans(opinions: Iterable[tuple[int, Opinion]]) -> list[AspectSpan]:
    """Merge (row, opinion) pairs into one span per aspect, in text order, without whole posts."""
    rows: dict[SpanKey, int] = {}
    aspects: dict[SpanKey, Aspect] = {}
    polarities: defaultdict[SpanKey, set[Polarity | None]] = defaultdict(set)
    for row, opinion in opinions:
        if opinion.aspect.term:
            key = span_key(opinion.aspect)
            rows.setdefault(key, row)
            aspects.setdefault(key, opinion.aspect)
            polarities[key] |= given_polarities(opinion)
    spans = [
        AspectSpan(
            row, key, aspects[key].start, fold(aspects[key].term), frozenset(polarities[key])
        )
        for key, row in rows.items()
    ]
    return sorted(spans, key=lambda s: (s.start is None, s.start or 0, str(s.key)))


def match_spans(
    gold_spans: Sequence[AspectSpan], predicted_spans: Sequence[AspectSpan]
) -> list[SpanMatch]:
    """Match the aspects that both sides name, each at most once.

    Args:
        gold_spans: Aspects of the reference.
        predicted_spans: Aspects of the system.

    Returns:
        The pairs: first those with equal spans or terms, then those with equal folded terms.
    """
    matches: list[SpanMatch] = []
    unmatched_gold, unmatched_predictions = list(gold_spans), list(predicted_spans)
    for pass_number, (gold_key, prediction_key) in enumerate(_match_passes()):
        for gold_span, predicted_span in list(
            _pairs_with_equal_keys(unmatched_gold, gold_key, unmatched_predictions, prediction_key)
        ):
            # Equal terms without an offset on either side have equal keys: that is no fallback.
            matches.append(SpanMatch(gold_span, predicted_span, by_folded_term=pass_number > 0))
            unmatched_gold.remove(gold_span)
            unmatched_predictions.remove(predicted_span)
    return matches


MatchKey = Callable[[AspectSpan], Hashable]
"""Two spans match if their keys are equal and not None."""


def _match_passes() -> Iterator[tuple[MatchKey, MatchKey]]:
    yield (lambda s: s.key,) * 2
    yield (lambda s: None if s.start is None else (s.start, s.folded_term),) * 2
    for gold_has_offset, prediction_has_offset in ((True, False), (False, True), (False, False)):
        # A term without an offset prefers a mention with the same polarities.
        for same_polarity in (True, False):
            yield (
                _folded_key(gold_has_offset, same_polarity),
                _folded_key(prediction_has_offset, same_polarity),
            )


def _folded_key(has_offset: bool, same_polarity: bool) -> MatchKey:
    def key(span: AspectSpan) -> Hashable:
        if (span.start is not None) is not has_offset:
            return None
        return span.folded_term, span.polarities if same_polarity else None

    return key


def _pairs_with_equal_keys(
    gold_spans: Sequence[AspectSpan],
    gold_key: MatchKey,
    predicted_spans: Sequence[AspectSpan],
    prediction_key: MatchKey,
) -> Iterator[tuple[AspectSpan, AspectSpan]]:
    by_key: defaultdict[Hashable, list[AspectSpan]] = defaultdict(list)
    for predicted_span in reversed(predicted_spans):
        by_key[prediction_key(predicted_span)].append(predicted_span)
    for gold_span in gold_spans:
        key = gold_key(gold_span)
        if key is not None and by_key[key]:
            yield gold_span, by_key[key].pop()


(
    SCORED,
    GOLD,
    PREDICTED,
    TRUE_POSITIVE,
    SPANS_GOLD,
    SPANS_PREDICTED,
    SPANS_TRUE_POSITIVE,
    CORRECT,
    FOLDED,
) = range(9)
LEGACY = 9
WIDTH = LEGACY + 3 * N_CLASSES


class JointOptions(Settings):
    """Metrics besides the standard ones."""

    legacy_sc_f: bool = False
    """VLP-MABSA's `sc_f`: harmonic mean of macro precision and macro recall over matched spans."""


def _specs() -> tuple[MetricSpec, ...]:
    joint, span = "(span, polarity)", "spans"
    return (
        MetricSpec("jmasa_f1", f"2PR / (P + R) of {joint}, summed over posts; 0 without a match"),
        MetricSpec("jmasa_precision", f"{joint} of both / predicted; 0 without predictions"),
        MetricSpec("jmasa_recall", f"{joint} of both / gold; 0 without gold"),
        MetricSpec("mate_f1", f"2PR / (P + R) of {span}, summed over posts; 0 without a match"),
        MetricSpec("mate_precision", f"{span} of both / predicted; 0 without predictions"),
        MetricSpec("mate_recall", f"{span} of both / gold; 0 without gold"),
        MetricSpec("masc_accuracy", "correct polarity / spans of both; undefined without a match"),
        MetricSpec("folded", "spans matched by their case-folded term, not by offset", "count", ""),
    )


@metrics.register
class Joint:
    """JMASA, MATE and MASC over sets of aspects."""

    reads_explanations = False
    signature = "sets per post|exact span, then casefold+NFC terms without an offset"

    def __init__(self, **options: Any) -> None:
        self.options = build(JointOptions, options, "metric joint")
        legacy = MetricSpec(
            "legacy_sc_f",
            "VLP-MABSA's sc_f: harmonic mean of macro P and macro R over matched spans, without "
            "classes that never occur; undefined without a match",
        )
        self.specs = (*_specs(), *([legacy] if self.options.legacy_sc_f else []))

    def row_statistics(self, pairs: Sequence[Pair]) -> Array:
        """Return the columns named by the constants `SCORED` to `LEGACY`.

        They are: scored; elements of the reference, of the prediction, of both; the same for spans;
        correct spans; matches by folded term; then TP, FP and FN of each class on matched spans.
        The counts of a post are in the row that first names the aspect.

        Raises:
            UndefinedMetric: The reference names no aspect, or the aspects were given to the system.
        """
        _check_extraction(pairs)
        posts: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
        for i, pair in enumerate(pairs):
            posts[pair.post.id, pair.post.text].append(i)
        rows = np.zeros((len(pairs), WIDTH))
        for row_indices in posts.values():
            _count_post(rows, row_indices, pairs)
        return rows

    def compute(self, sums: Array) -> dict[str, Array]:
        """Return each metric from sums of rows, `(..., 18)`; NaN if no row is scored.

        Args:
            sums: Sums of `row_statistics`; `masc_accuracy` is NaN also if no aspect matches.
        """
        n = sums[..., SCORED]
        any_row = safe_divide(n, n, empty=float("nan"))
        values: dict[str, Array] = {}
        for name, column in (("jmasa", GOLD), ("mate", SPANS_GOLD)):
            n_gold, n_predicted, n_true = (sums[..., column + i] for i in range(3))
            values[f"{name}_f1"] = (
                safe_divide(2 * n_true, n_gold + n_predicted, empty=0.0) * any_row
            )
            values[f"{name}_precision"] = safe_divide(n_true, n_predicted, empty=0.0) * any_row
            values[f"{name}_recall"] = safe_divide(n_true, n_gold, empty=0.0) * any_row
        values["masc_accuracy"] = safe_divide(
            sums[..., CORRECT], sums[..., SPANS_TRUE_POSITIVE], empty=float("nan")
        )
        values["folded"] = sums[..., FOLDED] * any_row
        if self.options.legacy_sc_f:
            values["legacy_sc_f"] = _legacy_sc_f(sums)
        return values


def _check_extraction(pairs: Sequence[Pair]) -> None:
    golds = (p.gold for p in pairs if p.gold and p.gold.aspect.term)
    if not any(given_polarities(gold) - {None} for gold in golds):
        raise UndefinedMetric(
            "the reference names no aspect" if len(pairs) else "there are no rows"
        )
    predictions = [p.prediction for p in pairs if p.prediction and p.prediction.aspect.term]
    if predictions and all(o.provenance.get("aspect_source") == "given" for o in predictions):
        raise UndefinedMetric("the aspects were given to the system: it extracted nothing")


def _count_post(rows: Array, row_indices: Sequence[int], pairs: Sequence[Pair]) -> None:
    """Fill in the rows of one post."""
    gold_spans = aspect_spans((i, g) for i in row_indices if (g := pairs[i].gold))
    predicted_spans = aspect_spans((i, s) for i in row_indices if (s := pairs[i].prediction))
    matches = match_spans(gold_spans, predicted_spans)
    unlabelled_keys = {g.key for g in gold_spans if not g.polarities - {None}}
    ignored_keys = {m.prediction.key for m in matches if m.gold.key in unlabelled_keys}
    for i in row_indices:
        g, s = pairs[i].gold, pairs[i].prediction
        has_gold = (
            g is not None and g.aspect.term != "" and span_key(g.aspect) not in unlabelled_keys
        )
        has_prediction = (
            s is not None and s.aspect.term != "" and span_key(s.aspect) not in ignored_keys
        )
        rows[i, SCORED] = has_gold or has_prediction
    for span in gold_spans:
        if span.key not in unlabelled_keys:
            rows[span.row, GOLD] += len(span.polarities - {None})
            rows[span.row, SPANS_GOLD] += 1
    for span in predicted_spans:
        if span.key not in ignored_keys:
            rows[span.row, PREDICTED] += len(span.polarities)
            rows[span.row, SPANS_PREDICTED] += 1
    for match in matches:
        if match.gold.key not in unlabelled_keys:
            _count_match(rows[match.gold.row], match)


def _count_match(row: Array, match: SpanMatch) -> None:
    """Count one matched span in the row of the reference."""
    gold_labels, predicted_labels = (
        _known_polarities(match.gold),
        _known_polarities(match.prediction),
    )
    # A span with two predicted polarities is never correct.
    is_correct = gold_labels == match.prediction.polarities
    row[SPANS_TRUE_POSITIVE] += 1
    row[TRUE_POSITIVE] += len(gold_labels & predicted_labels)
    row[CORRECT] += is_correct
    row[FOLDED] += match.by_folded_term
    for polarity in gold_labels:
        row[LEGACY + LABEL_IDS[polarity] + (0 if is_correct else 2 * N_CLASSES)] += 1
    for polarity in () if is_correct else predicted_labels:
        row[LEGACY + LABEL_IDS[polarity] + N_CLASSES] += 1


def _known_polarities(span: AspectSpan) -> frozenset[Any]:
    return span.polarities - {None}


def _legacy_sc_f(sums: Array) -> Array:
    true_positive, false_positive, false_negative = (
        sums[..., LEGACY + i * N_CLASSES : LEGACY + (i + 1) * N_CLASSES] for i in range(3)
    )
    n_classes = (true_positive + false_positive + false_negative > 0).sum(axis=-1)
    precision = safe_divide(
        safe_divide(true_positive, true_positive + false_positive, empty=0.0).sum(axis=-1),
        n_classes,
        empty=float("nan"),
    )
    recall = safe_divide(
        safe_divide(true_positive, true_positive + false_negative, empty=0.0).sum(axis=-1),
        n_classes,
        empty=float("nan"),
    )
    mean = safe_divide(2 * precision * recall, precision + recall, empty=0.0)
    return np.where(n_classes > 0, mean, np.nan)
