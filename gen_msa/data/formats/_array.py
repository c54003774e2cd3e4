"""The records of a JSON file one by one: an array of objects, or JSON lines, in bounded memory.

Cuts the bytes at the commas of the outermost array without parsing them; knows nothing of what a
record means. A record over the limit is set aside and never held. A record that lost a quote is
taken to end with its line; one that lost a bracket takes the records after it with it, and says
so.

    for item in records(Path("llava.json")): ...         # (number, bytes) | Rejected
"""

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO

from pydantic import ValidationError

from gen_msa.data.formats._rows import Line, Rows, rejected
from gen_msa.jsonl import MAX_LINE, lines, reason_of, whole
from gen_msa.types import Example, Rejected

_CHUNK = 1 << 16
_BOM = b"\xef\xbb\xbf"

_OUTSIDE = re.compile(rb'["\[\]{},]')
# A JSON string holds no raw line break: one that is met means that a closing quote was lost.
_INSIDE = re.compile(rb'["\\\n]')


def records(path: Path) -> Iterator[Line | Rejected]:
    """Every record's bytes with its 1-based number (its line, for JSON lines)."""
    with path.open("rb") as f:
        head = f.read(_CHUNK).removeprefix(_BOM).lstrip()
        if head.startswith(b"["):
            yield from _Cut(path, f, head[1:])
            return
    yield from lines(path)


def parsed(
    path: Path, found: Iterable[Line | Rejected], make: Callable[[bytes, int], Example]
) -> Rows:
    """Every record as the example that `make` reads from its bytes and number, or as `Rejected`.

    `make` raises a `ValueError` (pydantic's included) for a record it cannot read.
    """
    for item in found:
        if isinstance(item, Rejected):
            yield item
            continue
        number, raw = item
        try:
            yield make(raw, number)
        except ValueError as e:
            reason = reason_of(e) if isinstance(e, ValidationError) else str(e)
            yield rejected(path, number, reason, raw, "see the docstring for the keys")


def write_array(path: Path, groups: Iterable[list[bytes]]) -> None:
    """Write records as a JSON array, one a line, so that `diff` and `grep` work on it."""
    with whole(path) as f:
        f.write(b"[")
        lead = b"\n"
        for record in (r for group in groups for r in group):
            f.write(lead + record)
            lead = b",\n"
        f.write(b"\n]\n")


class _Cut:
    """Walks over the bytes and knows only how deep it stands and whether inside a string."""

    def __init__(self, path: Path, file: IO[bytes], head: bytes) -> None:
        self._path = path
        self._file = file
        self._head = head
        self._depth = 0
        self._quoted = False
        self._skip = 0
        """Bytes at the start of the next chunk that a backslash has already taken."""
        self._record = bytearray()
        self._size = 0
        self._number = 0

    def __iter__(self) -> Iterator[Line | Rejected]:
        chunk = self._head + self._file.read(_CHUNK)
        while chunk:
            begin = 0
            for at in self._cuts(chunk):
                self._keep(chunk[begin:at])
                yield from self._done()
                begin = at + 1
                if chunk[at : at + 1] == b"]":
                    return
            self._keep(chunk[begin:])
            chunk = self._file.read(_CHUNK)
        yield from self._done()
        mend = "is the file cut off, or a bracket missing?"
        yield rejected(self._path, self._number, "the JSON array has no end", b"", mend)

    def _cuts(self, chunk: bytes) -> Iterator[int]:
        """Where a comma ends a record, or the bracket the array."""
        at, self._skip = self._skip, 0
        while found := (_INSIDE if self._quoted else _OUTSIDE).search(chunk, at):
            token, at = found.group(), found.end()
            if self._quoted:
                at = self._inside(token, at)
                if token == b"\n":
                    yield found.start()
            elif token == b'"':
                self._quoted = True
            elif token in b"[{":
                self._depth += 1
            elif self._depth == 0 and token != b"}":
                yield found.start()
            elif token != b",":
                self._depth = max(0, self._depth - 1)
        self._skip = max(0, at - len(chunk))

    def _inside(self, token: bytes, at: int) -> int:
        if token == b"\\":
            return at + 1
        self._quoted = False
        if token == b"\n":
            self._depth = 0
        return at

    def _keep(self, piece: bytes) -> None:
        self._size += len(piece)
        room = (MAX_LINE if self._size <= MAX_LINE else 500) - len(self._record)
        if room < 0:
            del self._record[500:]
        self._record += piece[: max(0, room)]

    def _done(self) -> Iterator[Line | Rejected]:
        record, size = bytes(self._record).strip(), self._size
        self._record.clear()
        self._size = 0
        if not record:
            return
        self._number += 1
        if size > MAX_LINE:
            reason = f"record of {size} bytes is over the limit of {MAX_LINE}"
            yield rejected(self._path, self._number, reason, record, "split the post")
        else:
            yield self._number, record
