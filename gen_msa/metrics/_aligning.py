"""Which aspect that a reader named is which of gold's, within one post. Counts nothing itself.

A span is the same span. What is left may still be the same words at the same place, composed or
cased otherwise, or, where one side does not know the place, the same words; that is a fallback, and
said to be one. Two different places are never the same aspect.

    align(spans(gold), spans(said))     # [Match(gold=Span, said=Span, folded=False), …]
"""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from gen_msa.spans import fold
from gen_msa.types import Aspect, Opinion, Polarity

SpanKey = tuple[int, int] | str
Polarities = frozenset[Polarity | None]


@dataclass(frozen=True)
class AspectSpan:
    """One aspect of one side, however often it was named."""

    row: int
    """The first row that names it."""
    key: SpanKey
    """Start and end, or the term where it has no place."""
    start: int | None
    folded_term: str
    polarities: Polarities
    """All that were said of it; None among them: an answer that could not be read."""


@dataclass(frozen=True)
class SpanMatch:
    """An aspect that both sides name."""

    gold: AspectSpan
    prediction: AspectSpan
    by_folded_term: bool
    """Found by its folded words, not by its place."""


def span_key(aspect: Aspect) -> SpanKey:
    """What two mentions of one aspect by one side share."""
    return aspect.term if aspect.start is None else (aspect.start, aspect.start + len(aspect.term))


def aspect_spans(opinions: Iterable[tuple[int, Opinion]]) -> list[AspectSpan]:
    """Each aspect once, from (row, opinion), in the order of the text; the whole post is none."""
    rows: dict[SpanKey, int] = {}
    aspects: dict[SpanKey, Aspect] = {}
    polarities: defaultdict[SpanKey, set[Polarity | None]] = defaultdict(set)
    for row, opinion in opinions:
        if opinion.aspect.term:
            key = span_key(opinion.aspect)
            rows.setdefault(key, row)
            aspects.setdefault(key, opinion.aspect)
            polarities[key].add(opinion.polarity)
    spans = [
        AspectSpan(row, key, aspects[key].start, fold(aspects[key].term), frozenset(polarities[key]))
        for key, row in rows.items()
    ]
    return sorted(spans, key=lambda s: (s.start is None, s.start or 0, str(s.key)))


def match_spans(gold_spans: Sequence[AspectSpan], predicted_spans: Sequence[AspectSpan]) -> list[SpanMatch]:
    """Every aspect that both sides name, each at most once."""
    matches: list[SpanMatch] = []
    unmatched_gold, unmatched_predictions = list(gold_spans), list(predicted_spans)
    for pass_number, (gold_key, prediction_key) in enumerate(_match_passes()):
        for gold_span, predicted_span in list(_pairs_with_equal_keys(unmatched_gold, gold_key, unmatched_predictions, prediction_key)):
            # Literally the same words without a place on either side are no fallback.
            matches.append(SpanMatch(gold_span, predicted_span, by_folded_term=pass_number > 0))
            unmatched_gold.remove(gold_span)
            unmatched_predictions.remove(predicted_span)
    return matches


MatchKey = Callable[[AspectSpan], Hashable]
"""Two spans meet when their keys are equal and not None."""


def _match_passes() -> Iterator[tuple[MatchKey, MatchKey]]:
    yield (lambda s: s.place,) * 2
    yield (lambda s: None if s.start is None else (s.start, s.folded),) * 2
    for gold_has_offset, prediction_has_offset in ((True, False), (False, True), (False, False)):
        # Of several places a term without one is that of which the same is said, if there is any.
        for agreeing in (True, False):
            yield _folded_key(gold_has_offset, agreeing), _folded_key(prediction_has_offset, agreeing)


def _folded_key(has_offset: bool, same_polarity: bool) -> MatchKey:
    def key(span: AspectSpan) -> Hashable:
        if (span.start is not None) is not has_offset:
            return None
        return span.folded_term, span.polarities if same_polarity else None

    return key


def _pairs_with_equal_keys(
    gold_spans: Sequence[AspectSpan], gold_key: MatchKey, predicted_spans: Sequence[AspectSpan], prediction_key: MatchKey
) -> Iterator[tuple[AspectSpan, AspectSpan]]:
    by_key: defaultdict[Hashable, list[AspectSpan]] = defaultdict(list)
    for predicted_span in reversed(predicted_spans):
        by_key[prediction_key(predicted_span)].append(predicted_span)
    for gold_span in gold_spans:
        key = gold_key(gold_span)
        if key is not None and by_key[key]:
            yield gold_span, by_key[key].pop()
