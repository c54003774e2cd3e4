"""One example as the plain values a card of the HTML report shows.

Knows nothing of HTML: everything here is text, numbers and names that the template escapes.

    card_of(example, 1, album).rows
"""

from collections.abc import Iterator
from dataclasses import dataclass

from gen_msa.report.album import ThumbnailStore, MediaThumbnail
from gen_msa.report.groups import GOLD, READ_STATUSES, AspectGroup, group_by_aspect
from gen_msa.report.highlight import TextPiece, TextSpan, merge_tones, split_text
from gen_msa.report.visible import tone_of
from gen_msa.types import Aspect, Evidence, Example, Opinion, Polarity, Status

MAX_RAW_CHARS = 4000
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
class ProbabilityBar:
    """The three probabilities: whole percentages for the eye, figures for the reader."""

    negative: int
    neutral: int
    text: str


@dataclass(frozen=True)
class OpinionRow:
    """One opinion."""

    annotator: str
    tone: str
    label: str
    status: str
    read: bool
    probability: float | None
    bar: ProbabilityBar | None
    score: float | None
    explanation: str
    quotes: tuple[Quote, ...]
    verdict: str
    raw: str
    raw_omitted: int
    """Characters of the raw answer that are not shown."""
    provenance: str
    """Provenance, a line each."""


@dataclass(frozen=True)
class AspectRow:
    """One aspect: what gold says, and what each reader says."""

    term: str
    at: int | None
    note: str
    gold: tuple[tuple[str, str], ...]
    """(tone, label) to hold the lines against; several when gold says more than one thing."""
    lines: tuple[OpinionRow, ...]


@dataclass(frozen=True)
class PostCard:
    """One post."""

    number: int
    id: str
    pieces: tuple[TextPiece, ...]
    frames: tuple[MediaThumbnail, ...]
    rows: tuple[AspectRow, ...]
    reference: str
    """The reader that stands beside each aspect, for the others to be held against."""


def build_card(example: Example, number: int, thumbnails: ThumbnailStore, reference: str = GOLD) -> PostCard:
    """The card for `example`; `number` makes its anchors unique on the page."""
    post, groups = example.post, group_by_aspect(example, reference)
    return PostCard(
        number=number,
        id=post.id,
        pieces=tuple(split_text(post.text, _text_spans(post.text, groups))),
        frames=tuple(thumbnails.get(m) for m in post.media),
        rows=tuple(_aspect_row(post.text, g) for g in groups),
        reference=reference,
    )


def _text_spans(text: str, groups: list[AspectGroup]) -> Iterator[TextSpan]:
    for group in groups:
        opinions = group.predictions or group.gold
        start = _verified_start(text, group.aspect.term, group.aspect.start)
        if start is not None:
            # A reader without an answer does not make the others differ.
            tone = merge_tones(o.polarity.value for o in opinions if o.polarity) or "none"
            yield TextSpan(start, start + len(group.aspect.term), "aspect", tone)
        for opinion in opinions:
            for evidence in opinion.evidence:
                start = _evidence_start(text, evidence)
                if start is not None:
                    end = start + len(evidence.quote)
                    yield TextSpan(start, end, "evidence", tone_of(opinion.polarity))


def _verified_start(text: str, quote: str, start: int | None) -> int | None:
    """`start` if `words` really stand there: a wrong offset must not mark other words."""
    if start is None or not quote or text[start : start + len(quote)] != quote:
        return None
    return start


def _evidence_start(text: str, evidence: Evidence) -> int | None:
    return _verified_start(text, evidence.quote, evidence.start) if evidence.source == "text" else None


def _aspect_row(text: str, group: AspectGroup) -> AspectRow:
    start = _verified_start(text, group.aspect.term, group.aspect.start)
    # Where nobody else spoke, gold is not a reference but what is there to read.
    gold_opinions, opinions = (group.gold, group.predictions) if group.predictions else ([], group.gold)
    return AspectRow(
        term=group.aspect.term,
        at=start,
        note=_aspect_note(group.aspect, start),
        gold=tuple(dict.fromkeys((tone_of(o.polarity), _label_text(o)) for o in gold_opinions)),
        lines=tuple(_opinion_row(text, o, group.verdict(o) or "") for o in opinions),
    )


def _aspect_note(aspect: Aspect, start: int | None) -> str:
    if not aspect.term or start is not None:
        return ""
    return "not in the text" if aspect.start is None else f"is not at {aspect.start}"


def _opinion_row(text: str, opinion: Opinion, verdict: str) -> OpinionRow:
    raw = opinion.raw or ""
    return OpinionRow(
        annotator=opinion.annotator,
        tone=tone_of(opinion.polarity),
        label=_label_text(opinion),
        status=opinion.status.value,
        read=opinion.status in READ_STATUSES,
        probability=opinion.probability,
        bar=_probability_bar(opinion.probs),
        score=opinion.score,
        explanation=opinion.explanation or "",
        quotes=tuple(_evidence_quote(text, e) for e in opinion.evidence),
        verdict=verdict,
        raw=raw[:MAX_RAW_CHARS] if opinion.status is not Status.OK else "",
        raw_omitted=max(0, len(raw) - MAX_RAW_CHARS),
        provenance="\n".join(f"{key}: {value}" for key, value in opinion.provenance.items()),
    )


def _label_text(opinion: Opinion) -> str:
    if opinion.polarity is not None:
        return opinion.polarity.value
    return "score only" if opinion.score is not None else "no polarity"


def _probability_bar(probs: dict[Polarity, float] | None) -> ProbabilityBar | None:
    if not probs:
        return None
    negative, neutral = (round(100 * probs.get(p, 0)) for p in list(Polarity)[:2])
    return ProbabilityBar(negative, neutral, ", ".join(f"{p} {probs.get(p, 0):.2f}" for p in Polarity))


def _evidence_quote(text: str, evidence: Evidence) -> Quote:
    start = _evidence_start(text, evidence)
    note = "" if start is not None else "not in the text"
    if evidence.source != "text":
        note = {"picture": "from the picture", "cue": "from the cue"}[evidence.source]
    elif start is None and evidence.start is not None:
        note = f"is not at {evidence.start}"
    return Quote(evidence.quote, start, note)
