"""One job: a reader over a source, through the ledger, into a file.

    rows -> chunks -> ledger? -> teacher(s) -> ledger -> OUT.jsonl, OUT.rejected.jsonl

Every good row appears in the output once, in the source's order, whatever crashed before and
however many workers there were; every bad one in the rejected file with its line and reason.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from gen_msa import jsonl
from gen_msa import settings as settings_files
from gen_msa.annotating._guiding import refuse_unless_train
from gen_msa.annotating._output import Counts, Output, Pending
from gen_msa.annotating._pool import read_alone, read_together
from gen_msa.annotating._settings import AnnotateSettings, JobSettings
from gen_msa.annotating._sieving import Sieve
from gen_msa.annotating._teaching import Teacher, made_gates, make_teacher
from gen_msa.annotating._working import work
from gen_msa.annotating.gates import Bench, gates
from gen_msa.annotating.summary import Summary, summarise
from gen_msa.data import Source
from gen_msa.errors import UserError
from gen_msa.ledger import Ledger, key
from gen_msa.readers import Reading


@dataclass(frozen=True)
class Outcome:
    """What a finished job has to say for itself."""

    counts: Counts
    reader: dict[str, JsonValue]
    """The reader's fingerprint."""
    posts_sha256: str
    """Of all posts written, in order: which data this was."""
    rejected_file: Path | None
    summary: Summary | None = None
    """Of a job with gates."""

    def too_bad(self, settings: JobSettings) -> bool:
        """Whether more rows were rejected or left unanswered than `max_bad` allows."""
        return self.counts.bad_share() > settings.max_bad


def annotate(
    source: Source,
    out: Path,
    settings: JobSettings,
    *,
    ledger_path: Path | None = None,
    teacher: Teacher | None = None,
    on_progress: Callable[[Counts], None] = lambda _: None,
) -> Outcome:
    """Let the reader of `settings` read `source`; write examples to `out` (JSONL).

    `ledger_path` keeps answers for the next run (None: not kept). `teacher` is one that `prepared`
    has made with the same settings. `on_progress` is called after each chunk. Raises `UserError`
    when the job cannot start or a setting says to stop.

    With `AnnotateSettings` only what passed all gates is written to `out`, the rest goes whole to
    OUT.rejected.jsonl, and a summary to OUT.summary.json.
    """
    began = time.perf_counter()
    sieve = _sieve(source, settings)
    teacher = teacher or prepared(source, settings)
    rejects = out.with_suffix(".rejected.jsonl")
    with (
        Ledger(ledger_path) if ledger_path else nullcontext() as book,
        jsonl.whole(out) as good,
        jsonl.whole(rejects) as bad,
    ):
        output = Output(source.name, good, bad, book, sieve)
        for pending, readings in _read(source, settings, teacher, book):
            output.write(pending, readings)
            _stop_if_hopeless(output.counts, settings.chunk)
            on_progress(output.counts)
    settings_files.save(settings, out.with_suffix(".settings.yaml"))
    return Outcome(
        counts=output.counts,
        reader=teacher.fingerprint(),
        posts_sha256=output.posts.hexdigest(),
        rejected_file=_kept_if(output.counts.rejected + output.counts.failed, rejects),
        summary=_summary(source, settings, output, out, time.perf_counter() - began),
    )


def _kept_if(lines: int, rejects: Path) -> Path | None:
    """The rejected file; gone, where nothing stands in it."""
    if lines:
        return rejects
    rejects.unlink()
    return None


def prepared(source: Source, settings: JobSettings) -> Teacher:
    """The teacher of a job; loads its models.

    Raises `UserError` where gold would guide it on rows that are not of a train split.
    """
    if isinstance(settings, AnnotateSettings) and settings.tells_label:
        refuse_unless_train(source.name)
    return make_teacher(settings, source.media_root)


def _sieve(source: Source, settings: JobSettings) -> Sieve | None:
    if not isinstance(settings, AnnotateSettings):
        return None
    late = {n: o for n, o in settings.gates.items() if gates[n].stage == "file"}
    few = settings.model_copy(update={"gates": late})
    return Sieve(made_gates(few, Bench(source.media_root)), settings.reader)


def _summary(
    source: Source, settings: JobSettings, output: Output, out: Path, seconds: float
) -> Summary | None:
    if not isinstance(settings, AnnotateSettings) or output.sieve is None:
        return None
    facts: dict[str, str | int | float] = {
        "data": source.name,
        "data_sha256": output.posts.hexdigest(),
        "posts": output.counts.written,
        "rejected_rows": output.counts.rejected,
        "label_fields": output.label_fields,
        "repeated_posts": output.counts.repeated,
        "seconds": round(seconds, 3),
    }
    summary = summarise(settings, output.sieve.tally, facts)
    with jsonl.whole(out.with_suffix(".summary.json")) as f:
        f.write(summary.model_dump_json(indent=1).encode() + b"\n")
    return summary


def _read(
    source: Source, settings: JobSettings, teacher: Teacher, book: Ledger | None
) -> Iterator[tuple[Pending, list[Reading]]]:
    """Every chunk with the readings of its posts that the ledger did not know."""
    todo = work(source, settings, key(teacher.fingerprint()), book)
    if settings.workers == 1:
        return read_alone(teacher, todo)
    return read_together(settings, source.media_root, settings.workers, todo)


def _stop_if_hopeless(counts: Counts, chunk: int) -> None:
    """A wrong key or address fails for every post alike: say so once, not a million times."""
    if counts.rows >= chunk > 1 and counts.unanswered == counts.written > 0:
        raise UserError(
            f"none of the first {counts.rows} posts could be asked: {counts.last_error}",
            mend="check the reader's address, key and model, and run again",
        )
