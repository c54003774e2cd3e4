"""Twitter-2015/2017 as TomBERT's TSV: one aspect per row.

The columns are index, label (0 negative, 1 neutral, 2 positive), image, text with `$T$`, and
aspect, without quoting. The header may have fewer columns than the rows, as in the published test
files. An id that reading would not generate is stored as `id=ID` in the index column, which other
programs ignore.

    list(formats["tombert_tsv"].read(Path("dev.tsv")))
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from gen_msa.data.formats._common import NumberedLine, check_round_trip, reject_row
from gen_msa.data.formats._twitter import (
    TwitterRow,
    explicit_id,
    join_posts,
    marked_rows,
    parse_marked_row,
)
from gen_msa.data.formats.base import ExampleStream, formats
from gen_msa.jsonl import atomic_write, read_lines
from gen_msa.types import Example, Polarity, Rejected

_HEADER = b"index\t#1 Label\t#2 ImageID\t#3 String\t#3 String\n"
_LABELS = {"0": Polarity.NEGATIVE, "1": Polarity.NEUTRAL, "2": Polarity.POSITIVE}
_NUMBERS = {p: label for label, p in _LABELS.items()}
_HINT = "five cells: index, label 0, 1 or 2, image, text with one $T$, aspect"


@formats.register
class TombertTsv:
    """Reads and writes TomBERT's TSV."""

    suffixes: tuple[str, ...] = ()
    about = "Twitter-2015/2017 TSV (TomBERT): one row per aspect, marked by `$T$`, labels 0/1/2."

    def read(self, path: Path) -> ExampleStream:
        """Read every post, in order; a row that cannot be parsed is `Rejected`."""
        return join_posts(path, _rows(path, read_lines(path)))

    def write(self, path: Path, examples: Iterable[Example]) -> None:
        """Write one row per aspect.

        Args:
            path: The file to write.
            examples: The examples.

        Raises:
            UserError: The format cannot store a field of an example.
        """
        index = 0
        with atomic_write(path) as f:
            f.write(_HEADER)
            groups = check_round_trip(
                "tombert_tsv",
                examples,
                _dump,
                lambda r, n: _parse_back(path, r, n),
                joins_adjacent=True,
            )
            for group in groups:
                for record in group:
                    index += 1
                    has_explicit_id = record.startswith(b"id=")
                    f.write(record if has_explicit_id else str(index).encode() + record)


def _dump(example: Example, number: int) -> list[bytes]:
    post_id = explicit_id(example, number) if example.post.media else ""
    rows = marked_rows("tombert_tsv", example)
    cells = (
        (f"id={post_id}" if post_id else "", _NUMBERS[p], image, text, term)
        for text, term, p, image in rows
    )
    return ["\t".join(c).encode() + b"\n" for c in cells]


def _parse_back(path: Path, records: list[bytes], first: int) -> ExampleStream:
    body = ((n, r.removesuffix(b"\n")) for n, r in enumerate(records, 2))
    return join_posts(path, _rows(path, body), first)


def _rows(path: Path, items: Iterable[NumberedLine | Rejected]) -> Iterator[TwitterRow | Rejected]:
    for item in items:
        if isinstance(item, Rejected):
            yield item
        elif item[0] > 1 or not item[1].lower().startswith(b"index"):
            try:
                yield _row(*item)
            except ValueError as e:
                yield reject_row(path, item[0], str(e), item[1], _HINT)


def _row(number: int, line: bytes) -> TwitterRow:
    cells = line.decode().split("\t")
    if len(cells) != 5:
        raise ValueError(f"{len(cells)} cells, not 5")
    index, label, image, text, term = cells
    if label not in _LABELS:
        raise ValueError(f"label {label!r} is none of 0, 1, 2")
    post_id = index.removeprefix("id=") if index.startswith("id=") else ""
    return parse_marked_row(text, term, _LABELS[label], image, line=number, raw=line, id=post_id)
