"""The output of a job: answers into the cache, examples and rejected rows into their files.

for chunk in chunks(source, 64, None, "echo"): output.write(chunk, predictions)
"""

import hashlib
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, Any, Self

from pydantic import JsonValue, TypeAdapter

from gen_msa import jsonl
from gen_msa import settings as settings_files
from gen_msa.annotation.filtered import (
    FilteredAnswer,
    FilterSplitter,
    build_filters,
    filtered_answer_row,
)
from gen_msa.annotation.filters import FilterContext, filters
from gen_msa.annotation.settings import AnnotateSettings, JobSettings
from gen_msa.annotation.summary import AnnotationSummary, summarise
from gen_msa.answer_cache import AnswerCache
from gen_msa.data import ExampleSource
from gen_msa.data.label_leak import find_label_leaks
from gen_msa.errors import user_errors
from gen_msa.input_notes import InputNotes
from gen_msa.predictors import Prediction
from gen_msa.predictors.image_counts import (
    count_images,
    count_unseen,
    image_line,
    unseen_rate,
)
from gen_msa.predictors.language_counts import count_language
from gen_msa.types import Example, Opinion, Rejected, Status


@dataclass
class Chunk:
    """Consecutive rows of the source: examples with their row numbers, and rejected rows."""

    index: int = 0
    """Number of the chunk in the source, from 0."""
    examples: list[Example] = field(default_factory=list)
    row_numbers: list[int] = field(default_factory=list)
    """1-based row of each example in the source."""
    rejected: list[Rejected] = field(default_factory=list)


class SeenIds:
    """The post ids of a job, on disk once they are many, so that a million need little memory."""

    def __init__(self) -> None:
        # Opened in one thread and closed in another, but never used by two at once.
        self._db = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA synchronous=OFF")
        self._db.execute("PRAGMA journal_mode=OFF")
        self._db.execute("CREATE TABLE ids (id TEXT PRIMARY KEY, row INT) WITHOUT ROWID")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def first_row(self, post_id: str, row: int) -> int:
        """Return the first row with this id: `row` itself if the id is new.

        Args:
            post_id: Id of a post.
            row: 1-based row of that post.
        """
        added = self._db.execute("INSERT OR IGNORE INTO ids VALUES (?, ?)", (post_id, row))
        if added.rowcount:
            return row
        existing = self._db.execute("SELECT row FROM ids WHERE id = ?", (post_id,))
        return int(existing.fetchone()[0])


def chunks(source: ExampleSource, size: int, limit: int | None, annotator: str) -> Iterator[Chunk]:
    """Yield the rows of a source in chunks.

    Rejected are rows that could not be read, a second row with the same id, and rows that already
    have opinions by `annotator`.

    Args:
        source: The posts.
        size: Rows per chunk.
        limit: Maximum number of rows, or None.
        annotator: Name under which the job writes its opinions.
    """
    rows = islice(source.rows(), limit)
    number = index = 0
    with SeenIds() as ids:
        while batch := list(islice(rows, size)):
            chunk, index = Chunk(index), index + 1
            for item in batch:
                number += 1
                if isinstance(item, Rejected):
                    chunk.rejected.append(item)
                elif (first_row := ids.first_row(item.post.id, number)) != number:
                    reason = f"id {item.post.id!r} is also in row {first_row}"
                    hint = "give every post its own id"
                    chunk.rejected.append(as_rejected(source.name, number, item, reason, hint))
                elif item.opinions_by(annotator):
                    reason = f"post {item.post.id!r} already has opinions by {annotator!r}"
                    hint = "use the file without these opinions"
                    chunk.rejected.append(as_rejected(source.name, number, item, reason, hint))
                else:
                    chunk.examples.append(item)
                    chunk.row_numbers.append(number)
            yield chunk


def as_rejected(file: str, number: int, example: Example, reason: str, hint: str) -> Rejected:
    """Return a valid row as `Rejected`.

    Args:
        file: Name of the source.
        number: 1-based row in the source.
        example: The row.
        reason: Why the job rejects it.
        hint: What the user can do.
    """
    raw = example.post.text[:500]
    return Rejected(file=file, line=number, reason=reason, hint=hint, raw=raw)


_OPINIONS = TypeAdapter(tuple[Opinion, ...])


@dataclass
class PendingChunk:
    """A chunk in progress: the cache key of each example, and the cached answers."""

    chunk: Chunk
    keys: Sequence[str]
    cached: Mapping[str, JsonValue]
    is_cached: bool = False
    """Whether the new answers are in the cache already."""
    n_cached_on_ray: int = 0
    """Posts that are not in `cached`, and yet were not asked about in this run."""

    @property
    def new_keys(self) -> list[str]:
        """The keys that the cache lacks."""
        return [key for key in self.keys if key not in self.cached]


@dataclass
class JobCounts:
    """The counts of a job; `written + rejected == rows`."""

    rows: int = 0
    written: int = 0
    rejected: int = 0
    from_cache: int = 0
    """Posts answered from the cache."""
    opinions: int = 0
    unparsed: int = 0
    """Opinions without a polarity, including those of `unanswered` posts."""
    unanswered: int = 0
    """Posts with a failed request; the next run retries them."""
    filtered_out: int = 0
    """Answers that a filter rejected; they are in the rejected file, not in `opinions`."""

    last_error: str = ""
    """Error of the last unanswered post."""
    images: Counter[str] = field(default_factory=Counter)
    """Images of the posts: `seen`, or why the model did not see them."""
    languages: Counter[str] = field(default_factory=Counter)
    """Posts by language, as an ISO 639 code or `unknown`."""

    def error_rate(self) -> float:
        """Return the share of rows rejected or unanswered, 0 to 1."""
        return (self.rejected + self.unanswered) / self.rows if self.rows else 0.0

    def unseen_rate(self) -> float:
        """Return the share of images that could not be read, 0 to 1."""
        return unseen_rate(self.images)

    def image_line(self) -> str:
        """Return `images: 1 of 4 seen, 3 missing`; "" for posts without images."""
        return image_line(self.images)

    def add(self, opinions: Sequence[Opinion], accepted: Sequence[Opinion]) -> None:
        """Count the answers about one post.

        Args:
            opinions: All answers.
            accepted: Those that are written to the output.
        """
        self.opinions += len(accepted)
        self.unparsed += sum(o.polarity is None for o in accepted)
        if has_error(opinions):
            self.unanswered += 1
            errors = [o.provenance.get("error", "") for o in opinions if o.status is Status.ERROR]
            self.last_error = errors[-1]


class JobOutput:
    """Writes the accepted and rejected files of a job."""

    def __init__(
        self,
        source: str,
        accepted_file: IO[bytes],
        rejected_file: IO[bytes],
        splitter: FilterSplitter | None = None,
    ) -> None:
        """Write to open files.

        Args:
            source: Name of the source, for rejected rows.
            accepted_file: Gets the examples.
            rejected_file: Gets rejected rows and answers.
            splitter: Separates accepted from rejected answers; None accepts all.
        """
        self.splitter = splitter
        self.label_fields = 0
        """Label fields found in contexts and explanations of accepted answers."""
        self.counts = JobCounts()
        self.posts = hashlib.sha256()
        """Hash of every post written; identifies the data of a result."""
        self._source = source
        self._accepted_file = accepted_file
        self._rejected_file = rejected_file

    def write(self, chunk: Chunk, predictions: Sequence[Prediction]) -> None:
        """Write one chunk with the predictions for its examples, in order.

        Args:
            chunk: The chunk.
            predictions: One per example of the chunk.
        """
        examples: list[Example] = []
        rejected = list(chunk.rejected)
        for number, example, prediction in zip(
            chunk.row_numbers, chunk.examples, predictions, strict=True
        ):
            if prediction.rejection:
                reason, hint = prediction.rejection, prediction.hint
                rejected.append(as_rejected(self._source, number, example, reason, hint))
            else:
                examples.append(self._add_opinions(example, prediction.opinions, number, rejected))
                accepted = examples[-1].opinions[len(example.opinions) :]
                self.counts.add(prediction.opinions, accepted)
                self.counts.images.update(count_images(example.post, prediction.opinions))
                self.counts.languages.update(count_language(prediction.opinions))
        for written_example in examples:
            self.posts.update(written_example.post.model_dump_json().encode())
        self._accepted_file.writelines(
            written_example.model_dump_json().encode() + b"\n" for written_example in examples
        )
        self._rejected_file.writelines(row.model_dump_json().encode() + b"\n" for row in rejected)
        self.counts.written += len(examples)
        self.counts.rejected += sum(not isinstance(row, FilteredAnswer) for row in rejected)
        self.counts.rows = self.counts.written + self.counts.rejected

    def _add_opinions(
        self, example: Example, opinions: Sequence[Opinion], number: int, rejected: list[Rejected]
    ) -> Example:
        """Return the example with its accepted opinions; add the others to `rejected`."""
        if self.splitter is None:
            return example.with_opinions(*opinions)
        accepted, failed_opinions, excluded_aspects = self.splitter(example, opinions)
        rejected += [
            filtered_answer_row(self._source, number, example, o, o.aspect in excluded_aspects)
            for o in failed_opinions
        ]
        self.counts.filtered_out += len(failed_opinions)
        full_example = example.with_opinions(*accepted)
        self.label_fields += len(find_label_leaks(self._source, [full_example]))
        return full_example


def merge_cached(
    pending: PendingChunk,
    new_predictions: Sequence[Prediction],
    cache: AnswerCache | None,
    annotator: str,
) -> tuple[list[Prediction], int]:
    """Merge cached and new predictions of a chunk; put new ones into the cache first.

    Args:
        pending: The chunk.
        new_predictions: Predictions for the keys that the cache lacks, in order.
        cache: The answer cache, or None.
        annotator: Name under which the job writes its opinions. A cached answer may have been
            written under another one: by another path to the same model.

    Returns:
        The prediction of each example, and the number of cached ones.
    """
    if cache is not None and not pending.is_cached:
        cache_answers(cache, pending, new_predictions)
    remaining = iter(new_predictions)
    predictions = [
        _cached_prediction(k, pending.cached[k], cache, annotator)
        if k in pending.cached
        else next(remaining)
        for k in pending.keys
    ]
    return predictions, len(predictions) - len(new_predictions) + pending.n_cached_on_ray


def _cached_prediction(
    key: str, value: JsonValue, cache: AnswerCache | None, annotator: str
) -> Prediction:
    """Return a cached answer; the file may hold values of another program or version."""
    with user_errors(
        f"the answer cache {cache.path if cache else ''}",
        f"has a value that is no answer ({key[:16]})",
        hint="remove it or name another file, then run again",
    ):
        opinions = _OPINIONS.validate_python(value)
    return Prediction(tuple(o.model_copy(update={"annotator": annotator}) for o in opinions))


def cache_answers(
    cache: AnswerCache, pending: PendingChunk, new_predictions: Sequence[Prediction]
) -> None:
    """Put new answers into the cache as soon as they are there, from any thread.

    Args:
        cache: The answer cache.
        pending: Their chunk.
        new_predictions: Predictions for `pending.new_keys`, in order.
    """
    put_answers(cache, dict(zip(pending.new_keys, new_predictions, strict=True)))
    pending.is_cached = True


def put_answers(cache: AnswerCache, predictions: Mapping[str, Prediction]) -> None:
    """Cache predictions by key, except failed ones, which the next run must retry.

    Args:
        cache: The answer cache.
        predictions: Cache key -> prediction.
    """
    complete_predictions = {
        k: prediction
        for k, prediction in predictions.items()
        if not prediction.rejection and not has_error(prediction.opinions)
    }
    if complete_predictions:
        cache.put(
            {
                k: _OPINIONS.dump_python(prediction.opinions, mode="json")
                for k, prediction in complete_predictions.items()
            }
        )


def has_error(opinions: Sequence[Opinion]) -> bool:
    """Return whether a request failed."""
    return any(o.status is Status.ERROR for o in opinions)


@dataclass(frozen=True)
class JobResult:
    """The result of a finished job."""

    counts: JobCounts
    fingerprint: dict[str, JsonValue]
    """Fingerprint of the teacher."""
    posts_sha256: str
    """Hash of all posts written, in order; identifies the data."""
    rejected_file: Path | None
    summary: AnnotationSummary | None = None
    """Only for a job with filters."""
    notes: InputNotes = field(default_factory=InputNotes)
    """What of the source was guessed or not used."""

    @property
    def unused(self) -> Counter[str]:
        """How much of the input was not used, by kind: rows, images, columns, labels."""
        return count_unused(self.counts, self.notes)

    def exceeds_error_rate(self, settings: JobSettings) -> bool:
        """Return whether more rows or images failed than `max_error_rate` allows."""
        rates = (self.counts.error_rate(), self.counts.unseen_rate())
        return max(rates) > settings.max_error_rate

    def should_rerun(self, settings: JobSettings) -> bool:
        """Return whether more posts are unanswered than `max_error_rate` allows."""
        return self.counts.unanswered > settings.max_error_rate * self.counts.rows


def file_filters(settings: JobSettings, media_root: Path) -> FilterSplitter | None:
    """Build the filters that need the complete file; None for a job without filters.

    Args:
        settings: The job.
        media_root: Folder that image paths are relative to.

    Returns:
        The splitter of accepted and rejected answers.
    """
    if not isinstance(settings, AnnotateSettings):
        return None
    file_stage = {n: o for n, o in settings.filters.items() if filters[n].stage == "file"}
    file_settings = settings.model_copy(update={"filters": file_stage})
    return FilterSplitter(build_filters(file_settings, FilterContext(media_root)), settings.model)


def rejected_path(out: Path) -> Path:
    """Return the path of the rejected file beside `out`."""
    return out.with_suffix(".rejected.jsonl")


def finalize(
    output: JobOutput,
    settings: JobSettings,
    out: Path,
    source: str,
    fingerprint: dict[str, JsonValue],
    seconds: float,
    *,
    notes: InputNotes,
) -> JobResult:
    """Write the files beside a complete `out`: settings, and a summary if there are filters.

    Args:
        output: The written output.
        settings: The job.
        out: The output file.
        source: Name of the source.
        fingerprint: Fingerprint of the teacher.
        seconds: Duration of the run.
        notes: What of the source was guessed or not used.

    Returns:
        The result of the job.
    """
    settings_files.save(settings, out.with_suffix(".settings.yaml"))
    return JobResult(
        counts=output.counts,
        fingerprint=fingerprint,
        posts_sha256=output.posts.hexdigest(),
        rejected_file=_keep_if_written(
            output.counts.rejected + output.counts.filtered_out, rejected_path(out)
        ),
        summary=_write_summary(source, settings, output, out, seconds, notes),
        notes=notes,
    )


def count_unused(counts: JobCounts, notes: InputNotes) -> Counter[str]:
    """Count what of an input a job did not use, by kind.

    Args:
        counts: Counts of the job.
        notes: The notes on its source.

    Returns:
        Kind (`row`, `image`, `column`, `label`, …) -> number; nothing where all was used.
    """
    return notes.unused + Counter(row=counts.rejected, image=count_unseen(counts.images))


def _keep_if_written(n_lines: int, rejected_file: Path) -> Path | None:
    """Return the rejected file, or None after deleting it if it is empty."""
    if n_lines:
        return rejected_file
    rejected_file.unlink()
    return None


def _write_summary(
    source: str,
    settings: JobSettings,
    output: JobOutput,
    out: Path,
    seconds: float,
    notes: InputNotes,
) -> AnnotationSummary | None:
    if not isinstance(settings, AnnotateSettings) or output.splitter is None:
        return None
    job_facts: dict[str, Any] = {
        "data": source,
        "data_sha256": output.posts.hexdigest(),
        "posts": output.counts.written,
        "rejected_rows": output.counts.rejected,
        "images": output.counts.images,
        "unused": count_unused(output.counts, notes),
        "notes": notes.texts,
        "label_fields": output.label_fields,
        "cached_posts": output.counts.from_cache,
        "seconds": round(seconds, 3),
    }
    summary = summarise(settings, output.splitter.tally, job_facts)
    with jsonl.atomic_write(out.with_suffix(".summary.json")) as f:
        f.write(summary.model_dump_json(indent=1).encode() + b"\n")
    return summary
