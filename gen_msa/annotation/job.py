"""One job: a predictor over a source, through the answer cache, into a file.

    rows -> chunks -> cache? -> teacher(s) -> cache -> OUT.jsonl, OUT.rejected.jsonl

Every good row is in the output once, in the order of the source, for any number of workers and
after any crash. Every bad row is in the rejected file with its line and reason. A shard writes a
part instead, from which `merge_shards` makes these files.
"""

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from gen_msa import jsonl
from gen_msa.annotation.label_conditioned import require_train_split
from gen_msa.annotation.output import (
    JobCounts,
    JobOutput,
    JobResult,
    PendingChunk,
    cache_answers,
    file_filters,
    finalize,
    has_error,
    merge_cached,
    rejected_path,
)
from gen_msa.annotation.settings import AnnotateSettings, JobSettings, Shard
from gen_msa.annotation.shard_file import ShardWriter, open_shard_writer
from gen_msa.annotation.workers import (
    FULL_SOURCE,
    Teacher,
    make_teacher,
    pending_chunks,
    predict_in_process,
    predict_in_workers,
)
from gen_msa.answer_cache import AnswerCache, fingerprint_key
from gen_msa.data import ExampleSource, ExampleStream
from gen_msa.data.given_aspects import with_fixed_aspects
from gen_msa.errors import BackendUnavailable, UserError
from gen_msa.predictors import Prediction
from gen_msa.predictors.outgoing import require_permission
from gen_msa.types import Rejected

MAX_CONSECUTIVE_FAILURES = 256
"""Failed posts in a row after which a job stops; the restart of a server loses fewer."""


def annotate(
    source: ExampleSource,
    out: Path,
    settings: JobSettings,
    *,
    cache_path: Path | None = None,
    reuse_cache: Sequence[Path] = (),
    teacher: Teacher | None = None,
    lines: Path | None = None,
    on_progress: Callable[[JobCounts], None] = lambda _: None,
) -> JobResult:
    """Run the model of `settings` over `source`; write examples with opinions to `out` (JSONL).

    With `AnnotateSettings` only accepted answers are written to `out`; rejected answers go to
    OUT.rejected.jsonl in full, and a summary to OUT.summary.json.

    Args:
        source: The posts.
        out: The output; settings, rejected rows and summary are written beside it.
        settings: The model, how the job runs, and perhaps filters.
        cache_path: Answer cache, read and written; None for none.
        reuse_cache: Answer caches of other runs, read only.
        teacher: The result of `make_job_teacher` with the same settings; made here if None.
        lines: Where to write the examples instead of `out`, for conversion to another format.
        on_progress: Called with the counts after each chunk.

    Returns:
        Counts, fingerprint and, with filters, the summary.

    Raises:
        UserError: The job cannot start, may not send its posts to the model's host, or a setting
            says to stop.
        BackendUnavailable: Too many posts in a row got no answer.
    """
    began = time.perf_counter()
    source = with_fixed_aspects(source, settings.fixed_aspects)
    require_permission(source, settings)
    file_filter_splitter = file_filters(settings, source.media_root)
    with (
        _open_teacher(source, settings, teacher) as teacher,
        _open_cache(cache_path, reuse_cache) as cache,
        jsonl.atomic_write(lines or out) as accepted_file,
        jsonl.atomic_write(rejected_path(out)) as rejected_file,
    ):
        output = JobOutput(source.name, accepted_file, rejected_file, file_filter_splitter)
        _write_chunks(output, source, settings, teacher, cache, FULL_SOURCE, on_progress)
        fingerprint = teacher.fingerprint()
    seconds = time.perf_counter() - began
    return finalize(output, settings, out, source.name, fingerprint, seconds, notes=source.notes)


def annotate_shard(
    source: ExampleSource,
    shard_path: Path,
    shard: Shard,
    settings: JobSettings,
    *,
    cache_path: Path | None = None,
    reuse_cache: Sequence[Path] = (),
    teacher: Teacher | None = None,
    on_progress: Callable[[JobCounts], None] = lambda _: None,
) -> JobResult:
    """Run one shard of the job that `annotate` would run; write it to `shard_path`.

    Filters that need the complete file run in `merge_shards`.

    Args:
        source: All posts, not only those of the shard.
        shard_path: The part to write (`.part`).
        shard: Which chunks to do.
        settings: The same for all shards.
        cache_path: Answer cache, read and written; None for none.
        reuse_cache: Answer caches of other runs, read only.
        teacher: The result of `make_job_teacher` with the same settings; made here if None.
        on_progress: Called with the counts after each chunk.

    Returns:
        Counts and fingerprint of the shard.

    Raises:
        UserError: As for `annotate`.
    """
    began = time.perf_counter()
    source = with_fixed_aspects(source, settings.fixed_aspects)
    require_permission(source, settings)
    source_hasher = _SourceHasher()
    hashed_source = replace(source, read=lambda: source_hasher.hash_rows(source.rows()))
    with (
        _open_teacher(source, settings, teacher) as teacher,
        _open_cache(cache_path, reuse_cache) as cache,
        open_shard_writer(shard_path) as shard_writer,
    ):
        _write_chunks(shard_writer, hashed_source, settings, teacher, cache, shard, on_progress)
        fingerprint, seconds = teacher.fingerprint(), round(time.perf_counter() - began, 3)
        shard_writer.close(
            **source_hasher.footer_facts(source, settings, shard),
            notes=source.notes.by_text,
            fingerprint=fingerprint,
            seconds=seconds,
        )
    rejected_file = shard_path if shard_writer.counts.rejected else None
    return JobResult(
        shard_writer.counts,
        fingerprint,
        shard_writer.posts.hexdigest(),
        rejected_file=rejected_file,
        notes=source.notes,
    )


@dataclass
class _SourceHasher:
    """Counts and hashes every row of the source, whichever shard it belongs to."""

    rows: int = 0
    digest: Any = field(default_factory=hashlib.sha256)

    def __reduce__(self) -> tuple[type, tuple[()]]:
        """Count anew in another process, where Ray reads the source."""
        return _SourceHasher, ()

    def hash_rows(self, rows: ExampleStream) -> ExampleStream:
        for row in rows:
            self.rows += 1
            # Not the file name: it may be spelled differently for each shard.
            row_text = (
                f"{row.line} {row.raw}" if isinstance(row, Rejected) else row.model_dump_json()
            )
            self.digest.update(row_text.encode(errors="replace") + b"\n")
            yield row

    def footer_facts(
        self, source: ExampleSource, settings: JobSettings, shard: Shard
    ) -> dict[str, Any]:
        return {
            "verb": "annotate" if isinstance(settings, AnnotateSettings) else "explain",
            "shard": shard.index,
            "n_shards": shard.n_shards,
            "data": source.name,
            "media_root": str(source.media_root),
            "data_sha256": self.digest.hexdigest(),
            "rows": self.rows,
            "chunks": -(-self.rows // settings.chunk),
            "settings": settings.model_dump(mode="json"),
        }


def make_job_teacher(source: ExampleSource, settings: JobSettings) -> Teacher:
    """Build the teacher of a job and load its model, with Ray on the machines of the cluster.

    Args:
        source: The posts.
        settings: The job.

    Returns:
        The teacher; a context manager if it holds remote workers.

    Raises:
        UserError: Gold labels would guide the teacher outside a train split.
    """
    if isinstance(settings, AnnotateSettings) and settings.reveals_label:
        require_train_split(source.name)
    if settings.engine == "ray":
        from gen_msa.annotation.ray_cluster import RayPredictor

        return RayPredictor(settings, source.media_root)
    return make_teacher(settings, source.media_root)


def _open_teacher(
    source: ExampleSource, settings: JobSettings, teacher: Teacher | None
) -> AbstractContextManager[Teacher]:
    """Return the teacher as a context manager; remote workers are released on exit."""
    teacher = teacher or make_job_teacher(source, settings)
    return teacher if isinstance(teacher, AbstractContextManager) else nullcontext(teacher)


def _open_cache(
    path: Path | None, reuse_cache: Sequence[Path]
) -> AbstractContextManager[AnswerCache | None]:
    return AnswerCache(path, reuse_cache) if path else nullcontext()


def _write_chunks(
    sink: JobOutput | ShardWriter,
    source: ExampleSource,
    settings: JobSettings,
    teacher: Teacher,
    cache: AnswerCache | None,
    shard: Shard,
    on_progress: Callable[[JobCounts], None],
) -> None:
    """Run every chunk of a shard, and write it to `sink`."""
    consecutive_failures = 0
    for pending, new_predictions in _predict_chunks(
        source, settings, teacher, cache, shard, on_progress
    ):
        predictions, n_cached = merge_cached(pending, new_predictions, cache, settings.model)
        sink.write(pending.chunk, predictions)
        sink.counts.from_cache += n_cached
        attempted = [r.opinions for r in new_predictions if not r.rejection]
        consecutive_failures = (
            consecutive_failures + len(attempted) if all(map(has_error, attempted)) else 0
        )
        stop_if_unavailable(sink.counts, settings.chunk, consecutive_failures)
        on_progress(sink.counts)


def _predict_chunks(
    source: ExampleSource,
    settings: JobSettings,
    teacher: Teacher,
    cache: AnswerCache | None,
    shard: Shard,
    on_progress: Callable[[JobCounts], None],
) -> Iterator[tuple[PendingChunk, list[Prediction]]]:
    """Yield every chunk with the predictions for posts that the cache lacks."""
    if settings.engine == "ray":
        from gen_msa.annotation.ray_data import predict_all

        return predict_all(teacher, source, shard, cache, on_progress)
    pending_work = pending_chunks(
        source, settings, fingerprint_key(teacher.fingerprint()), cache, shard
    )
    on_answer = [] if cache is None else [partial(cache_answers, cache)]
    if settings.workers == 1:
        return predict_in_process(teacher, pending_work, *on_answer)
    return predict_in_workers(
        settings, source.media_root, settings.workers, pending_work, *on_answer
    )


def stop_if_unavailable(counts: JobCounts, chunk: int, consecutive_failures: int) -> None:
    """Raise an error if no request succeeds, as with a wrong key or address.

    Args:
        counts: Counts so far.
        chunk: Posts per chunk.
        consecutive_failures: Posts in a row, up to now, without an answer.

    Raises:
        BackendUnavailable: Too many posts in a row got no answer.
        UserError: No post of the first chunk got an answer.
    """
    if consecutive_failures >= max(4 * chunk, MAX_CONSECUTIVE_FAILURES):
        raise BackendUnavailable(
            f"none of the last {consecutive_failures} posts got an answer: {counts.last_error}",
            hint="check the server and key of the model and run again: answers are kept",
        )
    if counts.rows >= chunk > 1 and counts.unanswered == counts.written > 0:
        raise UserError(
            f"none of the first {counts.rows} posts got an answer: {counts.last_error}",
            hint="check address, key and name of the model, and run again",
        )
