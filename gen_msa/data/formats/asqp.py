"""Aspect sentiment quadruples by name (ASQP, and TASD without opinion words).

A line is a sentence, `####`, and lists of aspect, category, polarity and opinion words; a term that
is `NULL` is implicit. Terms are located at whole words. Only read.

    The tea is good####[['tea', 'food quality', 'positive', 'good']]
"""

from collections.abc import Iterable
from pathlib import Path

from gen_msa.data.formats._common import locate_aspects, refuse_examples
from gen_msa.data.formats._json_stream import parse_records
from gen_msa.data.formats._labelled_terms import (
    IMPLICIT,
    LabelledTerm,
    decode_line,
    example,
    parse_literal,
    strings,
)
from gen_msa.data.formats.base import ExampleStream, formats
from gen_msa.jsonl import read_lines
from gen_msa.types import Aspect, Evidence, Example

SEPARATOR = "####"


@formats.register
class Asqp:
    """Reads ASQP quadruples."""

    suffixes: tuple[str, ...] = ()
    content_suffixes: tuple[str, ...] = (".txt",)
    about = "ASQP: sentence####[['aspect', 'category', 'positive', 'opinion'], …] (read only)."

    def recognizes(self, head: bytes) -> bool:
        """Return whether the first line has lists of texts."""
        labels = head.lstrip().split(b"\n")[0].partition(SEPARATOR.encode())[2].replace(b" ", b"")
        return labels.startswith((b"[['", b'[["', b"[('", b'[("'))

    def read(self, path: Path) -> ExampleStream:
        """Read every sentence, in order; a bad one is `Rejected`."""

        def build_example(raw: bytes, number: int) -> Example:
            sentence, _, labels = decode_line(raw).rpartition(SEPARATOR)
            quadruples = parse_literal(labels)
            if not isinstance(quadruples, list):
                raise ValueError(f"no quadruples behind {SEPARATOR}")
            rows = [strings(q, (3, 4), "quadruple") for q in quadruples]
            return example(f"{path.stem}-{number}", sentence, _terms(sentence, rows))

        return parse_records(path, read_lines(path), build_example)

    def write(self, path: Path, examples: Iterable[Example]) -> None:
        """Refuse to write examples.

        Args:
            path: The file to write.
            examples: The examples.

        Raises:
            UserError: There is an example.
        """
        refuse_examples("asqp", path, examples, b"")


def _terms(sentence: str, rows: list[list[str]]) -> list[LabelledTerm]:
    names = list(dict.fromkeys(row[0] for row in rows if row[0] != IMPLICIT))
    aspect_by_name = dict(zip(names, locate_aspects(sentence, names), strict=True))
    return [
        LabelledTerm(
            aspect_by_name.get(aspect), label, category, _evidence(sentence, *opinion_words)
        )
        for aspect, category, label, *opinion_words in rows
    ]


def _evidence(sentence: str, opinion_words: str = IMPLICIT) -> Evidence | None:
    if opinion_words == IMPLICIT:
        return None
    (place,) = locate_aspects(sentence, [opinion_words]) or (Aspect(term=opinion_words),)
    return Evidence(quote=place.term, start=place.start)
