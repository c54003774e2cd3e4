"""Build examples of aspect sentiment triplets and quadruples, which several text formats hold.

An explicit aspect becomes a gold opinion, whose evidence are the opinion words and whose provenance
names the category. A category becomes an opinion by `gold_category`. An implicit aspect with a
category is that opinion alone; without one it is the aspect `NULL`, which has no place. Several
labels of one aspect that differ are a conflict.

    example("s-1", "good tea", [LabelledTerm(Aspect(term="tea", start=5), "positive")])
"""

import ast
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from gen_msa.data.formats._common import (
    CATEGORY_ANNOTATOR,
    GOLD_ANNOTATOR,
    gold_opinion_from_text,
)
from gen_msa.data.formats._flat import CONFLICT
from gen_msa.data.formats._word_spans import starts_of
from gen_msa.data.formats.labels import parse_polarity
from gen_msa.types import Aspect, Evidence, Example, Opinion, Post

IMPLICIT = "NULL"
"""What files write in place of a term that the text does not contain."""
_MAX_LITERAL_CHARS = 100_000


@dataclass(frozen=True)
class LabelledTerm:
    """One triplet or quadruple."""

    aspect: Aspect | None
    """None: the aspect is implicit."""
    label: str
    category: str = ""
    evidence: Evidence | None = None
    """The opinion words; None: they are implicit, or the format has none."""


def example(post_id: str, text: str, terms: Sequence[LabelledTerm]) -> Example:
    """Return the example of a sentence.

    Args:
        post_id: The id of the post.
        text: Its text.
        terms: What is labelled in it.
    """
    by_aspect: dict[Aspect, list[LabelledTerm]] = {}
    by_category: dict[Aspect, list[LabelledTerm]] = {}
    for term in terms:
        aspect = term.aspect
        if aspect is None and not term.category:
            aspect = Aspect(term=IMPLICIT)
        if aspect is not None:
            by_aspect.setdefault(aspect, []).append(term)
        if term.category:
            by_category.setdefault(Aspect(term=term.category), []).append(term)
    gold = (_opinion(GOLD_ANNOTATOR, a, group) for a, group in by_aspect.items())
    categories = (_opinion(CATEGORY_ANNOTATOR, a, group) for a, group in by_category.items())
    return Example(
        post=Post(id=post_id, text=text, aspects=tuple(by_aspect)), opinions=(*gold, *categories)
    )


def _opinion(annotator: str, aspect: Aspect, terms: Sequence[LabelledTerm]) -> Opinion:
    labels = {polarity_name(t.label) for t in terms}
    opinion = gold_opinion_from_text(aspect, labels.pop() if len(labels) == 1 else CONFLICT)
    evidence = tuple(dict.fromkeys(t.evidence for t in terms if t.evidence))
    categories = dict.fromkeys(t.category for t in terms if t.category)
    is_category = annotator == CATEGORY_ANNOTATOR
    provenance = {"category": ", ".join(categories)} if categories and not is_category else {}
    changes = {"annotator": annotator, "evidence": evidence, "provenance": provenance}
    return opinion.model_copy(update=changes)


def polarity_name(label: str) -> str:
    """Return the name of a polarity for `POS`, `Positive`, …; any other label as it is."""
    polarity = parse_polarity(label)
    return polarity.value if polarity else label


def parse_literal(text: str) -> Any:
    """Return the value of a Python literal: lists, tuples, texts and numbers.

    Args:
        text: The literal.

    Raises:
        ValueError: It is too long, or no literal.
    """
    if len(text) > _MAX_LITERAL_CHARS:
        raise ValueError(f"a list of {len(text)} characters is over {_MAX_LITERAL_CHARS}")
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError) as e:
        raise ValueError(f"{text[:60]!r} is no Python list: {type(e).__name__}") from None


def words_of(sentence: str) -> tuple[list[str], list[int]]:
    """Return the words of a tokenized sentence and their character offsets.

    Raises:
        ValueError: The words are not separated by single spaces.
    """
    words = sentence.split(" ")
    return words, starts_of(words)


def span_of_words(
    words: Sequence[str], starts: Sequence[int], begin: int, end: int
) -> tuple[str, int]:
    """Return the text and the character offset of some words.

    Args:
        words: The words of the sentence.
        starts: Their offsets.
        begin: The first word.
        end: The word after the last one.

    Raises:
        ValueError: There are no such words.
    """
    if not 0 <= begin < end <= len(words):
        raise ValueError(f"words {begin} to {end} are not in a sentence of {len(words)} words")
    return " ".join(words[begin:end]), starts[begin]


def decode_line(line: bytes) -> str:
    """Return a line as text without spaces at its ends.

    Raises:
        ValueError: It is not UTF-8.
    """
    return line.removeprefix(b"\xef\xbb\xbf").decode().strip()


def strings(values: Any, sizes: Iterable[int], what: str) -> list[str]:
    """Return a tuple of texts of one of the given sizes.

    Args:
        values: What the file has.
        sizes: Numbers of texts that are possible.
        what: Name of the tuple, for messages.

    Raises:
        ValueError: It is no such tuple.
    """
    is_tuple = isinstance(values, list | tuple) and len(values) in set(sizes)
    if not is_tuple or not all(isinstance(v, str) for v in values):
        raise ValueError(f"{str(values)[:60]!r} is no {what}")
    return list(values)
