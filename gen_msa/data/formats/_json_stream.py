"""Read the records of a JSON file one by one, in bounded memory.

A file is an array of objects, JSON lines, or objects of several lines each, often only one. The
bytes are split at the commas of the outermost array, or behind the bracket of each object, without
parsing. A record over the size limit is rejected and never held in memory. A record with a missing
quote ends with its line; one with a missing bracket includes the records after it, and its message
says so. The name that scripts give an array (`window.YTD.tweets.part0 = [`) is skipped.

    for item in iter_records(Path("llava.json")): ...         # (number, bytes) | Rejected
"""

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from pydantic import ValidationError
from pydantic_core import from_json

from gen_msa.data.formats._common import NumberedLine, reject_row
from gen_msa.data.formats.base import ExampleStream
from gen_msa.jsonl import (
    DUPLICATE_KEY_HINT,
    MAX_LINE_BYTES,
    DuplicateKey,
    atomic_write,
    check_duplicate_keys,
    format_validation_error,
    read_lines,
)
from gen_msa.types import Example, Rejected

_CHUNK = 1 << 16
_BOM = b"\xef\xbb\xbf"

_OUTSIDE_STRING = re.compile(rb'["\[\]{},]')
# A JSON string has no raw line break: if there is one, a closing quote is missing.
_INSIDE_STRING = re.compile(rb'["\\\n]')


_SCRIPT_NAME = re.compile(rb"\A[\w.$]{1,200}\s{0,9}=\s{0,9}(?=\[)")
"""The name that a script gives to an array."""


def iter_records(path: Path, limit: int = MAX_LINE_BYTES) -> Iterator[NumberedLine | Rejected]:
    """Yield the bytes of every record with its 1-based number (its line, for JSON lines).

    Args:
        path: The file.
        limit: Largest record in bytes.
    """
    return unique_keys(path, _split_records(path, limit))


def unique_keys(
    path: Path, items: Iterable[NumberedLine | Rejected]
) -> Iterator[NumberedLine | Rejected]:
    """Reject the records in which an object has a key twice; let all others pass.

    Args:
        path: The file, for messages.
        items: Numbered records.

    Yields:
        Each record, or `Rejected` in its place.
    """
    for item in items:
        if isinstance(item, Rejected):
            yield item
            continue
        number, raw = item
        try:
            check_duplicate_keys(raw.removeprefix(_BOM))
        except DuplicateKey as e:
            yield reject_row(path, number, str(e), raw, DUPLICATE_KEY_HINT)
        else:
            yield item


def _split_records(path: Path, limit: int) -> Iterator[NumberedLine | Rejected]:
    with path.open("rb") as f:
        head = _without_script_name(_content(f.read(_CHUNK)))
        if head.startswith(b"["):
            yield from _RecordSplitter(path, f, head[1:], limit, is_array=True)
            return
        if _begins_with_long_object(head):
            yield from _RecordSplitter(path, f, head, limit, is_array=False)
            return
    yield from read_lines(path, limit)


def _without_script_name(head: bytes) -> bytes:
    match = _SCRIPT_NAME.match(head)
    return head[match.end() :] if match else head


def _content(head: bytes) -> bytes:
    return head.removeprefix(_BOM).lstrip()


def _begins_with_long_object(head: bytes) -> bool:
    """Return whether a file begins with an object of several lines."""
    first, *others = [line for line in head.split(b"\n") if line.strip()][:2] or [b""]
    if not first.startswith(b"{") or _parse_or_none(first) is not None:
        return False
    return first.strip() == b"{" or any(line[:1] in b' \t"}' for line in others)


def first_record(head: bytes) -> dict[str, Any]:
    """Return the first record of a JSON file, as far as it is there; {} if there is none.

    Args:
        head: The first bytes of the file.
    """
    text = _without_script_name(_content(head))
    if text.startswith(b"{") and not _begins_with_long_object(text):
        text = text.split(b"\n")[0]
    value = _parse_or_none(text, allow_partial=True)
    if isinstance(value, list):
        value = next((v for v in value if isinstance(v, dict)), None)
    return value if isinstance(value, dict) else {}


def _parse_or_none(text: bytes, *, allow_partial: bool = False) -> Any:
    try:
        whole_characters = text.decode("utf-8", "ignore")
        mode = "trailing-strings" if allow_partial else "off"
        return from_json(whole_characters, allow_partial=mode)  # type: ignore[arg-type]
    except ValueError:
        return None


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
    return parse_collections(path, items, lambda raw, number: [build_example(raw, number)])


def parse_collections(
    path: Path,
    items: Iterable[NumberedLine | Rejected],
    build_examples: Callable[[bytes, int], Iterable[Example | Rejected]],
    hint: str = "the docstring of gen_msa.data.formats describes the keys of each format",
) -> ExampleStream:
    """Parse records of several posts each.

    Args:
        path: The file, for messages.
        items: Numbered records.
        build_examples: Builds the examples from bytes and number; raises `ValueError` for a bad
            record.
        hint: What a bad record needs.

    Yields:
        The examples of each record, or `Rejected`, in the order of the file.
    """
    for item in items:
        if isinstance(item, Rejected):
            yield item
            continue
        number, raw = item
        try:
            yield from build_examples(raw, number)
        except ValueError as e:
            reason = format_validation_error(e) if isinstance(e, ValidationError) else str(e)
            yield reject_row(path, number, reason, raw, hint)


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
    """Splits an array, or a row of objects, by nesting depth and whether it is inside a string."""

    def __init__(
        self, path: Path, file: IO[bytes], head: bytes, limit: int, *, is_array: bool
    ) -> None:
        self._path = path
        self._file = file
        self._head = head
        self._limit = limit
        self._is_array = is_array
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
                begin = at + self._is_array
                if self._is_array and chunk[at : at + 1] == b"]":
                    yield from self._reject_rest(chunk[begin:])
                    return
            self._append(chunk[begin:])
            chunk = self._file.read(_CHUNK)
        yield from self._flush()
        if not self._is_array:
            return
        hint = "is the file cut off, or a bracket missing?"
        yield reject_row(self._path, self._number, "the JSON array has no end", b"", hint)

    def _reject_rest(self, rest: bytes) -> Iterator[Rejected]:
        """Reject what stands behind the end of the array."""
        rest = (rest + self._file.read(_CHUNK)).strip().strip(b";")
        if rest:
            reason = "the JSON array ends here, and more follows, which was not read"
            hint = "is it one file? Put all records into one array, or one on each line"
            yield reject_row(self._path, self._number + 1, reason, rest, hint)

    def _boundaries(self, chunk: bytes) -> Iterator[int]:
        """Yield where a comma ends a record, or a bracket ends the array or an object."""
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
            elif self._is_array and self._depth == 0 and token != b"}":
                yield match.start()
            elif token != b",":
                self._depth = max(0, self._depth - 1)
                if not self._is_array and self._depth == 0:
                    yield match.end()
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
        remaining = (self._limit if self._size <= self._limit else 500) - len(self._record)
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
        if size > self._limit:
            reason = f"record of {size} bytes is over the limit of {self._limit}"
            yield reject_row(self._path, self._number, reason, record, "split the post")
        else:
            yield self._number, record
