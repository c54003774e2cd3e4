"""Rows of a CSV or TSV file as mappings from column to cell, in bounded memory.

Knows nothing of what a column means. Cells may hold line breaks inside quotes. A quote that is
never closed would swallow the rest of the file: a record that breaks the rules is given up after
its first line, and reading goes on with the next line.

    with path.open("rb") as f:
        for row in records(f, path, need=("text",)): ...
"""

import csv
import io
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

from gen_msa.data.formats._rows import Line, rejected
from gen_msa.errors import UserError, did_you_mean
from gen_msa.jsonl import MAX_LINE
from gen_msa.types import Rejected

_BOM = b"\xef\xbb\xbf"
_MEND = "give every row as many cells as the header, and close every quote"


class Record(NamedTuple):
    """One record: the 1-based line it starts on, its cells by column, and its bytes."""

    line: int
    cells: dict[str, str]
    raw: bytes


def delimiter_of(path: Path) -> str:
    """A tab for `.tsv`, a comma for everything else."""
    return "\t" if path.suffix == ".tsv" else ","


def record_bytes(cells: Iterable[object], path: Path) -> bytes:
    """One record as it lies in the file, line end included. None is an empty cell."""
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=delimiter_of(path)).writerow(cells)
    return out.getvalue().encode()


def records(file: IO[bytes], path: Path, need: Sequence[str]) -> Iterator[Record | Rejected]:
    """Every record below the header of an open file; `path` tells its delimiter and its name.

    Raises `UserError` when the header lacks a column of `need` or names one twice.
    """
    stream = _Stream(file, path)
    columns: list[str] | None = None
    for item in stream:
        if isinstance(item, Rejected):
            yield item
        elif columns is None:
            columns = _columns(path, item, need)
        elif len(item) != len(columns):
            yield stream.give_up(f"{len(item)} cells for {len(columns)} columns")
        else:
            line, raw = stream.place()
            yield Record(line, dict(zip(columns, item, strict=True)), raw)


def _columns(path: Path, header: list[str], need: Sequence[str]) -> list[str]:
    columns = [c.strip() for c in header]
    for name in need:
        if name not in columns:
            known = did_you_mean(name, columns)
            raise UserError(f"{path} has no column {name!r}", mend=f"{known}; or say --format NAME")
    twice = sorted({c for c in columns if columns.count(c) > 1})
    if twice:
        raise UserError(f"{path} has two columns named {twice[0]!r}", mend="rename one of them")
    return columns


class _TooLong(Exception):
    """A record grew over the limit, so its quotes are not to be trusted."""


class _Stream:
    """The cells of one record after another; a record can be given up after its first line."""

    def __init__(self, file: IO[bytes], path: Path) -> None:
        self._path = path
        self._lines = _whole_lines(file, path)
        self._again: deque[Line | Rejected] = deque()
        self._held: list[Line] = []
        # The csv module's own limit (128 kB a cell) is global and lower than the house's.
        csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE))

    def __iter__(self) -> Iterator[list[str] | Rejected]:
        while (line := self._next()) is not None:
            if isinstance(line, Rejected):
                yield line
            elif line[1].strip():
                self._held = [line]
                yield self._cells()

    def place(self) -> tuple[int, bytes]:
        """The first line's number and all the bytes of the record just given."""
        return self._held[0][0], b"".join(b for _, b in self._held)

    def give_up(self, reason: str) -> Rejected:
        """Reject the first line of the record just given; its other lines are read anew."""
        (number, first), *others = self._held
        self._again.extendleft(reversed(others))
        return rejected(self._path, number, reason, first.rstrip(b"\r\n"), _MEND)

    def _cells(self) -> list[str] | Rejected:
        reader = csv.reader(self._feed(), delimiter=delimiter_of(self._path), strict=True)
        try:
            return next(reader)
        except (csv.Error, UnicodeDecodeError, _TooLong) as e:
            return self.give_up(str(e))

    def _feed(self) -> Iterator[str]:
        yield self._held[0][1].decode()
        size = len(self._held[0][1])
        while (line := self._next()) is not None:
            if isinstance(line, Rejected):
                self._again.appendleft(line)
                raise _TooLong("an overlong line stands in a quoted cell")
            self._held.append(line)
            size += len(line[1])
            if size > MAX_LINE:
                raise _TooLong(f"record over the limit of {MAX_LINE} bytes: is a quote not closed?")
            yield line[1].decode()

    def _next(self) -> Line | Rejected | None:
        return self._again.popleft() if self._again else next(self._lines, None)


def _whole_lines(file: IO[bytes], path: Path) -> Iterator[Line | Rejected]:
    """Lines with their ends, blank ones too: inside a quoted cell both matter."""
    number = 0
    while chunk := file.readline(MAX_LINE + 1):
        number += 1
        if len(chunk) <= MAX_LINE:
            yield number, chunk.removeprefix(_BOM) if number == 1 else chunk
            continue
        size, rest = len(chunk), chunk
        while not rest.endswith(b"\n") and (rest := file.readline(MAX_LINE)):
            size += len(rest)
        reason = f"line of {size} bytes is over the limit of {MAX_LINE}"
        yield rejected(path, number, reason, chunk, "split the post")
