"""Runs an explain job for the terminal: progress while it runs, a table and files after it."""

import shutil
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from rich.console import Console

from gen_msa.annotating import Counts, JobSettings, Outcome, Shard, annotate, annotate_shard
from gen_msa.cli._progress import bar
from gen_msa.data import Source
from gen_msa.data.formats import formats
from gen_msa.report import table, write_csv, write_html
from gen_msa.types import Example, Rejected

SHOWN = 30
"""Posts in the terminal's table."""


def run(
    source: Source,
    settings: JobSettings,
    *,
    lines: Path,
    out: Path | None,
    csv: Path | None,
    html: Path | None,
    ledger: Path | None,
    known: Sequence[Path] = (),
    always_table: bool = False,
) -> int:
    """Do the job and write what was asked for; returns 0, or 3: too many bad rows."""
    err = Console(stderr=True)
    with bar(source, settings.limit, err) as advance:
        outcome = annotate(
            source,
            out or lines,
            settings,
            ledger_path=ledger,
            known=known,
            lines=lines,
            on_progress=advance,
        )
    if out is not None:
        lines = as_asked(lines, out)
    if csv:
        write_csv(_examples(lines), csv)
    if html:
        facts = _facts(source, settings, outcome)
        title = f"{source.name}: {settings.reader}"
        write_html(_examples(lines), html, title=title, media_root=source.media_root, facts=facts)
    _show(lines, to_file=out is not None, always=always_table)
    for line in said(outcome.counts, settings, outcome, [out, csv, html]):
        err.print(line, highlight=False, soft_wrap=True)
    for line in _set_aside(outcome) if out is None else ():
        err.print(line, markup=False, highlight=False, soft_wrap=True)
    return 3 if outcome.too_bad(settings) else 0


def _set_aside(outcome: Outcome) -> Iterator[str]:
    """The rows set aside, where no file keeps them."""
    if outcome.rejected_file is None:
        return
    with outcome.rejected_file.open(encoding="utf-8") as file:
        for line in islice(file, SHOWN):
            row = Rejected.model_validate_json(line)
            yield f"{row.file}, line {row.line}: {row.reason}; mend: {row.mend}"


def run_shard(
    source: Source,
    settings: JobSettings,
    shard: Shard,
    out: Path,
    *,
    ledger: Path | None,
    known: Sequence[Path] = (),
) -> int:
    """Do one shard of the job that would write `out`; returns 0, or 3: run it again.

    Rows that no further run can mend are the whole job's to judge, when its parts are merged.
    """
    err, part = Console(stderr=True), shard.beside(out, ".part")
    with bar(source, settings.limit, err, shard.of) as advance:
        outcome = annotate_shard(
            source, part, shard, settings, ledger_path=ledger, known=known, on_progress=advance
        )
    lines = said(outcome.counts, settings, outcome, [part])
    whole = shard.beside(out, ".part").name.replace(f".{shard.index}-of-", ".*-of-", 1)
    for line in (f"shard {shard}", *lines, f"when all have ended: gen-msa merge {whole} -o {out}"):
        err.print(line, highlight=False, soft_wrap=True)
    return 3 if outcome.worth_another_run(settings) else 0


def as_asked(lines: Path, out: Path) -> Path:
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


def _show(lines: Path, *, to_file: bool, always: bool) -> None:
    if always or sys.stdout.isatty():
        Console().print(table(_examples(lines), SHOWN))
    elif not to_file:
        with lines.open("rb") as f:
            shutil.copyfileobj(f, sys.stdout.buffer)


def _facts(source: Source, settings: JobSettings, outcome: Outcome) -> dict[str, str]:
    counts = outcome.counts
    return {
        "reader": settings.reader,
        "model": str(outcome.reader.get("revision", "")),
        "prompt": _prompt(outcome),
        "data": f"{source.name} (sha256 {outcome.posts_sha256[:12]})",
        "posts": f"{counts.written:,} of {counts.rows:,}",
        "opinions": f"{counts.opinions:,}, {counts.unread:,} could not be read",
    }


def _prompt(outcome: Outcome) -> str:
    settings = outcome.reader.get("settings")
    return str(settings.get("prompt", "")) if isinstance(settings, dict) else "none"


def said(
    counts: Counts, settings: JobSettings, outcome: Outcome, files: list[Path | None]
) -> list[str]:
    """What a finished job tells, a line each."""
    head = (
        f"{counts.written:,} of {counts.rows:,} posts, {counts.opinions:,} opinions by "
        f"{settings.reader}; {counts.unread:,} could not be read"
    )
    lines = [head]
    if counts.repeated:
        lines.append(f"{counts.repeated:,} posts answered from the ledger")
    if counts.unanswered:
        lines.append(f"{counts.unanswered:,} posts could not be asked; run again to ask only those")
    if counts.rejected:
        kept = f"set aside with reasons in {outcome.rejected_file}"
        shown = f"set aside, the first {SHOWN} below; -o OUT.jsonl keeps them"
        lines.append(f"{counts.rejected:,} rows {kept if files[0] else shown}")
    if counts.failed:
        lines.append(f"{counts.failed:,} refused answers, whole, in {outcome.rejected_file}")
    return [*lines, *(f"wrote {path}" for path in files if path)]
