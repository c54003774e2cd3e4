"""Aspects as spans of words, and their places in the text made of these words and single spaces.

Knows nothing of labels or files.

    words = ["good", "food"]
    place(words, starts_of(words), Span(begin=1, end=2, term=["food"]))    # food at 5
"""

from collections.abc import Sequence
from itertools import accumulate

from pydantic import BaseModel, ConfigDict, Field

from gen_msa.types import Aspect


class WordSpan(BaseModel):
    """Words `from` up to, not including, `to`; `term` repeats them."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    begin: int = Field(alias="from", ge=0)
    end: int = Field(alias="to", ge=0)
    term: list[str]


def starts_of(words: Sequence[str]) -> list[int]:
    """Character offset of each word in the words joined by single spaces.

    Raises `ValueError` for an empty word: it would have no place.
    """
    if not all(words):
        raise ValueError("words: an empty word")
    return list(accumulate((len(w) + 1 for w in words[:-1]), initial=0)) if words else []


def aspect_from_words(words: Sequence[str], starts: Sequence[int], begin: int, end: int) -> Aspect:
    """The aspect made of some words."""
    return Aspect(term=" ".join(words[begin:end]), start=starts[begin])


def aspect_from_span(words: Sequence[str], starts: Sequence[int], span: WordSpan) -> Aspect:
    """The aspect of a span. Raises `ValueError` when the words there are not its term."""
    if span.begin >= span.end or list(words[span.begin : span.end]) != span.term:
        actual = " ".join(words[span.begin : span.end])
        raise ValueError(f"aspects: {' '.join(span.term)!r} is not at {span.begin}: {actual!r} is")
    return aspect_from_words(words, starts, span.begin, span.end)


def word_span(words: Sequence[str], aspect: Aspect) -> tuple[int, int] | None:
    """The words an aspect covers; None unless it begins and ends where words do."""
    if aspect.start is None or not all(words):
        return None
    starts = starts_of(words)
    ends = [s + len(w) for s, w in zip(starts, words, strict=True)]
    if aspect.start not in starts or aspect.end not in ends:
        return None
    return starts.index(aspect.start), ends.index(aspect.end) + 1


def nearest_span(words: Sequence[str], span: WordSpan) -> tuple[int, int] | None:
    """Where a span's term stands as whole words: at `from`, else after it, else before it.

    Files whose words were cut anew after the spans were counted point a little too early. Blanks do
    not matter: `["Square", "Trade"]` is found in `["SquareTrade"]`.
    """
    target = "".join(span.term).replace(" ", "")
    order = [*range(span.begin, len(words)), *reversed(range(min(span.begin, len(words))))]
    for begin in order if target else []:
        candidate, end = "", begin
        while end < len(words) and len(candidate) < len(target):
            candidate += words[end].replace(" ", "")
            end += 1
        if candidate == target:
            return begin, end
    return None
