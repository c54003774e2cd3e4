"""Read records of a CSV or TSV file as mappings from column to cell, in bounded memory.

Quoted cells may contain line breaks. An unclosed quote would take in the rest of the file, so an
invalid record is rejected with its first line only, and reading continues with the next line. So is
a record each of whose lines looks like a row of its own. In a file with tabs a quote is a
character, unless a cell or the header proves that cells are quoted.

    with path.open("rb") as f:
        for row in iter_table_records(f, path, required=("text",)): ...
"""

import csv
import io
import re
import warnings
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Literal, NamedTuple

from gen_msa.data.formats._common import NumberedLine, reject_row
from gen_msa.data.formats.base import FIELDS
from gen_msa.errors import InputWarning, UserError, did_you_mean
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
    return "\t" if path.suffix.lower() == ".tsv" else ","


class Dialect(NamedTuple):
    """How the cells of a file are separated, whether they may be quoted, and where they begin."""

    delimiter: str
    is_quoted: bool = True
    preamble: int = 0
    """Lines before the header that are not blank."""


_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_SAMPLE_BYTES = 1 << 16
_MAX_PREAMBLE_LINES = 50
"""Lines among which the header is searched; exports begin with a title, dates and filters."""
_PROVEN_CELL = re.compile(r'"(?:[^"]|"")*""(?:[^"]|"")*"')
"""A quoted cell with a doubled quote in it."""


def sniff_dialect(file: IO[bytes], path: Path, required: Sequence[str], sep: str = "") -> Dialect:
    """Return how an open file is to be split; its position stays at the start.

    Args:
        file: The file, opened for reading bytes.
        path: Its path, whose suffix decides unless the header has the required columns only with
            another delimiter; that is announced by an `InputWarning`.
        required: Columns that the header must have.
        sep: The delimiter; empty: detected.
    """
    sample = file.read(_SAMPLE_BYTES).removeprefix(_BOM).decode("utf-8", "replace")
    file.seek(0)
    lines = [line for line in sample.splitlines() if line.strip()][:2_000]
    usual = sep or delimiter_of(path)
    delimiter, preamble = next(
        (
            (d, n)
            for n, header in enumerate(lines[:_MAX_PREAMBLE_LINES])
            for d in ((sep,) if sep else (usual, *_DELIMITERS))
            if set(required) <= set(_field_names(_split(header, d), required))
        ),
        (usual, 0),
    )
    if delimiter != usual:
        note = f"{path} is read with {_DELIMITERS[delimiter]} between cells"
        warnings.warn(note, InputWarning, stacklevel=2)
    if preamble:
        note = f"{path}: {preamble} lines before the header are not read: {lines[0][:80]!r} …"
        warnings.warn(InputWarning(note, line=preamble), stacklevel=2)
    is_quoted = delimiter != "\t" or _has_quoted_cells(lines[preamble:])
    return Dialect(delimiter, is_quoted, preamble)


def _field_names(names: Sequence[str], needed: Iterable[str]) -> list[str]:
    """Return the names of columns; `Text` is `text`, unless it is needed, or another column is."""
    fields = {f for f in FIELDS if f not in names}
    renamed = [
        name.lower() if name not in needed and name.lower() in fields else name for name in names
    ]
    pairs = zip(renamed, names, strict=True)
    return [new if renamed.count(new) == 1 else old for new, old in pairs]


def _split(line: str, delimiter: str) -> list[str]:
    try:
        return [c.strip() for c in next(csv.reader([line], delimiter=delimiter), [])]
    except csv.Error:
        return []


def _has_quoted_cells(lines: list[str]) -> bool:
    """Return whether the lines of a file with tabs prove that its cells are quoted."""
    cells = lines[0].split("\t") if lines else []
    if all(c.startswith('"') and c.endswith('"') and len(c) > 1 for c in cells):
        return bool(cells)
    if {"annotator", "provenance"} <= set(cells):  # a file of our own
        return True
    return any(_PROVEN_CELL.fullmatch(c) for line in lines[1:] for c in line.split("\t"))


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
    file: IO[bytes],
    path: Path,
    required: Sequence[str],
    columns: Mapping[str, str] | None = None,
    sep: str = "",
) -> Iterator[TableRecord | Rejected]:
    """Yield every record below the header of an open file.

    Args:
        file: The file, opened for reading bytes.
        path: Its path, for the delimiter and for messages.
        required: Fields that the header must have.
        columns: Name of a field -> name of its column; other fields have their own names. A column
            that has the name of such a field and is not that field becomes `FIELD (2)`, as does
            the second column of one name.
        sep: The character between cells; empty: detected.

    Raises:
        UserError: The header lacks a required or mapped column, or has a column twice.
    """
    columns = columns or {}
    needed = [columns.get(field, field) for field in required]
    needed += [c for c in columns.values() if c not in needed]
    dialect = sniff_dialect(file, path, needed, sep)
    stream = _RecordReader(file, path, dialect)
    names: list[str] | None = None
    is_below = False
    stream.skip_lines(dialect.preamble)
    for item in stream:
        if isinstance(item, Rejected):
            yield item
        elif names is None:
            names = _column_names(path, item, needed, columns)
            stream.n_columns = len(names)
        elif not is_below and _is_second_header(item):
            is_below = True
            note = f"{path}: line {stream.position()[0]} is a second header, and is not read"
            warnings.warn(InputWarning(note, line=1), stacklevel=2)
        elif len(item) != len(names):
            reason = f"{_count(len(item), 'cell')} for {_count(len(names), 'column')}"
            yield stream.reject_first_line(reason)
        else:
            is_below = True
            line, raw = stream.position()
            yield TableRecord(line, dict(zip(names, item, strict=True)), raw)


_SECOND_HEADERS = frozenset({"response", "open-ended response", "other (please specify)"})
"""Cells of the second line of a survey's export, which has no respondent."""


def _is_second_header(cells: Sequence[str]) -> bool:
    contents = {c.strip().casefold() for c in cells} - {""}
    return bool(contents) and contents <= _SECOND_HEADERS and not cells[0].strip()


def _column_names(
    path: Path, header: list[str], needed: Sequence[str], columns: Mapping[str, str]
) -> list[str]:
    names = _field_names([c.strip() for c in header], columns.values())
    for name in needed:
        if name not in names:
            suggestion = did_you_mean(name, names)
            raise UserError(
                f"{path} has no column {name!r}",
                hint=f"{suggestion}; name it: --map text=COLUMN; or use --format NAME",
            )
    duplicates = sorted({c for c in names if names.count(c) > 1 and c in {*needed, *FIELDS}})
    if duplicates:
        raise UserError(
            f"{path} has two columns named {duplicates[0]!r}", hint="rename one of them"
        )
    field_by_column = {column: field for field, column in columns.items()}
    unique: list[str] = []
    for number, name in enumerate(names, 1):
        label = field_by_column.get(name) or name or f"column {number}"
        is_displaced = name in columns and name not in field_by_column
        copy = 2
        while label in unique or is_displaced:
            label, copy, is_displaced = f"{name or 'column'} ({copy})", copy + 1, False
        unique.append(label)
    return unique


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


class _RecordTooLong(Exception):
    """A record is over the limit, so one of its quotes is probably not closed."""


class _RecordReader:
    """Cells of one record after another; a record can be rejected after its first line."""

    def __init__(self, file: IO[bytes], path: Path, dialect: Dialect) -> None:
        self._path = path
        self._dialect = dialect
        self.n_columns = 0
        """Columns of the header; 0 until it has been read."""
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

    def skip_lines(self, count: int) -> None:
        """Skip the next `count` lines that are not blank."""
        while count and (line := self._next_line()) is not None:
            count -= isinstance(line, Rejected) or bool(line[1].strip())

    def position(self) -> tuple[int, bytes]:
        """Return the first line's number and all bytes of the current record."""
        return self._current_lines[0][0], b"".join(b for _, b in self._current_lines)

    def reject_first_line(self, reason: str, hint: str = _HINT) -> Rejected:
        """Reject the first line of the current record; its other lines are read again."""
        (number, first), *other_lines = self._current_lines
        self._pushed_back.extendleft(reversed(other_lines))
        return reject_row(self._path, number, reason, first.rstrip(b"\r\n"), hint)

    def _parse_cells(self) -> list[str] | Rejected:
        delimiter = self._dialect.delimiter
        quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if self._dialect.is_quoted else csv.QUOTE_NONE
        reader = csv.reader(
            self._iter_text_lines(), delimiter=delimiter, quoting=quoting, strict=True
        )
        try:
            cells = next(reader)
        except UnicodeDecodeError as e:
            return self.reject_first_line(str(e), "name the encoding, such as --encoding gb18030")
        except (csv.Error, _RecordTooLong) as e:
            return self.reject_first_line(str(e))
        if len(self._current_lines) > 1 and self._joins_rows(cells):
            return self.reject_first_line("a quoted cell holds what look like rows: is it closed?")
        return cells

    def _joins_rows(self, cells: list[str]) -> bool:
        """Return whether a record of several lines is rather several rows with stray quotes."""
        delimiter = self._dialect.delimiter
        if delimiter == "\t" and any("\n" in c and "\t" in c for c in cells):
            return True
        n_delimiters = [line.count(delimiter.encode()) for _, line in self._current_lines]
        return self.n_columns > 2 and all(n == self.n_columns - 1 for n in n_delimiters)

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
