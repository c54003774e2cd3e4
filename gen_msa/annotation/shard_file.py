"""Parts of a sharded job: a shard's rows with their predictions, then a footer; and their merge.

A part holds everything that the files of the job are made from, including rejected answers. It is
complete or absent. Its footer names posts, fingerprint and settings.

    with open_shard_writer(path) as part: part.write(chunk, predictions); part.close(**facts)
    for index, chunk, predictions in read_chunks(path): ...
"""

import hashlib
import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import IO, Any, Literal

from pydantic import Field, JsonValue, ValidationError

from gen_msa import jsonl
from gen_msa import settings as settings_files
from gen_msa.annotation.filters import filters
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
from gen_msa.answer_cache import fingerprint_content
from gen_msa.errors import UserError, user_errors
from gen_msa.input_notes import InputNotes
from gen_msa.predictors import Prediction, PredictorSettings
from gen_msa.predictors.image_counts import count_images
from gen_msa.predictors.language_counts import count_language
from gen_msa.types import Example, FrozenModel, Opinion, Rejected

MAX_SHARD_LINE_BYTES = 1 << 28
"""Maximum bytes per line: a post with every answer about it."""


class ShardFooter(FrozenModel):
    """The last line of a part: the job that it belongs to."""

    part: Literal["gen_msa part, version 1"] = "gen_msa part, version 1"
    verb: Literal["explain", "annotate"]
    shard: int
    n_shards: int
    data: str
    media_root: str
    data_sha256: str
    """Hash of every row of the source, including those of other shards."""
    rows: int
    """Rows of the complete source."""
    chunks: int
    """Chunks of the complete source."""
    fingerprint: dict[str, JsonValue]
    """Fingerprint of the teacher."""
    settings: dict[str, Any]
    notes: dict[str, dict[str, int]] = Field(default_factory=dict)
    """What of the complete source was guessed or not used, as `InputNotes.by_text`."""
    from_cache: int
    seconds: float
    sha256: str
    """Hash of all lines before this one."""


class _ShardRow(FrozenModel):
    """One row of the source: a post with its prediction, or a rejected row."""

    chunk: int
    number: int = 0
    example: Example | None = None
    opinions: tuple[Opinion, ...] = ()
    rejection: str = ""
    hint: str = ""
    rejected: Rejected | None = None


class ShardWriter:
    """Writes a part."""

    def __init__(self, file: IO[bytes]) -> None:
        self.counts = JobCounts()
        """Before file filters, which run when parts are merged."""
        self.posts = hashlib.sha256()
        self._file = file
        self._lines_hash = hashlib.sha256()

    def write(self, chunk: Chunk, predictions: Sequence[Prediction]) -> None:
        """Write one chunk with the predictions for its examples, in order.

        Args:
            chunk: The chunk.
            predictions: One per example of the chunk.
        """
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
                self.counts.images.update(count_images(example.post, prediction.opinions))
                self.counts.languages.update(count_language(prediction.opinions))
                self.posts.update(example.post.model_dump_json().encode())
        self.counts.rows = self.counts.written + self.counts.rejected

    def close(self, **facts: Any) -> None:
        """Write the footer; `facts` are its fields except the hash and the counts."""
        computed = {"from_cache": self.counts.from_cache, "sha256": self._lines_hash.hexdigest()}
        footer = ShardFooter(**facts, **computed)
        self._file.write(footer.model_dump_json().encode() + b"\n")

    def _write_row(self, row: _ShardRow) -> None:
        line = row.model_dump_json(exclude_defaults=True).encode() + b"\n"
        self._lines_hash.update(line)
        self._file.write(line)


@contextmanager
def open_shard_writer(path: Path) -> Iterator[ShardWriter]:
    """Open a part at `path`; the file appears when the block ends without an error."""
    with jsonl.atomic_write(path) as file:
        yield ShardWriter(file)


def read_footer(path: Path) -> ShardFooter:
    """Return the footer of a part after checking the hash of all its lines.

    Raises:
        UserError: The file is not a part, is incomplete, or was altered.
    """
    lines_hash, last = hashlib.sha256(), b""
    with user_errors(path, hint="give the parts of all shards"), path.open("rb") as f:
        while line := f.readline(MAX_SHARD_LINE_BYTES):
            lines_hash.update(last)
            last = line
    try:
        footer = ShardFooter.model_validate_json(last)
    except ValidationError:
        raise UserError(
            f"{path} is not a complete part: its last line is no footer",
            hint="copy it again, or run its shard again: answers are kept in its cache",
        ) from None
    if lines_hash.hexdigest() != footer.sha256:
        raise UserError(
            f"{path} was altered: its lines do not match its footer",
            hint=f"copy it again, or run --shard {footer.shard}/{footer.n_shards} again",
        )
    return footer


def read_chunks(path: Path) -> Iterator[tuple[int, Chunk, list[Prediction]]]:
    """Yield each chunk of a checked part with its number and predictions, in order."""
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
    """Parse a line; return None for the footer."""
    if isinstance(item, Rejected):
        raise UserError(f"{item.file}: {item.reason}")
    line = item[1]
    return _ShardRow.model_validate_json(line) if line.startswith(b'{"chunk"') else None


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
    """Merge the parts of all shards into the files that one job would have written.

    Args:
        paths: The parts, in any order.
        out: The output (JSONL).
        lines: Where to write the examples instead of `out`, for conversion to another format.
        on_progress: Called with the counts after each chunk.

    Returns:
        The result of the job, and its settings.

    Raises:
        UserError: The parts do not make up one job; nothing is written.
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
    notes = InputNotes(first.notes)
    result = finalize(output, settings, out, first.data, first.fingerprint, seconds, notes=notes)
    return result, settings


def _load_parts(paths: Sequence[Path]) -> list[ShardPart]:
    """Return the parts by shard; raise `UserError` unless they are all parts of one job."""
    if not paths:
        raise UserError("no parts to merge", hint="give the files that --shard wrote: OUT.*.part")
    first, *others = parts = [(p, read_footer(p)) for p in paths]
    for other in others:
        _require_same_job(first, other)
    paths_by_shard: dict[int, Path] = {}
    for path, footer in parts:
        if footer.shard in paths_by_shard:
            raise UserError(
                f"{paths_by_shard[footer.shard]} and {path} are both "
                f"shard {footer.shard}/{footer.n_shards}",
                hint="give the part of each shard once",
            )
        paths_by_shard[footer.shard] = path
    n_shards = first[1].n_shards
    if missing := [i for i in range(1, n_shards + 1) if i not in paths_by_shard]:
        missing_shards = ", ".join(f"{i}/{n_shards}" for i in missing[:10])
        raise UserError(
            f"no part of shard {missing_shards}{' …' if len(missing) > 10 else ''}",
            hint="a shard writes its part when it has finished: give it, or run the same command "
            f"with --shard {missing[0]}/{n_shards} again; answers are kept in its cache",
        )
    return sorted(parts, key=lambda part: part[1].shard)


def _require_same_job(first: ShardPart, other: ShardPart) -> None:
    """Raise `UserError` naming what differs between two parts."""
    (a, x), (b, y) = first, other
    shards = (
        x.n_shards,
        y.n_shards,
        f"{x.n_shards} shards and {y.n_shards}",
        "use --reuse-cache to take answers over to another number of shards",
    )
    data = (
        (x.data_sha256, x.rows, x.chunks),
        (y.data_sha256, y.rows, y.chunks),
        f"different posts, {x.data} and {y.data}",
        "run the shards of the older posts again",
    )
    differences = ", ".join(_differing_keys(_answer_settings(x), _answer_settings(y)))
    answers = (
        _answer_content(x),
        _answer_content(y),
        f"different settings of answers: {differences}",
        "run the older shards again with the newer settings",
    )
    for first_value, other_value, problem, hint in (shards, data, answers):
        if first_value != other_value:
            raise UserError(f"{a} and {b} are not of one job: {problem}", hint=hint)


def _answer_settings(footer: ShardFooter) -> dict[str, Any]:
    """Return the settings that decide the answers and their acceptance."""
    settings = {k: v for k, v in footer.settings.items() if k not in RUN_SETTINGS}
    if isinstance(backend := settings.get("backend"), dict):
        settings["backend"] = {k: v for k, v in backend.items() if k != "send_to"}
    return {"verb": footer.verb, "fingerprint": footer.fingerprint, "settings": settings}


def _answer_content(footer: ShardFooter) -> JsonValue:
    """Return what decides the answers and their acceptance, wherever files lie."""
    settings = {
        k: v
        for k, v in footer.settings.items()
        if k not in RUN_SETTINGS and k not in PredictorSettings.model_fields
    }
    file_filters = {
        name: options
        for name, options in settings.pop("filters", {}).items()
        if filters[name].stage == "file"  # the others are in the fingerprint
    }
    return {
        "verb": footer.verb,
        "fingerprint": fingerprint_content(dict(footer.fingerprint)),
        "settings": {**settings, "filters": file_filters},
    }


def _differing_keys(a: Mapping[str, Any], b: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield the dotted keys under which two trees differ."""
    for name in sorted({*a, *b}):
        a_value, b_value = a.get(name), b.get(name)
        if isinstance(a_value, dict) and isinstance(b_value, dict):
            yield from _differing_keys(a_value, b_value, f"{prefix}{name}.")
        elif a_value != b_value:
            yield f"{prefix}{name}"


def _merge_chunks(parts: Sequence[ShardPart]) -> Iterator[tuple[Chunk, list[Prediction]]]:
    """Yield every chunk of the source, in order."""
    streams = [read_chunks(path) for path, _ in parts]
    expected = 0
    for chunk_index, chunk, predictions in heapq.merge(*streams, key=lambda item: item[0]):
        if chunk_index != expected:
            raise UserError(f"chunk {expected} of the posts is in no part", hint="run all shards")
        expected += 1
        yield chunk, predictions
    if expected != parts[0][1].chunks:
        raise UserError(f"chunk {expected} of the posts is in no part", hint="run all shards")
