"""`gen-msa annotate`: a teacher's labels, reasons and contexts, through gates, into a file."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from gen_msa.cli import _asked, _remote
from gen_msa.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from gen_msa.annotating import AnnotateSettings, JobSettings, Outcome, Summary
    from gen_msa.annotating.estimating import Estimate
    from gen_msa.annotating.summary import GoldAgreement
    from gen_msa.data import Source

Out = Annotated[str, typer.Option("--out", "-o", help="Write accepted opinions here: .jsonl.")]
MaxBad = Annotated[float | None, typer.Option("--max-bad", help="Share of bad rows before exit 3.")]
Fresh = Annotated[bool, typer.Option("--fresh", help="Forget earlier answers.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Show the first question and count; ask nothing.")
]


def annotate(
    out: Out,
    posts: _asked.Posts = None,
    reader: _asked.ReaderName = None,
    prompt: _asked.PromptName = None,
    max_bad: MaxBad = None,
    fresh: Fresh = False,
    dry_run: DryRun = False,
    config: _asked.Config = None,
    format: _asked.FormatName = None,
    media_root: _asked.MediaRoot = None,
    shard: _asked.ShardOf = None,
    known: _asked.Known = None,
    engine: _asked.Engine = None,
    address: _asked.Address = None,
) -> None:
    """Have a teacher write labels, reasons or contexts, and keep what passes the gates.

    gen-msa annotate posts.jsonl -r http:URL#MODEL -p teacher/rationale -o teacher.jsonl
    'gates={naming: {}, length: {max_words: 60}}'
    """
    shared = (posts, "", None, None, False, reader, prompt, config, format, media_root)
    asked = _asked.Asked(*shared)
    place = _remote.Place.of(out)
    if place.here is None or place.here.suffix != ".jsonl":
        raise UserError(f"-o {out}: write .jsonl", mend="gen-msa convert makes .parquet of it")
    spread = _asked.Spread(shard, known, engine, address)
    given = _Files(place.here, fresh and not dry_run, dry_run)
    code = _run(asked, given, spread, max_bad)
    if mine := spread.share(kept=True):
        place.send(mine.beside(place.here, ".part"))
    elif not dry_run:
        place.send_all()
    sys.exit(code)


class _Files(NamedTuple):
    out: Path
    fresh: bool
    dry_run: bool


def _run(asked: _asked.Asked, files: _Files, spread: _asked.Spread, max_bad: float | None) -> int:
    from gen_msa.annotating import AnnotateSettings
    from gen_msa.cli._job import run_shard

    out, known = files.out, spread.known or ()
    shard = spread.share(kept=not (known and files.fresh))
    given = asked.settings_of(AnnotateSettings, max_bad=max_bad, **spread.settings())
    settings, source = _tasked(given), asked.source(out)
    ledger = shard.beside(out, ".ledger") if shard else out.with_suffix(".ledger")
    if files.fresh:
        ledger.unlink(missing_ok=True)
    if shard and not files.dry_run:
        return run_shard(source, settings, shard, out, ledger=ledger, known=known)
    return _whole(source, settings, files, ledger, known)


def _whole(
    source: "Source",
    settings: "AnnotateSettings",
    files: _Files,
    ledger: Path,
    known: Sequence[Path],
) -> int:
    """A job that is not shared: what it will cost, then its files."""
    from rich.console import Console

    from gen_msa.annotating import annotate as work
    from gen_msa.annotating import prepared
    from gen_msa.annotating.estimating import estimate
    from gen_msa.cli._progress import bar

    err, teacher = Console(stderr=True), prepared(source, settings)
    kept: dict[str, Any] = {"ledger_path": ledger, "known": known}
    book = None if files.dry_run else ledger
    _tell(err, estimate(source, settings, teacher, book, known), settings)
    if files.dry_run:
        return 0
    with bar(source, settings.limit, err) as advance:
        outcome = work(source, files.out, settings, **kept, teacher=teacher, on_progress=advance)
    return finished(err, outcome, settings, files.out)


def finished(err: "Console", outcome: "Outcome", settings: "JobSettings", out: Path) -> int:
    """Show what a job with gates came to; returns its exit code."""
    from gen_msa.cli._job import said

    summary = outcome.summary
    if summary is None:
        raise RuntimeError("a job with gates has a summary")
    show(err, summary)
    files = [out, out.with_suffix(".summary.json")]
    _print(err, said(outcome.counts, settings, outcome, [*files]))
    return 3 if outcome.too_bad(settings) or summary.label_fields else 0


def _tasked(settings: "AnnotateSettings") -> "AnnotateSettings":
    """The prompt in the place of its task; `teacher/rationale` for a reader that brings none."""
    from gen_msa import prompting
    from gen_msa.backends import backends

    if not settings.prompt:
        if settings.reader.partition(":")[0] not in backends:
            return settings
        return settings.model_copy(update={"prompt": "teacher/rationale"})
    task = prompting.load(settings.prompt).task
    if settings.aspects == "auto" and task == "overall":
        more = {"aspects": "overall", "overall_prompt": settings.prompt}
        return settings.model_copy(update=more)
    if settings.aspects == "auto" and task == "aspects":
        more = {"aspects": "reader", "aspects_prompt": settings.prompt}
        return settings.model_copy(update=more)
    return settings


def _tell(console: "Console", ahead: "Estimate", settings: "AnnotateSettings") -> None:
    """What lies ahead: the first question whole, then the counts."""
    from gen_msa.cli.preview import show as show_question

    if ahead.first:
        show_question(console, ahead.first)
    lines = [f"ahead: {ahead.posts:,} posts, {ahead.questions:,} questions to {settings.reader}"]
    if ahead.tokens:
        read, written = ahead.tokens
        answers = f", {written:,.0f} of answers" if ahead.probed else ""
        lines.append(f"about {read:,.0f} tokens of prompts{answers}")
    if ahead.seconds is not None:
        lines.append(f"about {_clock(ahead.seconds)}, by the first {ahead.probed} posts")
    if settings.prices:
        cost = "not to be known beforehand" if ahead.money is None else f"{ahead.money:,.2f}"
        lines.append(f"about {cost} in money")
    if not settings.gates:
        lines.append("no gates: every answer that can be read whole is kept")
    _print(console, lines)


def show(console: "Console", summary: "Summary") -> None:
    """Print a summary: a table of gates, then agreement with gold, tokens, time and money."""
    from rich.table import Table

    table = Table("gate", "answers shown", "refused", "accepted")
    for name, count in summary.gates.items():
        share = "" if count.acceptance is None else f"{count.acceptance:.1%}"
        table.add_row(name, f"{count.shown:,}", f"{count.refused:,}", share)
    console.print(table)
    s = summary
    share = f"accepted {s.accepted:,} of {s.questions:,} questions ({s.acceptance:.1%})"
    lines = [
        f"{share}, {s.retried:,} at a further try; {s.excluded:,} excluded",
        f"{s.unanswered:,} could not be asked" if s.unanswered else "",
        _agreement("first answers", s.first_answers),
        _agreement("accepted answers", s.accepted_answers),
        "gold was told to the teacher: agreement with it says nothing" if s.guided else "",
        _spent(s),
        f"{s.label_fields} label fields in contexts or reasons of rows kept apart"
        if s.label_fields
        else "",
    ]
    _print(console, [line for line in lines if line])


def _agreement(what: str, found: "GoldAgreement | None") -> str:
    if found is None:
        return f"{what}: no gold to hold them against"
    kappa = "undefined" if found.kappa is None else f"{found.kappa:.3f}"
    cells = "; ".join(
        f"{gold} as {', '.join(f'{said} {n:,}' for said, n in row.items())}"
        for gold, row in found.confusion.items()
    )
    figures = f"kappa {kappa}, accuracy {found.accuracy:.1%}, n {found.n:,}"
    return f"{what} against gold: {figures} ({cells})"


def _spent(s: "Summary") -> str:
    tokens = "tokens not counted"
    if s.prompt_tokens is not None and s.answer_tokens is not None:
        tokens = f"{s.prompt_tokens:,} tokens of prompts, {s.answer_tokens:,} of answers"
    money = "" if s.money is None else f", {s.money:,.2f} in money"
    return f"{tokens}{money}; this run took {_clock(s.seconds)}"


def _clock(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _print(console: "Console", lines: list[str]) -> None:
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True, markup=False)
