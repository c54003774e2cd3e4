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


class Span(NamedTuple):
    """A stretch `start:end` of a text, what it is, and its tone (a polarity, `mixed`, `none`)."""

    start: int
    end: int
    role: Literal["aspect", "evidence"]
    tone: str


class Piece(NamedTuple):
    """A stretch of text over which nothing changes."""

    start: int
    text: str
    aspect: str | None
    """Tone of the aspect that stands here."""
    evidence: str | None
    """Tone of the evidence that stands here."""
    closes: bool
    """The aspect that speaks here ends here."""


def pieces(text: str, spans: Iterable[Span]) -> list[Piece]:
    """The whole text in order, cut at every end of every span; O(n log n) in the spans.

    Empty spans and those that reach outside the text are left out.
    """
    kept = sorted(s for s in spans if 0 <= s.start < s.end <= len(text))
    cuts = sorted({0, len(text), *(s.start for s in kept), *(s.end for s in kept)})
    ending = sorted((s for s in kept if s.role == "evidence"), key=lambda s: s.end, reverse=True)
    aspects: list[tuple[int, int, str]] = []  # (length, end, tone); the shortest on top
    tones: Counter[str] = Counter()
    opening = iter(kept)
    coming = next(opening, None)
    out: list[Piece] = []
    for start, end in pairwise(cuts):
        while ending and ending[-1].end <= start:
            tones[ending.pop().tone] -= 1
        while coming is not None and coming.start == start:
            if coming.role == "aspect":
                heapq.heappush(aspects, (coming.end - coming.start, coming.end, coming.tone))
            else:
                tones[coming.tone] += 1
            coming = next(opening, None)
        while aspects and aspects[0][1] <= start:
            heapq.heappop(aspects)
        aspect = aspects[0] if aspects else None
        closes = aspect is not None and aspect[1] == end
        tone = aspect[2] if aspect else None
        out.append(
            Piece(start, text[start:end], tone, blend(t for t, n in tones.items() if n), closes)
        )
    return out


def blend(tones: Iterable[str]) -> str | None:
    """One tone for several: theirs when they are the same, `mixed` when not, None when none."""
    found = set(tones)
    return found.pop() if len(found) == 1 else "mixed" if found else None
