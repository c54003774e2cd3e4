"""One job: a reader over a source, through the ledger, into a file.

    rows -> chunks -> ledger? -> teacher(s) -> ledger -> OUT.jsonl, OUT.rejected.jsonl

Every good row appears in the output once, in the source's order, whatever crashed before and
however many workers there were; every bad one in the rejected file with its line and reason. One
of several shards writes a part instead, of which `merging` makes these files.
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
from gen_msa.answer_cache import AnswerCache, hash_key
from gen_msa.data import ExampleSource, Rows
from gen_msa.errors import BackendUnavailable, UserError
from gen_msa.predictors import Prediction
from gen_msa.types import Rejected

MAX_CONSECUTIVE_FAILURES = 256
"""Posts in a row that cannot be asked before a job stops; a server's restart takes fewer."""


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
    """Let the reader of `settings` read `source`; write examples to `out` (JSONL).

    `lines` takes the examples where `out` is to become another format; what lies beside an output
    lies beside `out`. `ledger_path` keeps answers for the next run (None: not kept); `known` are
    ledgers of other runs, whose answers are taken over. `teacher` is one that `prepared` has made
    with the same settings. `on_progress` is called after each chunk. Raises `UserError` when the
    job cannot start or a setting says to stop.

    With `AnnotateSettings` only what passed all gates is written to `out`, the rest goes whole to
    OUT.rejected.jsonl, and a summary to OUT.summary.json.
    """
    began = time.perf_counter()
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
    return finalize(output, settings, out, source.name, fingerprint, time.perf_counter() - began)


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
    """Do the share of `shard` in the job that `annotate` would do; write it to `part`.

    Gates that look at the whole file wait until `merging.merge`. Raises as `annotate` does.
    """
    began = time.perf_counter()
    source_hasher = _SourceHasher()
    hashed_source = replace(source, rows=lambda: source_hasher.hash_rows(source.rows()))
    with (
        _open_teacher(source, settings, teacher) as teacher,
        _open_cache(cache_path, reuse_cache) as cache,
        open_shard_writer(shard_path) as shard_writer,
    ):
        _write_chunks(shard_writer, hashed_source, settings, teacher, cache, shard, on_progress)
        fingerprint, seconds = teacher.fingerprint(), round(time.perf_counter() - began, 3)
        shard_writer.close(
            **source_hasher.footer_facts(source, settings, shard),
            fingerprint=fingerprint,
            seconds=seconds,
        )
    rejected_file = shard_path if shard_writer.counts.rejected else None
    return JobResult(
        shard_writer.counts,
        fingerprint,
        shard_writer.posts.hexdigest(),
        rejected_file=rejected_file,
    )


@dataclass
class _SourceHasher:
    """Every row that went by, this shard's or not."""

    rows: int = 0
    digest: Any = field(default_factory=hashlib.sha256)

    def hash_rows(self, rows: Rows) -> Rows:
        for row in rows:
            self.rows += 1
            # A bad row is known by its place and text: its file may be spelled in other ways.
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
    """The teacher of a job; loads its models, with Ray on the cluster's machines.

    Raises `UserError` where gold would guide it on rows that are not of a train split.
    """
    if isinstance(settings, AnnotateSettings) and settings.reveals_label:
        require_train_split(source.name)
    if settings.engine == "ray":
        from gen_msa.annotation._crew import Crew

        return Crew(settings, source.media_root)
    return make_teacher(settings, source.media_root)


def _open_teacher(
    source: ExampleSource, settings: JobSettings, teacher: Teacher | None
) -> AbstractContextManager[Teacher]:
    """The teacher, and readers on other machines let go at the end."""
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
    """Have every chunk of a shard read, and write it to `sink`."""
    consecutive_failures = 0
    for pending, new_predictions in _predict_chunks(source, settings, teacher, cache, shard):
        predictions, n_cached = merge_cached(pending, new_predictions, cache)
        sink.write(pending.chunk, predictions)
        sink.counts.from_cache += n_cached
        attempted = [r.opinions for r in new_predictions if not r.rejection]
        consecutive_failures = (
            consecutive_failures + len(attempted) if all(map(has_error, attempted)) else 0
        )
        _stop_if_unavailable(sink.counts, settings.chunk, consecutive_failures)
        on_progress(sink.counts)


def _predict_chunks(
    source: ExampleSource,
    settings: JobSettings,
    teacher: Teacher,
    cache: AnswerCache | None,
    shard: Shard,
) -> Iterator[tuple[PendingChunk, list[Prediction]]]:
    """Every chunk with the readings of its posts that the ledger did not know."""
    pending_work = pending_chunks(source, settings, hash_key(teacher.fingerprint()), cache, shard)
    if settings.engine == "ray":
        from gen_msa.annotation._crew import read_on_ray

        return read_on_ray(teacher, pending_work)
    on_answer = [] if cache is None else [partial(cache_answers, cache)]
    if settings.workers == 1:
        return predict_in_process(teacher, pending_work, *on_answer)
    return predict_in_workers(
        settings, source.media_root, settings.workers, pending_work, *on_answer
    )


def _stop_if_unavailable(counts: JobCounts, chunk: int, consecutive_failures: int) -> None:
    """A wrong key or address fails for every post alike: say so once, not a million times.

    `lost` are posts asked in a row, up to now, none of which could be asked.
    """
    if consecutive_failures >= max(4 * chunk, MAX_CONSECUTIVE_FAILURES):
        raise BackendUnavailable(
            f"none of the last {consecutive_failures} posts could be asked: {counts.last_error}",
            hint="see to the reader's server or key, and run again: what was answered is kept",
        )
    if counts.rows >= chunk > 1 and counts.unanswered == counts.written > 0:
        raise UserError(
            f"none of the first {counts.rows} posts could be asked: {counts.last_error}",
            hint="check the reader's address, key and model, and run again",
        )
