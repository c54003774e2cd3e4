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
from gen_msa.annotating._ending import Outcome, ended, rejects_of, sieve_of
from gen_msa.annotating._guiding import refuse_unless_train
from gen_msa.annotating._output import Counts, Output, Pending, failed, keep, settled
from gen_msa.annotating._parts import PartFile, part_file
from gen_msa.annotating._pool import read_alone, read_together
from gen_msa.annotating._settings import AnnotateSettings, JobSettings
from gen_msa.annotating._teaching import Teacher, make_teacher
from gen_msa.annotating._working import WHOLE, work
from gen_msa.annotating.shards import Shard
from gen_msa.data import Rows, Source
from gen_msa.errors import Unanswered, UserError
from gen_msa.ledger import Ledger, key
from gen_msa.readers import Reading
from gen_msa.types import Rejected

LOST = 256
"""Posts in a row that cannot be asked before a job stops; a server's restart takes fewer."""


def annotate(
    source: Source,
    out: Path,
    settings: JobSettings,
    *,
    ledger_path: Path | None = None,
    known: Sequence[Path] = (),
    teacher: Teacher | None = None,
    lines: Path | None = None,
    on_progress: Callable[[Counts], None] = lambda _: None,
) -> Outcome:
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
    sieve = sieve_of(settings, source.media_root)
    with (
        _at_work(source, settings, teacher) as teacher,
        _book(ledger_path, known) as book,
        jsonl.whole(lines or out) as good,
        jsonl.whole(rejects_of(out)) as bad,
    ):
        output = Output(source.name, good, bad, sieve)
        _write(output, source, settings, teacher, book, WHOLE, on_progress)
        reader = teacher.fingerprint()
    return ended(output, settings, out, source.name, reader, time.perf_counter() - began)


def annotate_shard(
    source: Source,
    part: Path,
    shard: Shard,
    settings: JobSettings,
    *,
    ledger_path: Path | None = None,
    known: Sequence[Path] = (),
    teacher: Teacher | None = None,
    on_progress: Callable[[Counts], None] = lambda _: None,
) -> Outcome:
    """Do the share of `shard` in the job that `annotate` would do; write it to `part`.

    Gates that look at the whole file wait until `merging.merge`. Raises as `annotate` does.
    """
    began = time.perf_counter()
    seen = _Seen()
    every = replace(source, rows=lambda: seen.passing(source.rows()))
    with (
        _at_work(source, settings, teacher) as teacher,
        _book(ledger_path, known) as book,
        part_file(part) as file,
    ):
        _write(file, every, settings, teacher, book, shard, on_progress)
        reader, seconds = teacher.fingerprint(), round(time.perf_counter() - began, 3)
        file.close(**seen.facts(source, settings, shard), reader=reader, seconds=seconds)
    aside = part if file.counts.rejected else None
    return Outcome(file.counts, reader, file.posts.hexdigest(), rejected_file=aside)


@dataclass
class _Seen:
    """Every row that went by, this shard's or not."""

    rows: int = 0
    digest: Any = field(default_factory=hashlib.sha256)

    def passing(self, rows: Rows) -> Rows:
        for row in rows:
            self.rows += 1
            # A bad row is known by its place and text: its file may be spelled in other ways.
            told = f"{row.line} {row.raw}" if isinstance(row, Rejected) else row.model_dump_json()
            self.digest.update(told.encode(errors="replace") + b"\n")
            yield row

    def facts(self, source: Source, settings: JobSettings, shard: Shard) -> dict[str, Any]:
        return {
            "verb": "annotate" if isinstance(settings, AnnotateSettings) else "explain",
            "shard": shard.index,
            "of": shard.of,
            "data": source.name,
            "media_root": str(source.media_root),
            "data_sha256": self.digest.hexdigest(),
            "rows": self.rows,
            "chunks": -(-self.rows // settings.chunk),
            "settings": settings.model_dump(mode="json"),
        }


def prepared(source: Source, settings: JobSettings) -> Teacher:
    """The teacher of a job; loads its models, with Ray on the cluster's machines.

    Raises `UserError` where gold would guide it on rows that are not of a train split.
    """
    if isinstance(settings, AnnotateSettings) and settings.tells_label:
        refuse_unless_train(source.name)
    if settings.engine == "ray":
        from gen_msa.annotating._crew import Crew

        return Crew(settings, source.media_root)
    return make_teacher(settings, source.media_root)


def _at_work(
    source: Source, settings: JobSettings, teacher: Teacher | None
) -> AbstractContextManager[Teacher]:
    """The teacher, and readers on other machines let go at the end."""
    teacher = teacher or prepared(source, settings)
    return teacher if isinstance(teacher, AbstractContextManager) else nullcontext(teacher)


def _book(path: Path | None, known: Sequence[Path]) -> AbstractContextManager[Ledger | None]:
    return Ledger(path, known) if path else nullcontext()


def _write(
    sink: Output | PartFile,
    source: Source,
    settings: JobSettings,
    teacher: Teacher,
    book: Ledger | None,
    shard: Shard,
    on_progress: Callable[[Counts], None],
) -> None:
    """Have every chunk of a shard read, and write it to `sink`."""
    lost = 0
    for pending, fresh in _read(source, settings, teacher, book, shard):
        readings, repeated = settled(pending, fresh, book)
        sink.write(pending.chunk, readings)
        sink.counts.repeated += repeated
        asked = [r.opinions for r in fresh if not r.refused]
        lost = lost + len(asked) if all(map(failed, asked)) else 0
        _stop_if_hopeless(sink.counts, settings.chunk, lost)
        on_progress(sink.counts)


def _read(
    source: Source, settings: JobSettings, teacher: Teacher, book: Ledger | None, shard: Shard
) -> Iterator[tuple[Pending, list[Reading]]]:
    """Every chunk with the readings of its posts that the ledger did not know."""
    todo = work(source, settings, key(teacher.fingerprint()), book, shard)
    if settings.engine == "ray":
        from gen_msa.annotating._crew import read_on_ray

        return read_on_ray(teacher, todo)
    kept = [] if book is None else [partial(keep, book)]
    if settings.workers == 1:
        return read_alone(teacher, todo, *kept)
    return read_together(settings, source.media_root, settings.workers, todo, *kept)


def _stop_if_hopeless(counts: Counts, chunk: int, lost: int) -> None:
    """A wrong key or address fails for every post alike: say so once, not a million times.

    `lost` are posts asked in a row, up to now, none of which could be asked.
    """
    if lost >= max(4 * chunk, LOST):
        raise Unanswered(
            f"none of the last {lost} posts could be asked: {counts.last_error}",
            mend="see to the reader's server or key, and run again: what was answered is kept",
        )
    if counts.rows >= chunk > 1 and counts.unanswered == counts.written > 0:
        raise UserError(
            f"none of the first {counts.rows} posts could be asked: {counts.last_error}",
            mend="check the reader's address, key and model, and run again",
        )
