"""The part of a job that one shard writes: its rows with what was read of them, then a footer.

A part holds all that the whole job's files are made of, so that `merging` makes them as one job
would. It is no file of examples: what a gate refused is in it. It stands whole or not at all, and
its footer says of which posts, by which reader, with which settings. Knows nothing of gates.

    with part_file(path) as part: part.write(chunk, readings); part.close(footer)
    for number, chunk, readings in chunks_of(path): ...
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import IO, Any, Literal

from pydantic import JsonValue, ValidationError

from gen_msa import jsonl
from gen_msa.annotating._output import Counts
from gen_msa.annotating._rows import Chunk
from gen_msa.errors import UserError
from gen_msa.readers import Reading
from gen_msa.types import Example, Noun, Opinion, Rejected

LONGEST = 1 << 28
"""Bytes of a line: a post with every answer that was ever given to it."""


class Footer(Noun):
    """The last line of a part: what it belongs to."""

    part: Literal["gen_msa part, version 1"] = "gen_msa part, version 1"
    verb: Literal["explain", "annotate"]
    shard: int
    of: int
    data: str
    media_root: str
    data_sha256: str
    """Of every row of the source, the other shards' too."""
    rows: int
    """Of the whole source."""
    chunks: int
    """Of the whole source."""
    reader: dict[str, JsonValue]
    """The fingerprint."""
    settings: dict[str, Any]
    repeated: int
    seconds: float
    sha256: str
    """Of every line before this one."""


class _Row(Noun):
    """One row of the source: a post and what was read of it, or why it was set aside."""

    chunk: int
    number: int = 0
    example: Example | None = None
    opinions: tuple[Opinion, ...] = ()
    refused: str = ""
    mend: str = ""
    rejected: Rejected | None = None


class PartFile:
    """A part that is being written."""

    def __init__(self, file: IO[bytes]) -> None:
        self.counts = Counts()
        """Before the gates' last look, which is taken when parts are merged."""
        self.posts = hashlib.sha256()
        self._file = file
        self._lines = hashlib.sha256()

    def write(self, chunk: Chunk, readings: Sequence[Reading]) -> None:
        """Add one chunk. `readings` are of its examples, in order."""
        for row in chunk.rejected:
            self._put(_Row(chunk=chunk.index, rejected=row))
        self.counts.rejected += len(chunk.rejected)
        for number, e, r in zip(chunk.numbers, chunk.examples, readings, strict=True):
            said = {"opinions": r.opinions, "refused": r.refused, "mend": r.mend}
            self._put(_Row(chunk=chunk.index, number=number, example=e, **said))
            if r.refused:
                self.counts.rejected += 1
            else:
                self.counts.written += 1
                self.counts.add(r.opinions, r.opinions)
                self.posts.update(e.post.model_dump_json().encode())
        self.counts.rows = self.counts.written + self.counts.rejected

    def close(self, **facts: Any) -> None:
        """Write the footer; `facts` are its fields but for the hash and the counts."""
        own = {"repeated": self.counts.repeated, "sha256": self._lines.hexdigest()}
        footer = Footer(**facts, **own)
        self._file.write(footer.model_dump_json().encode() + b"\n")

    def _put(self, row: _Row) -> None:
        line = row.model_dump_json(exclude_defaults=True).encode() + b"\n"
        self._lines.update(line)
        self._file.write(line)


@contextmanager
def part_file(path: Path) -> Iterator[PartFile]:
    """A part at `path`, there when the block ends well."""
    with jsonl.whole(path) as file:
        yield PartFile(file)


def footer_of(path: Path) -> Footer:
    """The footer of a part whose lines are as they were written; reads the whole file.

    Raises `UserError` for what is no part, was cut, or was altered.
    """
    hashed, last = hashlib.sha256(), b""
    try:
        with path.open("rb") as f:
            while line := f.readline(LONGEST):
                hashed.update(last)
                last = line
        footer = Footer.model_validate_json(last)
    except OSError as e:
        raise UserError(f"{path} cannot be read: {e}", mend="name the parts of every shard") from e
    except ValidationError:
        raise UserError(
            f"{path} is not a whole part: its last line is no footer",
            mend="copy it again, or run its shard again: what was answered is kept in its ledger",
        ) from None
    if hashed.hexdigest() != footer.sha256:
        raise UserError(
            f"{path} was altered: its lines are not those its footer was made for",
            mend=f"copy it again, or run --shard {footer.shard}/{footer.of} again",
        )
    return footer


def chunks_of(path: Path) -> Iterator[tuple[int, Chunk, list[Reading]]]:
    """Each chunk of a checked part with its number and its readings, in order."""
    rows = (r for item in jsonl.lines(path, LONGEST) if (r := _row(item)) is not None)
    for number, group in groupby(rows, key=lambda r: r.chunk):
        chunk, readings = Chunk(index=number), []
        for row in group:
            if row.rejected is not None:
                chunk.rejected.append(row.rejected)
            elif row.example is not None:
                chunk.examples.append(row.example)
                chunk.numbers.append(row.number)
                readings.append(Reading(row.opinions, row.refused, row.mend))
        yield number, chunk, readings


def _row(item: tuple[int, bytes] | Rejected) -> _Row | None:
    """A line as a row; None for the footer."""
    if isinstance(item, Rejected):
        raise UserError(f"{item.file}: {item.reason}")
    line = item[1]
    return _Row.model_validate_json(line) if line.startswith(b'{"chunk"') else None
