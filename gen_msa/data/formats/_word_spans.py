"""Convert word spans to aspects of the text that joins the words with single spaces.

words = ["good", "food"]
span = WordSpan(begin=1, end=2, term=["food"])
aspect_from_span(words, starts_of(words), span)    # food at 5
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
    """Return the character offset of each word in the text of words joined by single spaces.

    Raises:
        ValueError: A word is empty.
    """
    if not all(words):
        raise ValueError("words: an empty word")
    return list(accumulate((len(w) + 1 for w in words[:-1]), initial=0)) if words else []


def aspect_from_words(words: Sequence[str], starts: Sequence[int], begin: int, end: int) -> Aspect:
    """Return the aspect of some words.

    Args:
        words: The words of the text.
        starts: Their offsets.
        begin: The first word.
        end: The word after the last one.
    """
    return Aspect(term=" ".join(words[begin:end]), start=starts[begin])


def aspect_from_span(words: Sequence[str], starts: Sequence[int], span: WordSpan) -> Aspect:
    """Return the aspect of a span.

    Args:
        words: The words of the text.
        starts: Their offsets.
        span: The span.

    Raises:
        ValueError: The words of the span are not its term.
    """
    if span.begin >= span.end or list(words[span.begin : span.end]) != span.term:
        actual = " ".join(words[span.begin : span.end])
        raise ValueError(f"aspects: {' '.join(span.term)!r} is not at {span.begin}: {actual!r} is")
    return aspect_from_words(words, starts, span.begin, span.end)


def word_span(words: Sequence[str], aspect: Aspect) -> tuple[int, int] | None:
    """Return the words that an aspect covers; None unless it starts and ends at word boundaries.

    Args:
        words: The words of the text.
        aspect: The aspect.
    """
    if aspect.start is None or not all(words):
        return None
    starts = starts_of(words)
    ends = [s + len(w) for s, w in zip(starts, words, strict=True)]
    if aspect.start not in starts or aspect.end not in ends:
        return None
    return starts.index(aspect.start), ends.index(aspect.end) + 1


def nearest_span(words: Sequence[str], span: WordSpan) -> tuple[int, int] | None:
    """Return where a span's term occurs as whole words: at `from`, else after it, else before it.

    In files whose words were tokenized again, spans start a little too early. Spaces are ignored:
    `["Square", "Trade"]` matches `["SquareTrade"]`.

    Args:
        words: The words of the text.
        span: The span.
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
