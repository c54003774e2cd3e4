"""The part of a job that one shard writes: its rows with what was read of them, then a footer.

A part holds all that the whole job's files are made of, so that `merging` makes them as one job
would. It is no file of examples: what a gate refused is in it. It stands whole or not at all, and
its footer says of which posts, by which reader, with which settings. Knows nothing of gates.

    with part_file(path) as part: part.write(chunk, readings); part.close(footer)
    for number, chunk, readings in chunks_of(path): ...
"""

import hashlib
import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import IO, Any, Literal

from pydantic import JsonValue, ValidationError

from gen_msa import jsonl
from gen_msa import settings as settings_files
from gen_msa.annotation.output import (
    Chunk,
    JobCounts,
    JobOutput,
    JobResult,
    file_filters,
    finalize,
    rejected_path,
)
from gen_msa.annotation.settings import RUN_SETTINGS, AnnotateSettings, JobSettings
from gen_msa.errors import UserError
from gen_msa.predictors import Prediction
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
        for number, example, prediction in zip(
            chunk.row_numbers, chunk.examples, predictions, strict=True
        ):
            prediction_fields = {
                "opinions": prediction.opinions,
                "rejection": prediction.rejection,
                "hint": prediction.hint,
            }
            self._write_row(
                _ShardRow(chunk=chunk.index, number=number, example=example, **prediction_fields)
            )
            if prediction.rejection:
                self.counts.rejected += 1
            else:
                self.counts.written += 1
                self.counts.add(prediction.opinions, prediction.opinions)
                self.posts.update(example.post.model_dump_json().encode())
        self.counts.rows = self.counts.written + self.counts.rejected

    def close(self, **facts: Any) -> None:
        """Write the footer; `facts` are its fields but for the hash and the counts."""
        computed = {"from_cache": self.counts.from_cache, "sha256": self._lines_hash.hexdigest()}
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
    rows = (
        r
        for item in jsonl.read_lines(path, MAX_SHARD_LINE_BYTES)
        if (r := _parse_row(item)) is not None
    )
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


# Parts of one sharded job become the files that one job would have written, byte for byte.

ShardPart = tuple[Path, ShardFooter]
_SETTINGS_TYPES: dict[str, type[JobSettings]] = {
    "explain": JobSettings,
    "annotate": AnnotateSettings,
}


def merge_shards(
    paths: Sequence[Path],
    out: Path,
    *,
    lines: Path | None = None,
    on_progress: Callable[[JobCounts], None] = lambda _: None,
) -> tuple[JobResult, JobSettings]:
    """Write `out` (JSONL) of the parts of every shard, in any order; also the job's settings.

    `lines` takes the examples where `out` is to become another format.
    Raises `UserError` before anything is written when the parts do not make up one job.
    """
    parts = _load_parts(paths)
    path, first = parts[0]
    settings = settings_files.build(_SETTINGS_TYPES[first.verb], first.settings, str(path))
    splitter = file_filters(settings, Path(first.media_root))
    with (
        jsonl.atomic_write(lines or out) as accepted_file,
        jsonl.atomic_write(rejected_path(out)) as rejected_file,
    ):
        output = JobOutput(first.data, accepted_file, rejected_file, splitter)
        for chunk, predictions in _merge_chunks(parts):
            output.write(chunk, predictions)
            on_progress(output.counts)
    output.counts.from_cache = sum(footer.from_cache for _, footer in parts)
    seconds = sum(footer.seconds for _, footer in parts)
    return finalize(output, settings, out, first.data, first.fingerprint, seconds), settings


def _load_parts(paths: Sequence[Path]) -> list[ShardPart]:
    """The parts by shard. Raises `UserError` unless they are all parts of one job, each once."""
    if not paths:
        raise UserError("no parts to merge", hint="name the files that --shard wrote: OUT.*.part")
    first, *others = parts = [(p, read_footer(p)) for p in paths]
    for other in others:
        _require_same_job(first, other)
    paths_by_shard: dict[int, Path] = {}
    for path, footer in parts:
        if footer.shard in paths_by_shard:
            raise UserError(
                f"{paths_by_shard[footer.shard]} and {path} are both shard {footer.shard}/{footer.n_shards}",
                hint="name the part of each shard once",
            )
        paths_by_shard[footer.shard] = path
    n_shards = first[1].n_shards
    if missing := [i for i in range(1, n_shards + 1) if i not in paths_by_shard]:
        missing_shards = ", ".join(f"{i}/{n_shards}" for i in missing[:10])
        raise UserError(
            f"no part of shard {missing_shards}{' …' if len(missing) > 10 else ''}",
            hint="a shard writes its part when it has finished: name it, or run the same command "
            f"with --shard {missing[0]}/{n_shards} again; what it answered is kept in its ledger",
        )
    return sorted(parts, key=lambda part: part[1].shard)


def _require_same_job(first: ShardPart, other: ShardPart) -> None:
    """Raise `UserError` naming what two parts do not share."""
    (a, x), (b, y) = first, other
    shards = (
        x.n_shards,
        y.n_shards,
        f"{x.n_shards} shards and {y.n_shards}",
        "answers pass to another sharding by --reuse-cache",
    )
    data = (
        (x.data_sha256, x.rows, x.chunks),
        (y.data_sha256, y.rows, y.chunks),
        f"other posts, of {x.data} and of {y.data}",
        "run the shards of the older posts again",
    )
    first_settings, other_settings = _answer_settings(x), _answer_settings(y)
    differences = ", ".join(_differing_keys(first_settings, other_settings))
    answers = (
        first_settings,
        other_settings,
        f"other answers: {differences}",
        "run the older shards again as the newer",
    )
    for first_value, other_value, problem, hint in (shards, data, answers):
        if first_value != other_value:
            raise UserError(f"{a} and {b} are not of one job: {problem}", hint=hint)


def _answer_settings(footer: ShardFooter) -> dict[str, Any]:
    """What decides the answers and which of them are kept."""
    settings = {k: v for k, v in footer.settings.items() if k not in RUN_SETTINGS}
    return {"verb": footer.verb, "fingerprint": footer.fingerprint, "settings": settings}


def _differing_keys(a: Mapping[str, Any], b: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """The dotted names under which two trees differ."""
    for name in sorted({*a, *b}):
        a_value, b_value = a.get(name), b.get(name)
        if isinstance(a_value, dict) and isinstance(b_value, dict):
            yield from _differing_keys(a_value, b_value, f"{prefix}{name}.")
        elif a_value != b_value:
            yield f"{prefix}{name}"


def _merge_chunks(parts: Sequence[ShardPart]) -> Iterator[tuple[Chunk, list[Prediction]]]:
    """Every chunk of the source, in its order."""
    streams = [read_chunks(path) for path, _ in parts]
    expected = 0
    for chunk_index, chunk, predictions in heapq.merge(*streams, key=lambda item: item[0]):
        if chunk_index != expected:
            raise UserError(f"chunk {expected} of the posts is in no part", hint="run all shards")
        expected += 1
        yield chunk, predictions
    if expected != parts[0][1].chunks:
        raise UserError(f"chunk {expected} of the posts is in no part", hint="run all shards")
