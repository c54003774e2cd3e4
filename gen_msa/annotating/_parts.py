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
from gen_msa.annotating._output import JobCounts
from gen_msa.annotating._rows import Chunk
from gen_msa.errors import UserError
from gen_msa.readers import Prediction
from gen_msa.types import Example, FrozenModel, Opinion, Rejected

MAX_SHARD_LINE_BYTES = 1 << 28
"""Bytes of a line: a post with every answer that was ever given to it."""


class ShardFooter(FrozenModel):
    """The last line of a part: what it belongs to."""

    part: Literal["gen_msa part, version 1"] = "gen_msa part, version 1"
    verb: Literal["explain", "annotate"]
    shard: int
    n_shards: int
    data: str
    media_root: str
    data_sha256: str
    """Of every row of the source, the other shards' too."""
    rows: int
    """Of the whole source."""
    chunks: int
    """Of the whole source."""
    fingerprint: dict[str, JsonValue]
    """The fingerprint."""
    settings: dict[str, Any]
    from_cache: int
    seconds: float
    sha256: str
    """Of every line before this one."""


class _ShardRow(FrozenModel):
    """One row of the source: a post and what was read of it, or why it was set aside."""

    chunk: int
    number: int = 0
    example: Example | None = None
    opinions: tuple[Opinion, ...] = ()
    rejection: str = ""
    hint: str = ""
    rejected: Rejected | None = None


class ShardWriter:
    """A part that is being written."""

    def __init__(self, file: IO[bytes]) -> None:
        self.counts = JobCounts()
        """Before the gates' last look, which is taken when parts are merged."""
        self.posts = hashlib.sha256()
        self._file = file
        self._lines_hash = hashlib.sha256()

    def write(self, chunk: Chunk, predictions: Sequence[Prediction]) -> None:
        """Add one chunk. `readings` are of its examples, in order."""
        for row in chunk.rejected:
            self._write_row(_ShardRow(chunk=chunk.index, rejected=row))
        self.counts.rejected += len(chunk.rejected)
        for number, example, prediction in zip(chunk.row_numbers, chunk.examples, predictions, strict=True):
            prediction_fields = {"opinions": prediction.opinions, "refused": prediction.rejection, "mend": prediction.hint}
            self._write_row(_ShardRow(chunk=chunk.index, number=number, example=example, **prediction_fields))
            if prediction.rejection:
                self.counts.rejected += 1
            else:
                self.counts.written += 1
                self.counts.add(prediction.opinions, prediction.opinions)
                self.posts.update(example.post.model_dump_json().encode())
        self.counts.rows = self.counts.written + self.counts.rejected

    def close(self, **facts: Any) -> None:
        """Write the footer; `facts` are its fields but for the hash and the counts."""
        computed = {"repeated": self.counts.from_cache, "sha256": self._lines_hash.hexdigest()}
        footer = ShardFooter(**facts, **computed)
        self._file.write(footer.model_dump_json().encode() + b"\n")

    def _write_row(self, row: _ShardRow) -> None:
        line = row.model_dump_json(exclude_defaults=True).encode() + b"\n"
        self._lines_hash.update(line)
        self._file.write(line)


@contextmanager
def open_shard_writer(path: Path) -> Iterator[ShardWriter]:
    """A part at `path`, there when the block ends well."""
    with jsonl.atomic_write(path) as file:
        yield ShardWriter(file)


def read_footer(path: Path) -> ShardFooter:
    """The footer of a part whose lines are as they were written; reads the whole file.

    Raises `UserError` for what is no part, was cut, or was altered.
    """
    lines_hash, last = hashlib.sha256(), b""
    try:
        with path.open("rb") as f:
            while line := f.readline(MAX_SHARD_LINE_BYTES):
                lines_hash.update(last)
                last = line
        footer = ShardFooter.model_validate_json(last)
    except OSError as e:
        raise UserError(f"{path} cannot be read: {e}", hint="name the parts of every shard") from e
    except ValidationError:
        raise UserError(
            f"{path} is not a whole part: its last line is no footer",
            hint="copy it again, or run its shard again: what was answered is kept in its ledger",
        ) from None
    if lines_hash.hexdigest() != footer.sha256:
        raise UserError(
            f"{path} was altered: its lines are not those its footer was made for",
            hint=f"copy it again, or run --shard {footer.shard}/{footer.n_shards} again",
        )
    return footer


def read_chunks(path: Path) -> Iterator[tuple[int, Chunk, list[Prediction]]]:
    """Each chunk of a checked part with its number and its readings, in order."""
    rows = (r for item in jsonl.read_lines(path, MAX_SHARD_LINE_BYTES) if (r := _parse_row(item)) is not None)
    for chunk_index, group in groupby(rows, key=lambda r: r.chunk):
        chunk, predictions = Chunk(index=chunk_index), []
        for row in group:
            if row.rejected is not None:
                chunk.rejected.append(row.rejected)
            elif row.example is not None:
                chunk.examples.append(row.example)
                chunk.row_numbers.append(row.number)
                predictions.append(Prediction(row.opinions, row.rejection, row.hint))
        yield chunk_index, chunk, predictions


def _parse_row(item: tuple[int, bytes] | Rejected) -> _ShardRow | None:
    """A line as a row; None for the footer."""
    if isinstance(item, Rejected):
        raise UserError(f"{item.file}: {item.reason}")
    line = item[1]
    return _ShardRow.model_validate_json(line) if line.startswith(b'{"chunk"') else None
