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

Place = tuple[int, int] | str
Polarities = frozenset[Polarity | None]


@dataclass(frozen=True)
class Span:
    """One aspect of one side, however often it was named."""

    row: int
    """The first row that names it."""
    place: Place
    """Start and end, or the term where it has no place."""
    start: int | None
    folded: str
    polarities: Polarities
    """All that were said of it; None among them: an answer that could not be read."""


@dataclass(frozen=True)
class Match:
    """An aspect that both sides name."""

    gold: Span
    said: Span
    folded: bool
    """Found by its folded words, not by its place."""


def place(aspect: Aspect) -> Place:
    """What two mentions of one aspect by one side share."""
    return aspect.term if aspect.start is None else (aspect.start, aspect.start + len(aspect.term))


def spans(opinions: Iterable[tuple[int, Opinion]]) -> list[Span]:
    """Each aspect once, from (row, opinion), in the order of the text; the whole post is none."""
    rows: dict[Place, int] = {}
    aspects: dict[Place, Aspect] = {}
    polarities: defaultdict[Place, set[Polarity | None]] = defaultdict(set)
    for row, opinion in opinions:
        if opinion.aspect.term:
            at = place(opinion.aspect)
            rows.setdefault(at, row)
            aspects.setdefault(at, opinion.aspect)
            polarities[at].add(opinion.polarity)
    found = [
        Span(row, at, aspects[at].start, fold(aspects[at].term), frozenset(polarities[at]))
        for at, row in rows.items()
    ]
    return sorted(found, key=lambda s: (s.start is None, s.start or 0, str(s.place)))


def align(gold: Sequence[Span], said: Sequence[Span]) -> list[Match]:
    """Every aspect that both sides name, each at most once."""
    matches: list[Match] = []
    golds, saids = list(gold), list(said)
    for number, (of_gold, of_said) in enumerate(_passes()):
        for one, other in list(_meeting(golds, of_gold, saids, of_said)):
            # Literally the same words without a place on either side are no fallback.
            matches.append(Match(one, other, folded=number > 0))
            golds.remove(one)
            saids.remove(other)
    return matches


Key = Callable[[Span], Hashable]
"""Two spans meet when their keys are equal and not None."""


def _passes() -> Iterator[tuple[Key, Key]]:
    yield (lambda s: s.place,) * 2
    yield (lambda s: None if s.start is None else (s.start, s.folded),) * 2
    for gold_placed, said_placed in ((True, False), (False, True), (False, False)):
        # Of several places a term without one is that of which the same is said, if there is any.
        for agreeing in (True, False):
            yield _words(gold_placed, agreeing), _words(said_placed, agreeing)


def _words(placed: bool, agreeing: bool) -> Key:
    def key(span: Span) -> Hashable:
        if (span.start is not None) is not placed:
            return None
        return span.folded, span.polarities if agreeing else None

    return key


def _meeting(
    golds: Sequence[Span], of_gold: Key, saids: Sequence[Span], of_said: Key
) -> Iterator[tuple[Span, Span]]:
    waiting: defaultdict[Hashable, list[Span]] = defaultdict(list)
    for said in reversed(saids):
        waiting[of_said(said)].append(said)
    for gold in golds:
        key = of_gold(gold)
        if key is not None and waiting[key]:
            yield gold, waiting[key].pop()
