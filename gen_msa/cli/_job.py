"""Run an explain job for the terminal: a progress bar, then a table and the output files."""

import shutil
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from rich.console import Console

from gen_msa.annotation import JobCounts, JobResult, JobSettings, Shard, annotate, annotate_shard
from gen_msa.api.explain import report_facts
from gen_msa.api.progress import progress_bar
from gen_msa.cli._options import count_noun, print_lines
from gen_msa.cli._overwrite import stale_files
from gen_msa.data import ExampleSource
from gen_msa.data.formats import formats
from gen_msa.predictors.language_counts import language_lines
from gen_msa.report import opinion_table, write_csv, write_html, write_xlsx
from gen_msa.report.opinion_tables import MAX_CELL_CHARS
from gen_msa.report.style import printable, unused_line
from gen_msa.types import Example, Rejected

MAX_TABLE_ROWS = 30
"""Maximum number of posts in the terminal table."""


def run(
    source: ExampleSource,
    settings: JobSettings,
    *,
    lines: Path,
    out: Path | None,
    csv: Path | None,
    xlsx: Path | None = None,
    html: Path | None,
    cache_path: Path | None,
    reuse_cache: Sequence[Path] = (),
    always_table: bool = False,
) -> int:
    """Run the job and write its outputs.

    Args:
        source: The posts.
        settings: The model and how the job runs.
        lines: Where the job writes its JSONL; equal to `out` if that is JSONL.
        out: `.jsonl` or `.parquet`, or None to print.
        csv: Also write a CSV here.
        xlsx: Also write a workbook here.
        html: Also write a report here.
        cache_path: The answer cache of this job; None for none.
        reuse_cache: Answer caches of other runs.
        always_table: Print the table even if the output is not a terminal.

    Returns:
        The exit code: 0, or 3 when more rows failed than `settings.max_error_rate` allows or there
        were none.
    """
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
    examples = _WrittenExamples(lines)
    if csv:
        write_csv(examples, csv)
    cut_cells = write_xlsx(examples, xlsx) if xlsx else 0
    if html:
        facts = report_facts(source.name, settings, outcome)
        title = f"{source.name}: {settings.model}"
        write_html(examples, html, title=title, media_root=source.media_root, facts=facts)
    _show_table(lines, to_file=out is not None, always=always_table)
    files = [out, csv, xlsx, html]
    summary = result_lines(outcome.counts, settings, outcome, files)
    summary[-1:-1] = _file_lines(files, cut_cells)
    if not outcome.counts.rows:
        summary.insert(0, f"{source.name} has no posts")
    print_lines(console, summary)
    return 3 if outcome.exceeds_error_rate(settings) or not outcome.counts.rows else 0


def _file_lines(files: Sequence[Path | None], cut_cells: int) -> Iterator[str]:
    """Yield lines on older files beside the output, the first of `files`, and on cells cut."""
    out, _, xlsx, _ = files
    if out and (stale := stale_files(out, {path for path in files if path})):
        yield f"of an earlier run: {', '.join(map(str, stale))}"
    if cut_cells:
        yield f"{count_noun(cut_cells, 'cell')} of {xlsx} cut at {MAX_CELL_CHARS:,} characters"


def _rejected_lines(outcome: JobResult) -> Iterator[str]:
    """Return a line for each rejected row, for a job without an output file."""
    if outcome.rejected_file is None:
        return
    with outcome.rejected_file.open(encoding="utf-8") as file:
        for line in islice(file, MAX_TABLE_ROWS):
            row = Rejected.model_validate_json(line)
            yield f"{row.file}, line {row.line}: {row.reason}; hint: {row.hint}"


def run_shard(
    source: ExampleSource,
    settings: JobSettings,
    shard: Shard,
    out: Path,
    *,
    cache_path: Path | None,
    reuse_cache: Sequence[Path] = (),
) -> int:
    """Run one shard of the job that would write `out`; write `OUT.i-of-n.part`.

    Returns:
        0, or 3 when too many posts got no answer, so that the shard should run again. Rows that no
        further run can fix are judged when the parts are merged.

    Args:
        source: All posts.
        settings: The model and how the job runs.
        shard: Which part.
        out: The output of the complete job.
        cache_path: The answer cache of this shard; None for none.
        reuse_cache: Answer caches of other runs.
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
    part_pattern = part_path.name.replace(f".{shard.index}-of-", ".*-of-", 1)
    lines = [f"shard {shard}", *result_lines(outcome.counts, settings, outcome, [part_path])]
    lines.insert(-1, f"after all shards: gen-msa merge {part_pattern} -o {out}")
    print_lines(console, lines)
    return 3 if outcome.should_rerun(settings) else 0


def to_output_format(lines: Path, out: Path) -> Path:
    """Turn the JSONL of a job into the format of `out`; return `out`.

    Args:
        lines: JSONL of the job.
        out: The output.

    Returns:
        `out`.
    """
    if out != lines:
        formats["parquet"].write(out, _examples(lines))
        lines.unlink()  # a temporary file: see `lines_path`
    return out


class _WrittenExamples:
    """The examples of an output, read anew in every pass."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __iter__(self) -> Iterator[Example]:
        return _examples(self._path)


def _examples(path: Path) -> Iterator[Example]:
    kind = formats["parquet" if path.suffix == ".parquet" else "jsonl"]
    for row in kind.read(path):
        if isinstance(row, Rejected):
            raise RuntimeError(f"the output cannot be read back: {row.reason}")
        yield row


def _show_table(lines: Path, *, to_file: bool, always: bool) -> None:
    if always or sys.stdout.isatty():
        Console().print(opinion_table(_examples(lines), MAX_TABLE_ROWS))
    elif not to_file:
        with lines.open("rb") as f:
            shutil.copyfileobj(f, sys.stdout.buffer)


def result_lines(
    counts: JobCounts, settings: JobSettings, outcome: JobResult, files: list[Path | None]
) -> list[str]:
    """Return the lines that summarize a finished job: counts, rejected rows, files written.

    Args:
        counts: Counts of the job.
        settings: The job.
        outcome: Its result.
        files: The written files.
    """
    posts = f"{counts.written:,} of {count_noun(counts.rows, 'post')}"
    opinions = f"{count_noun(counts.opinions, 'opinion')} by {settings.model}"
    lines = [f"{posts}, {opinions}; {counts.unparsed:,} unparsed"]
    if image_line := counts.image_line():
        lines.append(image_line)
    lines += language_lines(counts.languages, settings.model)
    if counts.from_cache:
        lines.append(f"{count_noun(counts.from_cache, 'post')} answered from the cache")
    if counts.unanswered:
        failed = count_noun(counts.unanswered, "post")
        cause = f": {printable(counts.last_error)}" if counts.last_error else ""
        lines.append(f"{failed} without an answer; run again to retry only those{cause}")
    if counts.rejected:
        where = (
            f"see {outcome.rejected_file}"
            if files[0]
            else f"the first {MAX_TABLE_ROWS} below; -o OUT.jsonl keeps all"
        )
        lines.append(f"{count_noun(counts.rejected, 'row')} rejected; {where}")
        lines += () if files[0] else _rejected_lines(outcome)
    if counts.filtered_out:
        answers = count_noun(counts.filtered_out, "answer")
        lines.append(f"{answers} filtered out; see {outcome.rejected_file}")
    lines += [f"wrote {path}" for path in files if path]
    return [*lines, unused_line(outcome.unused)]
