"""Aspect, category, opinion and sentiment quadruples (ACOS): TSV of word numbers.

A line is a tokenized sentence and, for each quadruple, a cell of aspect words, category, sentiment
(0 negative, 1 neutral, 2 positive) and opinion words. Words are counted from 0 up to, not
including, the second number; `-1,-1` is implicit. Only read.

    the tea is good<TAB>1,2 FOOD#QUALITY 2 3,4
"""

import re
from collections.abc import Iterable
from pathlib import Path

from gen_msa.data.formats._common import refuse_examples
from gen_msa.data.formats._json_stream import parse_records
from gen_msa.data.formats._labelled_terms import (
    LabelledTerm,
    decode_line,
    example,
    span_of_words,
    words_of,
)
from gen_msa.data.formats.base import ExampleStream, formats
from gen_msa.jsonl import read_lines
from gen_msa.types import Aspect, Evidence, Example

_QUADRUPLE = re.compile(r"(-?\d+),(-?\d+) (\S+) (\d) (-?\d+),(-?\d+)")
_LABELS = {"0": "negative", "1": "neutral", "2": "positive"}


@formats.register
class Acos:
    """Reads ACOS quadruples."""

    suffixes: tuple[str, ...] = ()
    content_suffixes: tuple[str, ...] = (".tsv", ".txt")
    about = "ACOS: TSV of a sentence and quadruples of word numbers (read only)."

    def recognizes(self, head: bytes) -> bool:
        """Return whether the first line has a cell with a quadruple."""
        cells = head.lstrip().split(b"\n")[0].decode("utf-8", "replace").strip().split("\t")
        return len(cells) > 1 and all(_QUADRUPLE.fullmatch(c) for c in cells[1:])

    def read(self, path: Path) -> ExampleStream:
        """Read every sentence, in order; a bad one is `Rejected`."""

        def build_example(raw: bytes, number: int) -> Example:
            sentence, *cells = decode_line(raw).split("\t")
            if not cells:
                raise ValueError("the sentence has no quadruple")
            words, starts = words_of(sentence)
            terms = [_term(words, starts, cell) for cell in cells]
            return example(f"{path.stem}-{number}", sentence, terms)

        return parse_records(path, read_lines(path), build_example)

    def write(self, path: Path, examples: Iterable[Example]) -> None:
        """Refuse to write examples.

        Args:
            path: The file to write.
            examples: The examples.

        Raises:
            UserError: There is an example.
        """
        refuse_examples("acos", path, examples, b"")


def _term(words: list[str], starts: list[int], cell: str) -> LabelledTerm:
    match = _QUADRUPLE.fullmatch(cell.strip())
    if match is None or match[4] not in _LABELS:
        raise ValueError(f"{cell[:60]!r} is no quadruple")
    aspect = _span(words, starts, match[1], match[2])
    opinion = _span(words, starts, match[5], match[6])
    return LabelledTerm(
        aspect=aspect and Aspect(term=aspect[0], start=aspect[1]),
        label=_LABELS[match[4]],
        category=match[3],
        evidence=opinion and Evidence(quote=opinion[0], start=opinion[1]),
    )


def _span(words: list[str], starts: list[int], begin: str, end: str) -> tuple[str, int] | None:
    if begin == end == "-1":
        return None
    return span_of_words(words, starts, int(begin), int(end))
