"""JSON lines: complete examples, or simple rows of a user's own.

A line with the key `post` is an `Example`; a line with the key `aspect` (or `span`, `target`, …) is
one aspect of a post, and adjacent ones are joined; any other line is a simple row (see `_simple`),
whose id is FILE_STEM-LINE if missing. Every example whose line is under
`gen_msa.jsonl.MAX_LINE_BYTES` can be stored.

    {"post": {"id": "1", "text": "good food"}, "opinions": []}
    {"text": "good food", "image": "a.jpg", "aspects": ["food"]}
"""

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated

from pydantic import Discriminator, Tag, TypeAdapter, ValidationError
from pydantic_core import from_json, to_json

from gen_msa.data.formats._common import (
    NumberedLine,
    check_round_trip,
    reject_row,
    unsupported_field_error,
)
from gen_msa.data.formats._flat import (
    is_flat,
    may_be_flat,
    read_span_list,
    to_record,
    warn_of_labels,
)
from gen_msa.data.formats._simple import SimpleRow
from gen_msa.data.formats._table import TableRecord
from gen_msa.data.formats.base import ExampleStream, formats
from gen_msa.data.formats.csv import PostJoiner
from gen_msa.jsonl import MAX_LINE_BYTES, atomic_write, format_validation_error, read_lines
from gen_msa.types import Example, Rejected

_BOM = b"\xef\xbb\xbf"
_HINT = "each line must be a JSON object with `post`, or with `text` and optionally `aspects`"


def _row_kind(row: object) -> str:
    return "example" if isinstance(row, dict) and "post" in row else "row"


_EXAMPLE_OR_ROW: TypeAdapter[Example | SimpleRow] = TypeAdapter(
    Annotated[
        Annotated[Example, Tag("example")] | Annotated[SimpleRow, Tag("row")],
        Discriminator(_row_kind),
    ]
)


@formats.register
class Jsonl:
    """Reads and writes JSON lines."""

    suffixes: tuple[str, ...] = (".jsonl", ".ndjson")
    about = "JSON lines: one example per line, or simple rows with `text`, `image`, `aspects`."

    def read(self, path: Path) -> ExampleStream:
        """Read every line, in order; a bad one is `Rejected`."""
        return _parse(path, read_lines(path))

    def write(self, path: Path, examples: Iterable[Example]) -> None:
        """Write one example per line.

        Args:
            path: The file to write.
            examples: The examples.

        Raises:
            UserError: A line would be too long to be read back.
        """
        with atomic_write(path) as f:
            for records in check_round_trip(
                "jsonl", examples, _dump, lambda r, n: _parse_back(path, r)
            ):
                f.writelines(r + b"\n" for r in records)


def _dump(example: Example, number: int) -> list[bytes]:
    line = example.model_dump_json().encode()
    if len(line) > MAX_LINE_BYTES:
        raise unsupported_field_error(
            "jsonl", example, "the length", f"{len(line)} bytes, over {MAX_LINE_BYTES}"
        )
    return [line]


def _parse_back(path: Path, records: list[bytes]) -> ExampleStream:
    return _parse(path, enumerate(records, 1))


def _parse(path: Path, rows: Iterable[NumberedLine | Rejected]) -> Iterator[Example | Rejected]:
    for is_record, group in itertools.groupby(map(_read_flat, rows), _is_record):
        if is_record:
            yield from PostJoiner(path, (r for r in group if isinstance(r, TableRecord)))
        else:
            yield from _parse_lines(path, (r for r in group if not isinstance(r, TableRecord)))


def _is_record(row: NumberedLine | Rejected | TableRecord) -> bool:
    return isinstance(row, TableRecord)


def _read_flat(row: NumberedLine | Rejected) -> NumberedLine | Rejected | TableRecord:
    """Return a flat row (one row an aspect) as a record of a table, any other row as it is."""
    if isinstance(row, Rejected) or not may_be_flat(row[1]):
        return row
    number, line = row
    try:
        value = from_json(line.removeprefix(_BOM) if number == 1 else line)
    except ValueError:
        return row
    if is_flat(value):
        return to_record(value, number, line)
    spans = read_span_list(value) if isinstance(value, dict) else None
    return row if spans is None else (number, to_json(spans))


def _parse_lines(
    path: Path, rows: Iterable[NumberedLine | Rejected]
) -> Iterator[Example | Rejected]:
    for row in rows:
        if isinstance(row, Rejected):
            yield row
            continue
        number, line = row
        yield _example(path, number, line.removeprefix(_BOM) if number == 1 else line)


def _example(path: Path, number: int, line: bytes) -> Example | Rejected:
    try:
        row = _EXAMPLE_OR_ROW.validate_json(line)
        if isinstance(row, Example):
            return row
        warn_of_labels(path, (k for k, v in row.__pydantic_extra__.items() if v))
        return row.to_example(f"{path.stem}-{number}")
    except ValidationError as e:
        return reject_row(path, number, format_validation_error(e), line, _HINT)
