"""One job: a reader over a source, through the ledger, into a file.

    rows -> chunks -> ledger? -> reader(s) -> ledger -> OUT.jsonl, OUT.rejected.jsonl

Every good row appears in the output once, in the source's order, whatever crashed before and
however many workers there were; every bad one in the rejected file with its line and reason.
"""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, JsonValue

from gen_msa import jsonl, media, readers
from gen_msa import settings as settings_files
from gen_msa.annotating._output import Counts, Output, Pending
from gen_msa.annotating._pool import read_alone, read_together
from gen_msa.annotating._rows import chunks
from gen_msa.data import Source
from gen_msa.errors import UserError
from gen_msa.ledger import Ledger, key
from gen_msa.readers import Reader, ReaderSettings, Reading
from gen_msa.types import Post


class JobSettings(ReaderSettings):
    """A reader's settings and how the job is run."""

    workers: int = Field(default=1, ge=1, le=256)
    """Processes, each with a reader of its own."""
    chunk: int = Field(default=64, ge=1, le=10_000)
    """Posts handed to a reader at once."""
    limit: int | None = Field(default=None, ge=1)
    """Read only the first rows of the source."""
    max_bad: float = Field(default=0.001, ge=0.0, le=1.0)
    """Share of rows that may be rejected or unanswered before the exit code is 3."""

    def of_reader(self) -> ReaderSettings:
        """Only what decides the reader's answers; what was not given stays not given."""
        given = self.model_fields_set & ReaderSettings.model_fields.keys()
        return ReaderSettings.model_validate({name: getattr(self, name) for name in given})


@dataclass(frozen=True)
class Outcome:
    """What a finished job has to say for itself."""

    counts: Counts
    reader: dict[str, JsonValue]
    """The reader's fingerprint."""
    posts_sha256: str
    """Of all posts written, in order: which data this was."""
    rejected_file: Path | None

    def too_bad(self, settings: JobSettings) -> bool:
        """Whether more rows were rejected or left unanswered than `max_bad` allows."""
        return self.counts.bad_share() > settings.max_bad


def annotate(
    source: Source,
    out: Path,
    settings: JobSettings,
    *,
    ledger_path: Path | None = None,
    on_progress: Callable[[Counts], None] = lambda _: None,
) -> Outcome:
    """Let the reader of `settings` read `source`; write examples to `out` (JSONL).

    `ledger_path` keeps answers for the next run (None: not kept). `on_progress` is called after
    each chunk. Raises `UserError` when the job cannot start or a setting says to stop.
    """
    reader = readers.make(settings.of_reader(), source.media_root)
    rejects = out.with_suffix(".rejected.jsonl")
    with (
        Ledger(ledger_path) if ledger_path else nullcontext() as book,
        jsonl.whole(out) as good,
        jsonl.whole(rejects) as bad,
    ):
        output = Output(source.name, good, bad, book)
        for pending, readings in _read(source, settings, reader, book):
            output.write(pending, readings)
            _stop_if_hopeless(output.counts, settings.chunk)
            on_progress(output.counts)
    if not output.counts.rejected:
        rejects.unlink()
    settings_files.save(settings, out.with_suffix(".settings.yaml"))
    return Outcome(
        counts=output.counts,
        reader=reader.fingerprint(),
        posts_sha256=output.posts.hexdigest(),
        rejected_file=rejects if output.counts.rejected else None,
    )


def _read(
    source: Source, settings: JobSettings, reader: Reader, book: Ledger | None
) -> Iterator[tuple[Pending, list[Reading]]]:
    """Every chunk with the readings of its posts that the ledger did not know."""
    work = _work(source, settings, key(reader.fingerprint()), book)
    if settings.workers == 1:
        return read_alone(reader, work)
    return read_together(settings.of_reader(), source.media_root, settings.workers, work)


def _stop_if_hopeless(counts: Counts, chunk: int) -> None:
    """A wrong key or address fails for every post alike: say so once, not a million times."""
    if counts.rows >= chunk > 1 and counts.unanswered == counts.written > 0:
        raise UserError(
            f"none of the first {counts.rows} posts could be asked: {counts.last_error}",
            mend="check the reader's address, key and model, and run again",
        )


def _work(
    source: Source, settings: JobSettings, reader: str, book: Ledger | None
) -> Iterator[tuple[Pending, list[Post]]]:
    """Each chunk with the posts that still have to be read."""
    for chunk in chunks(source, settings.chunk, settings.limit, settings.reader):
        posts = [e.post for e in chunk.examples]
        if book is None:
            yield Pending(chunk, [""] * len(posts), {}), posts
            continue
        keys = [_key(reader, p, source.media_root, settings) for p in posts]
        known = book.get(keys)
        unread = [p for p, k in zip(posts, keys, strict=True) if k not in known]
        yield Pending(chunk, keys, known), unread


def _key(reader: str, post: Post, root: Path, settings: JobSettings) -> str:
    """Changes with the post, its pictures' bytes, and anything that shapes the reader's answer."""
    pictures: list[JsonValue] = [media.digest(m, root, settings.picture) for m in post.media]
    return key({"reader": reader, "post": post.model_dump_json(), "media": pictures})
