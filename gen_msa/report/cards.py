"""One example as the plain values a card of the HTML report shows.

Knows nothing of HTML: everything here is text, numbers and names that the template escapes.

    card_of(example, 1, album).rows
"""

from collections.abc import Iterator
from dataclasses import dataclass

from gen_msa.report.album import Album, Frame
from gen_msa.report.groups import GOLD, READ, Group, by_aspect
from gen_msa.report.highlight import Piece, Span, blend, pieces
from gen_msa.report.visible import tone_of
from gen_msa.types import Aspect, Evidence, Example, Opinion, Polarity, Status

RAW_SHOWN = 4000
"""Characters of a raw answer that the page shows; the rest stays in the JSONL."""


@dataclass(frozen=True)
class Quote:
    """A piece of evidence and the place in the text it is linked to."""

    text: str
    at: int | None
    """Offset in the post's text; None when it does not stand there."""
    note: str
    """Where it stands instead, or that it stands nowhere."""


@dataclass(frozen=True)
class Bar:
    """The three probabilities: whole percentages for the eye, figures for the reader."""

    negative: int
    neutral: int
    said: str


@dataclass(frozen=True)
class Line:
    """One opinion."""

    by: str
    tone: str
    label: str
    status: str
    read: bool
    probability: float | None
    bar: Bar | None
    score: float | None
    explanation: str
    quotes: tuple[Quote, ...]
    verdict: str
    raw: str
    raw_left: int
    """Characters of the raw answer that are not shown."""
    how: str
    """Provenance, a line each."""


@dataclass(frozen=True)
class Row:
    """One aspect: what gold says, and what each reader says."""

    term: str
    at: int | None
    note: str
    gold: tuple[tuple[str, str], ...]
    """(tone, label) to hold the lines against; several when gold says more than one thing."""
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Card:
    """One post."""

    number: int
    id: str
    pieces: tuple[Piece, ...]
    frames: tuple[Frame, ...]
    rows: tuple[Row, ...]
    against: str
    """The reader that stands beside each aspect, for the others to be held against."""


def card_of(example: Example, number: int, album: Album, against: str = GOLD) -> Card:
    """The card for `example`; `number` makes its anchors unique on the page."""
    post, groups = example.post, by_aspect(example, against)
    return Card(
        number=number,
        id=post.id,
        pieces=tuple(pieces(post.text, _spans(post.text, groups))),
        frames=tuple(album.frame(m) for m in post.media),
        rows=tuple(_row(post.text, g) for g in groups),
        against=against,
    )


def _spans(text: str, groups: list[Group]) -> Iterator[Span]:
    for group in groups:
        speaking = group.said or group.gold
        at = _place(text, group.aspect.term, group.aspect.start)
        if at is not None:
            # A reader without an answer does not make the others differ.
            tone = blend(o.polarity.value for o in speaking if o.polarity) or "none"
            yield Span(at, at + len(group.aspect.term), "aspect", tone)
        for opinion in speaking:
            for evidence in opinion.evidence:
                at = _evidence_place(text, evidence)
                if at is not None:
                    end = at + len(evidence.quote)
                    yield Span(at, end, "evidence", tone_of(opinion.polarity))


def _place(text: str, words: str, start: int | None) -> int | None:
    """`start` if `words` really stand there: a wrong offset must not mark other words."""
    if start is None or not words or text[start : start + len(words)] != words:
        return None
    return start


def _evidence_place(text: str, evidence: Evidence) -> int | None:
    return _place(text, evidence.quote, evidence.start) if evidence.source == "text" else None


def _row(text: str, group: Group) -> Row:
    at = _place(text, group.aspect.term, group.aspect.start)
    # Where nobody else spoke, gold is not a reference but what is there to read.
    beside, lines = (group.gold, group.said) if group.said else ([], group.gold)
    return Row(
        term=group.aspect.term,
        at=at,
        note=_aspect_note(group.aspect, at),
        gold=tuple(dict.fromkeys((tone_of(o.polarity), _label(o)) for o in beside)),
        lines=tuple(_line(text, o, group.verdict(o) or "") for o in lines),
    )


def _aspect_note(aspect: Aspect, at: int | None) -> str:
    if not aspect.term or at is not None:
        return ""
    return "not in the text" if aspect.start is None else f"is not at {aspect.start}"


def _line(text: str, opinion: Opinion, verdict: str) -> Line:
    raw = opinion.raw or ""
    return Line(
        by=opinion.by,
        tone=tone_of(opinion.polarity),
        label=_label(opinion),
        status=opinion.status.value,
        read=opinion.status in READ,
        probability=opinion.probability,
        bar=_bar(opinion.probs),
        score=opinion.score,
        explanation=opinion.explanation or "",
        quotes=tuple(_quote(text, e) for e in opinion.evidence),
        verdict=verdict,
        raw=raw[:RAW_SHOWN] if opinion.status is not Status.OK else "",
        raw_left=max(0, len(raw) - RAW_SHOWN),
        how="\n".join(f"{key}: {value}" for key, value in opinion.how.items()),
    )


def _label(opinion: Opinion) -> str:
    if opinion.polarity is not None:
        return opinion.polarity.value
    return "score only" if opinion.score is not None else "no polarity"


def _bar(probs: dict[Polarity, float] | None) -> Bar | None:
    if not probs:
        return None
    negative, neutral = (round(100 * probs.get(p, 0)) for p in list(Polarity)[:2])
    return Bar(negative, neutral, ", ".join(f"{p} {probs.get(p, 0):.2f}" for p in Polarity))


def _quote(text: str, evidence: Evidence) -> Quote:
    at = _evidence_place(text, evidence)
    note = "" if at is not None else "not in the text"
    if evidence.source != "text":
        note = {"picture": "from the picture", "cue": "from the cue"}[evidence.source]
    elif at is None and evidence.start is not None:
        note = f"is not at {evidence.start}"
    return Quote(evidence.quote, at, note)
