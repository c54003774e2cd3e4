"""Aspect sentiment triplets (ASTE): a sentence, `####`, and triplets of word numbers.

Words are separated by single spaces and counted from 0. The opinion words are the evidence of the
label. An implicit aspect (`[-1]`) is the aspect `NULL`, which has no place. Sentences have no ids:
they are FILE_STEM-LINE.

    The tea is good####[([1], [3], 'POS')]
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from gen_msa.data.formats._common import (
    GOLD_ANNOTATOR,
    NumberedLine,
    check_round_trip,
    unsupported_field_error,
)
from gen_msa.data.formats._json_stream import parse_records
from gen_msa.data.formats._labelled_terms import (
    IMPLICIT,
    LabelledTerm,
    decode_line,
    example,
    parse_literal,
    span_of_words,
    words_of,
)
from gen_msa.data.formats._word_spans import word_span
from gen_msa.data.formats.base import ExampleStream, formats
from gen_msa.jsonl import atomic_write, read_lines
from gen_msa.types import Aspect, Evidence, Example, Polarity, Rejected

SEPARATOR = "####"
_LABELS = {Polarity.POSITIVE: "POS", Polarity.NEGATIVE: "NEG", Polarity.NEUTRAL: "NEU"}


@formats.register
class Aste:
    """Reads and writes ASTE triplets."""

    suffixes: tuple[str, ...] = ()
    content_suffixes: tuple[str, ...] = (".txt",)
    about = "ASTE triplets: sentence####[([aspect words], [opinion words], 'POS'), …]."

    def recognizes(self, head: bytes) -> bool:
        """Return whether the first line has triplets of word numbers."""
        labels = head.lstrip().split(b"\n")[0].partition(SEPARATOR.encode())[2]
        return labels.replace(b" ", b"").startswith(b"[([")

    def read(self, path: Path) -> ExampleStream:
        """Read every sentence, in order; a bad one is `Rejected`."""
        return _parse(path, read_lines(path))

    def write(self, path: Path, examples: Iterable[Example]) -> None:
        """Write one line per post.

        Args:
            path: The file to write.
            examples: The examples.

        Raises:
            UserError: The format cannot store a field of an example.
        """
        with atomic_write(path) as f:
            for lines in check_round_trip(
                "aste", examples, _dump, lambda r, n: _parse(path, enumerate(r, n))
            ):
                f.writelines(line + b"\n" for line in lines)


def _parse(path: Path, lines: Iterable[NumberedLine | Rejected]) -> ExampleStream:
    def build_example(raw: bytes, number: int) -> Example:
        sentence, _, labels = decode_line(raw).rpartition(SEPARATOR)
        words, starts = words_of(sentence)
        triplets = parse_literal(labels)
        if not isinstance(triplets, list):
            raise ValueError(f"no triplets behind {SEPARATOR}")
        terms = [_term(words, starts, t) for t in triplets]
        return example(f"{path.stem}-{number}", sentence, terms)

    return parse_records(path, lines, build_example)


def _term(words: list[str], starts: list[int], triplet: Any) -> LabelledTerm:
    if not isinstance(triplet, list | tuple) or len(triplet) != 3:
        raise ValueError(f"{triplet!r} is no triplet")
    aspect_words, opinion_words, label = triplet
    if not isinstance(label, str):
        raise ValueError(f"{label!r} is no label")
    aspect, opinion = (_span(words, starts, w) for w in (aspect_words, opinion_words))
    return LabelledTerm(
        aspect=aspect and Aspect(term=aspect[0], start=aspect[1]),
        label=label,
        evidence=opinion and Evidence(quote=opinion[0], start=opinion[1]),
    )


def _span(words: list[str], starts: list[int], numbers: Any) -> tuple[str, int] | None:
    """Return text and offset of words, given as all their numbers or as first and last."""
    if not isinstance(numbers, list | tuple) or not all(type(n) is int for n in numbers):
        raise ValueError(f"{numbers!r} are no word numbers")
    if not numbers or set(numbers) == {-1}:
        return None
    return span_of_words(words, starts, min(numbers), max(numbers) + 1)


def _dump(example: Example, number: int) -> list[bytes]:
    words = example.post.text.split(" ")
    triplets = []
    for opinion in example.opinions:
        if opinion.annotator != GOLD_ANNOTATOR or opinion.polarity is None:
            raise unsupported_field_error("aste", example, "opinions", "gold labels only")
        aspect = opinion.aspect
        is_implicit = aspect == Aspect(term=IMPLICIT)
        aspect_words = [-1] if is_implicit else _word_numbers(example, words, aspect)
        opinion_words = [_evidence_words(example, words, e) for e in opinion.evidence] or [[-1]]
        label = _LABELS[opinion.polarity]
        triplets += [(aspect_words, w, label) for w in opinion_words]
    return [f"{example.post.text}{SEPARATOR}{triplets}".encode()]


def _word_numbers(example: Example, words: list[str], aspect: Aspect) -> list[int]:
    span = word_span(words, aspect)
    if span is None:
        raise unsupported_field_error("aste", example, "post.aspects", "whole words only")
    return list(range(*span))


def _evidence_words(example: Example, words: list[str], evidence: Evidence) -> list[int]:
    span = word_span(words, Aspect(term=evidence.quote, start=evidence.start))
    if span is None:
        raise unsupported_field_error("aste", example, "opinions.evidence", "whole words only")
    return list(range(*span))
