"""Runs an explain job for the terminal: progress while it runs, a table and files after it."""

import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from gen_msa.annotation import JobCounts, JobResult, JobSettings, Shard, annotate, annotate_shard
from gen_msa.data import ExampleSource
from gen_msa.data.formats import formats
from gen_msa.report import opinion_table, write_csv, write_html
from gen_msa.types import Example, Rejected

# Progress with rate and time left; silent when nobody is looking at the terminal.

_MAX_COUNTED_ROWS = 200_000
"""Rows counted ahead for the time left; a longer source shows its rate only."""


class _RateColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.1f} posts/s" if task.speed else "")


@contextmanager
def progress_bar(
    source: ExampleSource, limit: int | None, console: Console, n_shards: int = 1
) -> Iterator[Callable[[JobCounts], None]]:
    """A progress bar on `console`; the function given is called with the job's counts.

    `shares`: among how many jobs the source is divided.
    """
    if not console.is_terminal:
        yield lambda _: None
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _RateColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        total = _count_rows(source, limit)
        task = progress.add_task("reading", total=total and total // n_shards)

        def advance(counts: JobCounts) -> None:
            unparsed = f", {counts.unparsed} unread" if counts.unparsed else ""
            progress.update(task, completed=counts.rows, description=f"reading{unparsed}")

        yield advance


def _count_rows(source: ExampleSource, limit: int | None) -> int | None:
    max_rows = min(limit or _MAX_COUNTED_ROWS, _MAX_COUNTED_ROWS)
    count = sum(1 for _ in islice(source.rows(), max_rows))
    return count if count < _MAX_COUNTED_ROWS else None


MAX_TABLE_ROWS = 30
"""Posts in the terminal's table."""


def run(
    source: ExampleSource,
    settings: JobSettings,
    *,
    lines: Path,
    out: Path | None,
    csv: Path | None,
    html: Path | None,
    cache_path: Path | None,
    reuse_cache: Sequence[Path] = (),
    always_table: bool = False,
) -> int:
    """Do the job and write what was asked for; returns 0, or 3: too many bad rows."""
    console = Console(stderr=True)
    with progress_bar(source, settings.limit, console) as on_progress:
        outcome = annotate(
            source,
            out or lines,
            settings,
            cache_path=cache_path,
            reuse_cache=reuse_cache,
            lines=lines,
            on_progress=on_progress,
        )
    if out is not None:
        lines = to_output_format(lines, out)
    if csv:
        write_csv(_examples(lines), csv)
    if html:
        report_facts = _report_facts(source, settings, outcome)
        title = f"{source.name}: {settings.model}"
        write_html(
            _examples(lines), html, title=title, media_root=source.media_root, facts=report_facts
        )
    _show_table(lines, to_file=out is not None, always=always_table)
    for line in result_lines(outcome.counts, settings, outcome, [out, csv, html]):
        console.print(line, highlight=False, soft_wrap=True)
    for line in _rejected_lines(outcome) if out is None else ():
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    return 3 if outcome.exceeds_error_rate(settings) else 0


def _rejected_lines(outcome: JobResult) -> Iterator[str]:
    """The rows set aside, where no file keeps them."""
    if outcome.rejected_file is None:
        return
    with outcome.rejected_file.open(encoding="utf-8") as file:
        for line in islice(file, MAX_TABLE_ROWS):
            row = Rejected.model_validate_json(line)
            yield f"{row.file}, line {row.line}: {row.reason}; mend: {row.hint}"


def run_shard(
    source: ExampleSource,
    settings: JobSettings,
    shard: Shard,
    out: Path,
    *,
    cache_path: Path | None,
    reuse_cache: Sequence[Path] = (),
) -> int:
    """Do one shard of the job that would write `out`; returns 0, or 3: run it again.

    Rows that no further run can mend are the whole job's to judge, when its parts are merged.
    """
    console, part_path = Console(stderr=True), shard.path_beside(out, ".part")
    with progress_bar(source, settings.limit, console, shard.n_shards) as on_progress:
        outcome = annotate_shard(
            source,
            part_path,
            shard,
            settings,
            cache_path=cache_path,
            reuse_cache=reuse_cache,
            on_progress=on_progress,
        )
    lines = result_lines(outcome.counts, settings, outcome, [part_path])
    part_pattern = shard.path_beside(out, ".part").name.replace(f".{shard.index}-of-", ".*-of-", 1)
    for line in (
        f"shard {shard}",
        *lines,
        f"when all have ended: gen-msa merge {part_pattern} -o {out}",
    ):
        console.print(line, highlight=False, soft_wrap=True)
    return 3 if outcome.should_rerun(settings) else 0


def to_output_format(lines: Path, out: Path) -> Path:
    """The job's JSONL as what was asked for: itself, or a Parquet file in its place."""
    if out != lines:
        formats["parquet"].write(out, _examples(lines))
        lines.unlink()  # ours alone: see `lines_path`
    return out


def _examples(path: Path) -> Iterator[Example]:
    kind = formats["parquet" if path.suffix == ".parquet" else "jsonl"]
    for row in kind.read(path):
        if isinstance(row, Rejected):
            raise RuntimeError(f"our own output cannot be read back: {row.reason}")
        yield row


def _show_table(lines: Path, *, to_file: bool, always: bool) -> None:
    if always or sys.stdout.isatty():
        Console().print(opinion_table(_examples(lines), MAX_TABLE_ROWS))
    elif not to_file:
        with lines.open("rb") as f:
            shutil.copyfileobj(f, sys.stdout.buffer)


def _report_facts(
    source: ExampleSource, settings: JobSettings, outcome: JobResult
) -> dict[str, str]:
    counts = outcome.counts
    return {
        "model": settings.model,
        "revision": str(outcome.fingerprint.get("revision", "")),
        "prompt": _prompt(outcome),
        "data": f"{source.name} (sha256 {outcome.posts_sha256[:12]})",
        "posts": f"{counts.written:,} of {counts.rows:,}",
        "opinions": f"{counts.opinions:,}, {counts.unparsed:,} could not be read",
    }


def _prompt(outcome: JobResult) -> str:
    settings = outcome.fingerprint.get("settings")
    return str(settings.get("prompt", "")) if isinstance(settings, dict) else "none"


def result_lines(
    counts: JobCounts, settings: JobSettings, outcome: JobResult, files: list[Path | None]
) -> list[str]:
    """What a finished job tells, a line each."""
    summary_line = (
        f"{counts.written:,} of {counts.rows:,} posts, {counts.opinions:,} opinions by "
        f"{settings.model}; {counts.unparsed:,} could not be read"
    )
    lines = [summary_line]
    if counts.from_cache:
        lines.append(f"{counts.from_cache:,} posts answered from the ledger")
    if counts.unanswered:
        lines.append(f"{counts.unanswered:,} posts could not be asked; run again to ask only those")
    if counts.rejected:
        file_note = f"set aside with reasons in {outcome.rejected_file}"
        table_note = f"set aside, the first {MAX_TABLE_ROWS} below; -o OUT.jsonl keeps them"
        lines.append(f"{counts.rejected:,} rows {file_note if files[0] else table_note}")
    if counts.filtered_out:
        lines.append(f"{counts.filtered_out:,} refused answers, whole, in {outcome.rejected_file}")
    return [*lines, *(f"wrote {path}" for path in files if path)]
