"""Read the records of a JSON file one by one, an array of objects or JSON lines, in bounded memory.

The bytes are split at the commas of the outermost array without parsing. A record over the size
limit is rejected and never held in memory. A record with a missing quote ends with its line; one
with a missing bracket includes the records after it, and its message says so.

    for item in iter_records(Path("llava.json")): ...         # (number, bytes) | Rejected
"""

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO

from pydantic import ValidationError

from gen_msa.data.formats._common import NumberedLine, reject_row
from gen_msa.data.formats.base import ExampleStream
from gen_msa.jsonl import MAX_LINE_BYTES, atomic_write, format_validation_error, read_lines
from gen_msa.types import Example, Rejected

_CHUNK = 1 << 16
_BOM = b"\xef\xbb\xbf"

_OUTSIDE_STRING = re.compile(rb'["\[\]{},]')
# A JSON string has no raw line break: if there is one, a closing quote is missing.
_INSIDE_STRING = re.compile(rb'["\\\n]')


def iter_records(path: Path) -> Iterator[NumberedLine | Rejected]:
    """Yield the bytes of every record with its 1-based number (its line, for JSON lines)."""
    with path.open("rb") as f:
        head = f.read(_CHUNK).removeprefix(_BOM).lstrip()
        if head.startswith(b"["):
            yield from _RecordSplitter(path, f, head[1:])
            return
    yield from read_lines(path)


def parse_records(
    path: Path,
    items: Iterable[NumberedLine | Rejected],
    build_example: Callable[[bytes, int], Example],
) -> ExampleStream:
    """Parse every record to an example or to `Rejected`.

    Args:
        path: The file, for messages.
        items: Numbered records.
        build_example: Builds the example from bytes and number; raises `ValueError` for a bad
            record.

    Yields:
        The example of each record, or `Rejected`, in the order of the file.
    """
    for item in items:
        if isinstance(item, Rejected):
            yield item
            continue
        number, raw = item
        try:
            yield build_example(raw, number)
        except ValueError as e:
            reason = format_validation_error(e) if isinstance(e, ValidationError) else str(e)
            yield reject_row(
                path,
                number,
                reason,
                raw,
                "the docstring of gen_msa.data.formats describes the keys of each format",
            )


def write_array(path: Path, groups: Iterable[list[bytes]]) -> None:
    """Write records as a JSON array, one per line, so that `diff` and `grep` work on it.

    Args:
        path: The file to write.
        groups: The records of each example.
    """
    with atomic_write(path) as f:
        f.write(b"[")
        separator = b"\n"
        for record in (r for group in groups for r in group):
            f.write(separator + record)
            separator = b",\n"
        f.write(b"\n]\n")


class _RecordSplitter:
    """Splits an array by tracking only the nesting depth and whether it is inside a string."""

    def __init__(self, path: Path, file: IO[bytes], head: bytes) -> None:
        self._path = path
        self._file = file
        self._head = head
        self._depth = 0
        self._in_string = False
        self._skip = 0
        """Bytes at the start of the next chunk that a backslash escapes."""
        self._record = bytearray()
        self._size = 0
        self._number = 0

    def __iter__(self) -> Iterator[NumberedLine | Rejected]:
        chunk = self._head + self._file.read(_CHUNK)
        while chunk:
            begin = 0
            for at in self._boundaries(chunk):
                self._append(chunk[begin:at])
                yield from self._flush()
                begin = at + 1
                if chunk[at : at + 1] == b"]":
                    return
            self._append(chunk[begin:])
            chunk = self._file.read(_CHUNK)
        yield from self._flush()
        hint = "is the file cut off, or a bracket missing?"
        yield reject_row(self._path, self._number, "the JSON array has no end", b"", hint)

    def _boundaries(self, chunk: bytes) -> Iterator[int]:
        """Yield where a comma ends a record, or the bracket ends the array."""
        at, self._skip = self._skip, 0
        while match := (_INSIDE_STRING if self._in_string else _OUTSIDE_STRING).search(chunk, at):
            token, at = match.group(), match.end()
            if self._in_string:
                at = self._advance_in_string(token, at)
                if token == b"\n":
                    yield match.start()
            elif token == b'"':
                self._in_string = True
            elif token in b"[{":
                self._depth += 1
            elif self._depth == 0 and token != b"}":
                yield match.start()
            elif token != b",":
                self._depth = max(0, self._depth - 1)
        self._skip = max(0, at - len(chunk))

    def _advance_in_string(self, token: bytes, at: int) -> int:
        if token == b"\\":
            return at + 1
        self._in_string = False
        if token == b"\n":
            self._depth = 0
        return at

    def _append(self, piece: bytes) -> None:
        self._size += len(piece)
        remaining = (MAX_LINE_BYTES if self._size <= MAX_LINE_BYTES else 500) - len(self._record)
        if remaining < 0:
            del self._record[500:]
        self._record += piece[: max(0, remaining)]

    def _flush(self) -> Iterator[NumberedLine | Rejected]:
        record, size = bytes(self._record).strip(), self._size
        self._record.clear()
        self._size = 0
        if not record:
            return
        self._number += 1
        if size > MAX_LINE_BYTES:
            reason = f"record of {size} bytes is over the limit of {MAX_LINE_BYTES}"
            yield reject_row(self._path, self._number, reason, record, "split the post")
        else:
            yield self._number, record
