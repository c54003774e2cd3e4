"""Read records of a CSV or TSV file as mappings from column to cell, in bounded memory.

Quoted cells may contain line breaks. An unclosed quote would take in the rest of the file, so an
invalid record is rejected with its first line only, and reading continues with the next line.

    with path.open("rb") as f:
        for row in iter_table_records(f, path, required=("text",)): ...
"""

import csv
import io
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

from gen_msa.data.formats._common import NumberedLine, reject_row
from gen_msa.errors import UserError, did_you_mean
from gen_msa.jsonl import MAX_LINE_BYTES
from gen_msa.types import Rejected

_BOM = b"\xef\xbb\xbf"
_HINT = "give every row as many cells as the header, and close every quote"


class TableRecord(NamedTuple):
    """One record: the 1-based line it starts on, its cells by column, and its bytes."""

    line: int
    cells: dict[str, str]
    raw: bytes


def delimiter_of(path: Path) -> str:
    """Return a tab for `.tsv`, a comma for all other files."""
    return "\t" if path.suffix == ".tsv" else ","


def record_bytes(cells: Iterable[object], path: Path) -> bytes:
    """Return one record as bytes, including the line end.

    Args:
        cells: The cells; None is an empty cell.
        path: The file, whose suffix decides the delimiter.
    """
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=delimiter_of(path)).writerow(cells)
    return out.getvalue().encode()


def iter_table_records(
    file: IO[bytes], path: Path, required: Sequence[str]
) -> Iterator[TableRecord | Rejected]:
    """Yield every record below the header of an open file.

    Args:
        file: The file, opened for reading bytes.
        path: Its path, for the delimiter and for messages.
        required: Columns that the header must have.

    Raises:
        UserError: The header lacks a required column, or has a column twice.
    """
    stream = _RecordReader(file, path)
    columns: list[str] | None = None
    for item in stream:
        if isinstance(item, Rejected):
            yield item
        elif columns is None:
            columns = _columns(path, item, required)
        elif len(item) != len(columns):
            yield stream.reject_first_line(f"{len(item)} cells for {len(columns)} columns")
        else:
            line, raw = stream.position()
            yield TableRecord(line, dict(zip(columns, item, strict=True)), raw)


def _columns(path: Path, header: list[str], required: Sequence[str]) -> list[str]:
    columns = [c.strip() for c in header]
    for name in required:
        if name not in columns:
            suggestion = did_you_mean(name, columns)
            raise UserError(
                f"{path} has no column {name!r}", hint=f"{suggestion}; or use --format NAME"
            )
    duplicates = sorted({c for c in columns if columns.count(c) > 1})
    if duplicates:
        raise UserError(
            f"{path} has two columns named {duplicates[0]!r}", hint="rename one of them"
        )
    return columns


class _RecordTooLong(Exception):
    """A record is over the limit, so one of its quotes is probably not closed."""


class _RecordReader:
    """Cells of one record after another; a record can be rejected after its first line."""

    def __init__(self, file: IO[bytes], path: Path) -> None:
        self._path = path
        self._lines = _bounded_lines(file, path)
        self._pushed_back: deque[NumberedLine | Rejected] = deque()
        self._current_lines: list[NumberedLine] = []
        # The csv module's limit (128 kB per cell) is global and lower than MAX_LINE_BYTES.
        csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE_BYTES))

    def __iter__(self) -> Iterator[list[str] | Rejected]:
        while (line := self._next_line()) is not None:
            if isinstance(line, Rejected):
                yield line
            elif line[1].strip():
                self._current_lines = [line]
                yield self._parse_cells()

    def position(self) -> tuple[int, bytes]:
        """Return the first line's number and all bytes of the current record."""
        return self._current_lines[0][0], b"".join(b for _, b in self._current_lines)

    def reject_first_line(self, reason: str) -> Rejected:
        """Reject the first line of the current record; its other lines are read again."""
        (number, first), *other_lines = self._current_lines
        self._pushed_back.extendleft(reversed(other_lines))
        return reject_row(self._path, number, reason, first.rstrip(b"\r\n"), _HINT)

    def _parse_cells(self) -> list[str] | Rejected:
        reader = csv.reader(
            self._iter_text_lines(), delimiter=delimiter_of(self._path), strict=True
        )
        try:
            return next(reader)
        except (csv.Error, UnicodeDecodeError, _RecordTooLong) as e:
            return self.reject_first_line(str(e))

    def _iter_text_lines(self) -> Iterator[str]:
        yield self._current_lines[0][1].decode()
        size = len(self._current_lines[0][1])
        while (line := self._next_line()) is not None:
            if isinstance(line, Rejected):
                self._pushed_back.appendleft(line)
                raise _RecordTooLong("a quoted cell has an overlong line")
            self._current_lines.append(line)
            size += len(line[1])
            if size > MAX_LINE_BYTES:
                raise _RecordTooLong(
                    f"record over the limit of {MAX_LINE_BYTES} bytes: is a quote not closed?"
                )
            yield line[1].decode()

    def _next_line(self) -> NumberedLine | Rejected | None:
        return self._pushed_back.popleft() if self._pushed_back else next(self._lines, None)


def _bounded_lines(file: IO[bytes], path: Path) -> Iterator[NumberedLine | Rejected]:
    """Yield lines with their ends, including blank ones, which matter inside a quoted cell."""
    number = 0
    while chunk := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(chunk) <= MAX_LINE_BYTES:
            yield number, chunk.removeprefix(_BOM) if number == 1 else chunk
            continue
        size, tail = len(chunk), chunk
        while not tail.endswith(b"\n") and (tail := file.readline(MAX_LINE_BYTES)):
            size += len(tail)
        reason = f"line of {size} bytes is over the limit of {MAX_LINE_BYTES}"
        yield reject_row(path, number, reason, chunk, "split the post")
