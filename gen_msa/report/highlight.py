"""Cuts a text into pieces so that overlapping spans can be marked without nesting.

Offsets are indices of a Python str (code points). Knows nothing of HTML or of opinions. Where
aspects overlap the shortest speaks; where evidence of several tones overlaps it is `mixed`.

    pieces("Screen great", [Span(0, 6, "aspect", "positive"), Span(0, 12, "evidence", "positive")])
"""

import heapq
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from typing import Literal, NamedTuple


class TextSpan(NamedTuple):
    """A stretch `start:end` of a text, what it is, and its tone (a polarity, `mixed`, `none`)."""

    start: int
    end: int
    role: Literal["aspect", "evidence"]
    tone: str


class TextPiece(NamedTuple):
    """A stretch of text over which nothing changes."""

    start: int
    text: str
    aspect: str | None
    """Tone of the aspect that stands here."""
    evidence: str | None
    """Tone of the evidence that stands here."""
    closes: bool
    """The aspect that speaks here ends here."""


def split_text(text: str, spans: Iterable[TextSpan]) -> list[TextPiece]:
    """The whole text in order, cut at every end of every span; O(n log n) in the spans.

    Empty spans and those that reach outside the text are left out.
    """
    valid_spans = sorted(s for s in spans if 0 <= s.start < s.end <= len(text))
    boundaries = sorted({0, len(text), *(s.start for s in valid_spans), *(s.end for s in valid_spans)})
    open_evidence = sorted((s for s in valid_spans if s.role == "evidence"), key=lambda s: s.end, reverse=True)
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
                heapq.heappush(aspects, (next_span.end - next_span.start, next_span.end, next_span.tone))
            else:
                tones[next_span.tone] += 1
            next_span = next(upcoming, None)
        while aspects and aspects[0][1] <= start:
            heapq.heappop(aspects)
        aspect = aspects[0] if aspects else None
        closes = aspect is not None and aspect[1] == end
        tone = aspect[2] if aspect else None
        out.append(
            TextPiece(start, text[start:end], tone, merge_tones(t for t, n in tones.items() if n), closes)
        )
    return out


def merge_tones(tones: Iterable[str]) -> str | None:
    """One tone for several: theirs when they are the same, `mixed` when not, None when none."""
    distinct = set(tones)
    return distinct.pop() if len(distinct) == 1 else "mixed" if distinct else None
