"""How a job ends, whoever did it: late gates made, files closed, what it has to say for itself.

Knows nothing of how readings came to be.

    return ended(output, settings, out, name, reader, seconds)
"""

from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from gen_msa import jsonl
from gen_msa import settings as settings_files
from gen_msa.annotating._gated import made_gates
from gen_msa.annotating._output import Counts, Output
from gen_msa.annotating._settings import AnnotateSettings, JobSettings
from gen_msa.annotating._sieving import Sieve
from gen_msa.annotating.gates import Bench, gates
from gen_msa.annotating.summary import Summary, summarise


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

    def worth_another_run(self, settings: JobSettings) -> bool:
        """Whether more rows could not be asked than `max_bad` allows: the same again may do."""
        return self.counts.unanswered > settings.max_bad * self.counts.rows


def sieve_of(settings: JobSettings, media_root: Path) -> Sieve | None:
    """The gates that look at the whole file; None for a job without gates."""
    if not isinstance(settings, AnnotateSettings):
        return None
    late = {n: o for n, o in settings.gates.items() if gates[n].stage == "file"}
    few = settings.model_copy(update={"gates": late})
    return Sieve(made_gates(few, Bench(media_root)), settings.reader)


def rejects_of(out: Path) -> Path:
    """Where the rows that are not in `out` stand."""
    return out.with_suffix(".rejected.jsonl")


def ended(
    output: Output,
    settings: JobSettings,
    out: Path,
    source: str,
    reader: dict[str, JsonValue],
    seconds: float,
) -> Outcome:
    """Write what lies beside a whole `out`: settings, and a summary where there are gates."""
    settings_files.save(settings, out.with_suffix(".settings.yaml"))
    return Outcome(
        counts=output.counts,
        reader=reader,
        posts_sha256=output.posts.hexdigest(),
        rejected_file=_kept_if(output.counts.rejected + output.counts.failed, rejects_of(out)),
        summary=_summary(source, settings, output, out, seconds),
    )


def _kept_if(lines: int, rejects: Path) -> Path | None:
    """The rejected file; gone, where nothing stands in it."""
    if lines:
        return rejects
    rejects.unlink()
    return None


def _summary(
    source: str, settings: JobSettings, output: Output, out: Path, seconds: float
) -> Summary | None:
    if not isinstance(settings, AnnotateSettings) or output.sieve is None:
        return None
    facts: dict[str, str | int | float] = {
        "data": source,
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
