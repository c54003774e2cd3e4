"""One example as the plain values and images that a card of the HTML report shows.

There is no HTML here: everything is text, numbers and names that the template escapes.

    build_card(example, 1, thumbnails).rows
"""

import heapq
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Literal, NamedTuple

from gen_msa.media import ImageError, ImageLimits, load_image, open_image
from gen_msa.report.style import tone_of
from gen_msa.report.summary import GOLD, PARSED_STATUSES, AspectGroup, group_by_aspect
from gen_msa.types import Aspect, Evidence, Example, Media, Opinion, Polarity, Status

# Images of a report as small data URLs, each stored once; a rejected image keeps its reason.

MAX_SIDE = 256
"""Pixels of the longer side; a card shows about 210."""

JPEG_QUALITY = 60
"""With `MAX_SIDE`, about 6 kB per image; a page of 5,000 images must still open at once."""

DrawThumbnail = Callable[[Media, Path], str]
"""Makes a data URL of a small image; raises `ImageError` when that is not possible."""

_MAX_PATH_CHARS = 200


@dataclass(frozen=True)
class MediaThumbnail:
    """What is shown for one medium."""

    kind: str
    path: str
    key: str = ""
    """Name of the image in this report; empty when there is none."""
    url: str = ""
    """The data URL; empty when the same image is on the page already, or there is none."""
    problem: str = ""
    """Why there is no image."""


class ThumbnailStore:
    """Returns the data of every image once, and refers to it afterwards.

    Args:
        root: Folder that relative media paths start from.
        draw: Makes a data URL of an image; None: `draw_thumbnail`.
    """

    def __init__(self, root: Path, draw: DrawThumbnail | None = None) -> None:
        self._root = root
        self._draw = draw or draw_thumbnail
        self._by_path: dict[bytes, MediaThumbnail] = {}
        self._keys: set[str] = set()

    def get(self, media: Media) -> MediaThumbnail:
        """Return the thumbnail of one medium; other kinds have neither image nor problem."""
        if media.kind != "image":
            return MediaThumbnail(media.kind, _shorten_path(media.path))
        # A path may be a data URL of megabytes: remembered by its hash, shown by its beginning.
        path_hash = sha256(media.path.encode()).digest()
        cached = self._by_path.get(path_hash)
        if cached is None:
            cached = self._render(media)
            # The bytes are given away once and not kept: only the key is remembered.
            self._by_path[path_hash] = replace(cached, url="")
        return cached

    def _render(self, media: Media) -> MediaThumbnail:
        path = _shorten_path(media.path)
        try:
            url = self._draw(media, self._root)
        except ImageError as e:
            return MediaThumbnail(media.kind, path, problem=f"{e.reason}; {e.hint}")
        key = "i" + sha256(url.encode()).hexdigest()[:16]
        is_new = key not in self._keys
        self._keys.add(key)
        return MediaThumbnail(media.kind, path, key=key, url=url if is_new else "")


def _shorten_path(path: str) -> str:
    return path if len(path) <= _MAX_PATH_CHARS else path[:_MAX_PATH_CHARS] + "…"


def draw_thumbnail(media: Media, root: Path) -> str:
    """Draw a JPEG of at most `MAX_SIDE` pixels per side, as a data URL.

    Args:
        media: The image.
        root: Folder that relative media paths start from.

    Returns:
        The data URL.

    Raises:
        ImageError: The image is missing, broken or rejected.
    """
    image = load_image(open_image(media, root, ImageLimits()))
    image.thumbnail((MAX_SIDE, MAX_SIDE))
    out = BytesIO()
    image.save(out, "JPEG", quality=JPEG_QUALITY, optimize=True)
    return "data:image/jpeg;base64," + b64encode(out.getvalue()).decode()


class TextSpan(NamedTuple):
    """A span `start:end` of a text, what it is, and its tone (a polarity, `mixed`, `none`)."""

    start: int
    end: int
    role: Literal["aspect", "evidence"]
    tone: str


class TextPiece(NamedTuple):
    """A piece of text over which no span begins or ends."""

    start: int
    text: str
    aspect: str | None
    """Tone of the aspect at this piece."""
    evidence: str | None
    """Tone of the evidence at this piece."""
    closes: bool
    """Whether the aspect shown here ends here."""


def split_text(text: str, spans: Iterable[TextSpan]) -> list[TextPiece]:
    """Cut a text at both ends of every span, so that overlapping spans need no nested marks.

    Takes O(n log n) in the number of spans. Empty spans and spans outside the text are ignored.

    Args:
        text: The text.
        spans: Aspects and evidence; of nested aspects the shortest is shown.

    Returns:
        The pieces in order; joined, they are the text.
    """
    valid_spans = sorted(s for s in spans if 0 <= s.start < s.end <= len(text))
    boundaries = sorted(
        {0, len(text), *(s.start for s in valid_spans), *(s.end for s in valid_spans)}
    )
    open_evidence = sorted(
        (s for s in valid_spans if s.role == "evidence"), key=lambda s: s.end, reverse=True
    )
    aspects: list[tuple[int, int, str]] = []  # (length, end, tone); the shortest on top
    tones: Counter[str] = Counter()
    upcoming = iter(valid_spans)
    next_span = next(upcoming, None)
    out: list[TextPiece] = []
    for start, end in pairwise(boundaries):
        while open_evidence and open_evidence[-1].end <= start:
            tones[open_evidence.pop().tone] -= 1
        while next_span is not None and next_span.start == start:
            if next_span.role == "aspect":
                heapq.heappush(
                    aspects, (next_span.end - next_span.start, next_span.end, next_span.tone)
                )
            else:
                tones[next_span.tone] += 1
            next_span = next(upcoming, None)
        while aspects and aspects[0][1] <= start:
            heapq.heappop(aspects)
        aspect = aspects[0] if aspects else None
        closes = aspect is not None and aspect[1] == end
        tone = aspect[2] if aspect else None
        out.append(
            TextPiece(
                start, text[start:end], tone, merge_tones(t for t, n in tones.items() if n), closes
            )
        )
    return out


def merge_tones(tones: Iterable[str]) -> str | None:
    """Return the common tone of several: `mixed` when they differ, None when there are none."""
    distinct = set(tones)
    return distinct.pop() if len(distinct) == 1 else "mixed" if distinct else None


MAX_RAW_CHARS = 4000
"""Characters of a raw answer that the page shows; the JSONL file has all."""


@dataclass(frozen=True)
class Quote:
    """A piece of evidence and the offset in the text that it links to."""

    text: str
    start: int | None
    """Offset in the text of the post; None when the quote does not occur there."""
    note: str
    """Where the quote comes from instead, or that it occurs nowhere."""


@dataclass(frozen=True)
class ProbabilityBar:
    """The three class probabilities: percentages for the bar, and their text."""

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
    parsed: bool
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
    """Provenance, one line per key."""


@dataclass(frozen=True)
class AspectRow:
    """One aspect: the reference, and the opinion of each annotator."""

    term: str
    start: int | None
    note: str
    gold: tuple[tuple[str, str], ...]
    """(tone, label) of the reference; several when it contradicts itself."""
    lines: tuple[OpinionRow, ...]


@dataclass(frozen=True)
class PostCard:
    """One post."""

    number: int
    id: str
    pieces: tuple[TextPiece, ...]
    thumbnails: tuple[MediaThumbnail, ...]
    rows: tuple[AspectRow, ...]
    reference: str
    """The annotator that the others are compared with."""


def build_card(
    example: Example, number: int, thumbnails: ThumbnailStore, reference: str = GOLD
) -> PostCard:
    """Build the card of an example.

    Args:
        example: The post with its opinions.
        number: Number of the card; makes its anchors unique on the page.
        thumbnails: Draws images and remembers which are on the page.
        reference: The annotator that the others are compared with.

    Returns:
        The values that the template shows.
    """
    post, groups = example.post, group_by_aspect(example, reference)
    return PostCard(
        number=number,
        id=post.id,
        pieces=tuple(split_text(post.text, _text_spans(post.text, groups))),
        thumbnails=tuple(thumbnails.get(m) for m in post.media),
        rows=tuple(_aspect_row(post.text, g) for g in groups),
        reference=reference,
    )


def _text_spans(text: str, groups: list[AspectGroup]) -> Iterator[TextSpan]:
    for group in groups:
        opinions = group.predictions or group.gold
        start = _verified_start(text, group.aspect.term, group.aspect.start)
        if start is not None:
            # A missing answer does not make the tone mixed.
            tone = merge_tones(o.polarity.value for o in opinions if o.polarity) or "none"
            yield TextSpan(start, start + len(group.aspect.term), "aspect", tone)
        for opinion in opinions:
            for evidence in opinion.evidence:
                start = _evidence_start(text, evidence)
                if start is not None:
                    end = start + len(evidence.quote)
                    yield TextSpan(start, end, "evidence", tone_of(opinion.polarity))


def _verified_start(text: str, quote: str, start: int | None) -> int | None:
    """Return `start` if `quote` occurs there: a wrong offset must not mark other words."""
    if start is None or not quote or text[start : start + len(quote)] != quote:
        return None
    return start


def _evidence_start(text: str, evidence: Evidence) -> int | None:
    return (
        _verified_start(text, evidence.quote, evidence.start) if evidence.source == "text" else None
    )


def _aspect_row(text: str, group: AspectGroup) -> AspectRow:
    start = _verified_start(text, group.aspect.term, group.aspect.start)
    # Without other annotators, the reference is listed as an opinion itself.
    gold_opinions, opinions = (
        (group.gold, group.predictions) if group.predictions else ([], group.gold)
    )
    return AspectRow(
        term=group.aspect.term,
        start=start,
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
        parsed=opinion.status in PARSED_STATUSES,
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
    return ProbabilityBar(
        negative, neutral, ", ".join(f"{p} {probs.get(p, 0):.2f}" for p in Polarity)
    )


def _evidence_quote(text: str, evidence: Evidence) -> Quote:
    start = _evidence_start(text, evidence)
    note = "" if start is not None else "not in the text"
    if evidence.source != "text":
        note = {"image": "from the image", "cue": "from the cue"}[evidence.source]
    elif start is None and evidence.start is not None:
        note = f"is not at {evidence.start}"
    return Quote(evidence.quote, start, note)
