"""How a job ends, whoever did it: late gates made, files closed, what it has to say for itself.

Knows nothing of how readings came to be.

    return ended(output, settings, out, name, reader, seconds)
"""

from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from gen_msa import jsonl
from gen_msa import settings as settings_files
from gen_msa.annotating._gated import build_filters
from gen_msa.annotating._output import JobCounts, JobOutput
from gen_msa.annotating._settings import AnnotateSettings, JobSettings
from gen_msa.annotating._sieving import FilterSplitter
from gen_msa.annotating.gates import FilterContext, filters
from gen_msa.annotating.summary import AnnotationSummary, summarise


@dataclass(frozen=True)
class JobResult:
    """What a finished job has to say for itself."""

    counts: JobCounts
    fingerprint: dict[str, JsonValue]
    """The reader's fingerprint."""
    posts_sha256: str
    """Of all posts written, in order: which data this was."""
    rejected_file: Path | None
    summary: AnnotationSummary | None = None
    """Of a job with gates."""

    def exceeds_error_rate(self, settings: JobSettings) -> bool:
        """Whether more rows were rejected or left unanswered than `max_bad` allows."""
        return self.counts.error_rate() > settings.max_error_rate

    def should_rerun(self, settings: JobSettings) -> bool:
        """Whether more rows could not be asked than `max_bad` allows: the same again may do."""
        return self.counts.unanswered > settings.max_error_rate * self.counts.rows


def file_filters(settings: JobSettings, media_root: Path) -> FilterSplitter | None:
    """The gates that look at the whole file; None for a job without gates."""
    if not isinstance(settings, AnnotateSettings):
        return None
    file_stage = {n: o for n, o in settings.filters.items() if filters[n].stage == "file"}
    file_settings = settings.model_copy(update={"gates": file_stage})
    return FilterSplitter(build_filters(file_settings, FilterContext(media_root)), settings.model)


def rejected_path(out: Path) -> Path:
    """Where the rows that are not in `out` stand."""
    return out.with_suffix(".rejected.jsonl")


def finalize(
    output: JobOutput,
    settings: JobSettings,
    out: Path,
    source: str,
    fingerprint: dict[str, JsonValue],
    seconds: float,
) -> JobResult:
    """Write what lies beside a whole `out`: settings, and a summary where there are gates."""
    settings_files.save(settings, out.with_suffix(".settings.yaml"))
    return JobResult(
        counts=output.counts,
        fingerprint=fingerprint,
        posts_sha256=output.posts.hexdigest(),
        rejected_file=_keep_if_written(output.counts.rejected + output.counts.filtered_out, rejected_path(out)),
        summary=_write_summary(source, settings, output, out, seconds),
    )


def _keep_if_written(n_lines: int, rejected_file: Path) -> Path | None:
    """The rejected file; gone, where nothing stands in it."""
    if n_lines:
        return rejected_file
    rejected_file.unlink()
    return None


def _write_summary(
    source: str, settings: JobSettings, output: JobOutput, out: Path, seconds: float
) -> AnnotationSummary | None:
    if not isinstance(settings, AnnotateSettings) or output.splitter is None:
        return None
    job_facts: dict[str, str | int | float] = {
        "data": source,
        "data_sha256": output.posts.hexdigest(),
        "posts": output.counts.written,
        "rejected_rows": output.counts.rejected,
        "label_fields": output.label_fields,
        "repeated_posts": output.counts.from_cache,
        "seconds": round(seconds, 3),
    }
    summary = summarise(settings, output.splitter.tally, job_facts)
    with jsonl.atomic_write(out.with_suffix(".summary.json")) as f:
        f.write(summary.model_dump_json(indent=1).encode() + b"\n")
    return summary
