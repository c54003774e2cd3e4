"""JSON lines: complete examples, or simple rows of a user's own.

A line with the key `post` is an `Example`; a line with the key `aspect` (or `span`, `target`, …) is
one aspect of a post, and adjacent ones are joined; any other line is a simple row (see `_simple`),
whose id is FILE_STEM-LINE if missing. Every example whose line is under
`gen_msa.jsonl.MAX_LINE_BYTES` can be stored.

    {"post": {"id": "1", "text": "good food"}, "opinions": []}
    {"text": "good food", "image": "a.jpg", "aspects": ["food"]}
"""

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

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
from gen_msa.data.formats._json_stream import unique_keys
from gen_msa.data.formats._simple import SimpleRow, warn_of_other_labels
from gen_msa.data.formats._table import TableRecord
from gen_msa.data.formats.base import ExampleStream, ReadOptions, formats
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
        return self.read_with(path, ReadOptions())

    def read_with(self, path: Path, options: ReadOptions) -> ExampleStream:
        """Read every line, in order, with keys of other names; a bad one is `Rejected`.

        Args:
            path: The file.
            options: The names of keys; a dot leads into an object (`data.text`).

        Returns:
            The examples, with `Rejected` in place of each row that cannot be read.
        """
        return parse_rows(path, unique_keys(path, read_lines(path)), options.columns)

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
                "jsonl", examples, _dump, lambda r, n: parse_rows(path, enumerate(r, 1), {})
            ):
                f.writelines(r + b"\n" for r in records)


def _dump(example: Example, number: int) -> list[bytes]:
    return [dump_example("jsonl", example)]


def dump_example(name: str, example: Example) -> bytes:
    """Return an example as one line of JSON.

    Args:
        name: The format, for messages.
        example: The example.

    Raises:
        UserError: The line would be too long to be read back.
    """
    line = example.model_dump_json().encode()
    if len(line) > MAX_LINE_BYTES:
        raise unsupported_field_error(
            name, example, "the length", f"{len(line)} bytes, over {MAX_LINE_BYTES}"
        )
    return line


def parse_rows(
    path: Path, rows: Iterable[NumberedLine | Rejected], columns: Mapping[str, str]
) -> Iterator[Example | Rejected]:
    """Yield records as examples; rows of one aspect each are joined.

    Args:
        path: The file, for ids and messages.
        rows: Numbered records, each one JSON object.
        columns: Name of a field -> name of its key.
    """
    if columns:
        rows = (r if isinstance(r, Rejected) else _rename_keys(r, columns) for r in rows)
    other_labels: Counter[str] = Counter()
    flat_rows = (_read_flat(path, row) for row in rows)
    for is_record, group in itertools.groupby(flat_rows, _is_record):
        if is_record:
            records = (r for r in group if isinstance(r, TableRecord))
            yield from PostJoiner(path, records, other_labels)
        else:
            lines = (r for r in group if not isinstance(r, TableRecord))
            yield from _parse_lines(path, lines, other_labels)
    warn_of_other_labels(path, other_labels)


def _rename_keys(row: NumberedLine, columns: Mapping[str, str]) -> NumberedLine:
    number, line = row
    try:
        value = from_json(line.removeprefix(_BOM) if number == 1 else line)
    except ValueError:
        return row
    return (number, to_json(rename_keys(value, columns))) if isinstance(value, dict) else row


def rename_keys(row: Mapping[str, Any], columns: Mapping[str, str]) -> dict[str, Any]:
    """Return a row whose keys have the names of fields.

    A key that has the name of a field and is not that field stays in `meta`.

    Args:
        row: The row.
        columns: Name of a field -> name of its key, in which a dot leads into an object.
    """
    renamed = dict(row)
    values = {field: _pop(renamed, key) for field, key in columns.items()}
    other = {k: renamed.pop(k) for k in columns if k in renamed}
    if other:
        meta = renamed.get("meta")
        renamed["meta"] = {**(meta if isinstance(meta, dict) else {}), **other}
    return renamed | {k: v for k, v in values.items() if v is not None}


def _pop(row: dict[str, Any], key: str) -> Any:
    """Remove and return the value of a key; the objects on the way are copied."""
    if key in row:
        return row.pop(key)
    outer, _, inner = key.partition(".")
    if not inner or not isinstance(row.get(outer), dict):
        return None
    row[outer] = dict(row[outer])
    return _pop(row[outer], inner)


def _is_record(row: NumberedLine | Rejected | TableRecord) -> bool:
    return isinstance(row, TableRecord)


def _read_flat(path: Path, row: NumberedLine | Rejected) -> NumberedLine | Rejected | TableRecord:
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
    try:
        spans = read_span_list(value) if isinstance(value, dict) else None
    except ValueError as e:
        return reject_row(path, number, str(e), line, "correct the offsets of the span")
    return row if spans is None else (number, to_json(spans))


def _parse_lines(
    path: Path, rows: Iterable[NumberedLine | Rejected], other_labels: Counter[str]
) -> Iterator[Example | Rejected]:
    for row in rows:
        if isinstance(row, Rejected):
            yield row
            continue
        number, line = row
        line = line.removeprefix(_BOM) if number == 1 else line
        yield _example(path, number, line, other_labels)


def _example(
    path: Path, number: int, line: bytes, other_labels: Counter[str]
) -> Example | Rejected:
    try:
        row = _EXAMPLE_OR_ROW.validate_json(line)
        if isinstance(row, Example):
            return row
        warn_of_labels(path, (k for k, v in row.__pydantic_extra__.items() if v))
        example = row.to_example(f"{path.stem}-{number}")
        other_labels.update(row.other_labels())
        return example
    except ValidationError as e:
        return reject_row(path, number, format_validation_error(e), line, _HINT)
