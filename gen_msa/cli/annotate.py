"""`gen-msa annotate`: a teacher's labels, reasons and contexts, through gates, into a file."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from gen_msa.cli import _options, _remote
from gen_msa.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from gen_msa.annotation import AnnotateSettings, AnnotationSummary, JobResult, JobSettings
    from gen_msa.annotation.cost_estimate import CostEstimate
    from gen_msa.annotation.summary import GoldAgreement
    from gen_msa.data import ExampleSource

OutOption = Annotated[
    str, typer.Option("--out", "-o", help="Write accepted opinions here: .jsonl.")
]
MaxErrorRateOption = Annotated[
    float | None, typer.Option("--max-error-rate", help="Share of bad rows before exit 3.")
]
NoCacheOption = Annotated[bool, typer.Option("--no-cache", help="Forget earlier answers.")]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Show the first question and count; ask nothing.")
]


def annotate(
    out: OutOption,
    posts: _options.PostsArgument = None,
    model: _options.ModelOption = None,
    prompt: _options.PromptOption = None,
    max_error_rate: MaxErrorRateOption = None,
    no_cache: NoCacheOption = False,
    dry_run: DryRunOption = False,
    config: _options.ConfigOption = None,
    format: _options.FormatOption = None,
    media_root: _options.MediaRootOption = None,
    shard: _options.ShardOption = None,
    reuse_cache: _options.ReuseCacheOption = None,
    engine: _options.EngineOption = None,
    address: _options.AddressOption = None,
) -> None:
    """Have a teacher write labels, reasons or contexts, and keep what passes the gates.

    gen-msa annotate posts.jsonl -r http:URL#MODEL -p teacher/rationale -o teacher.jsonl
    'filters={mentions_aspect: {}, length: {max_words: 60}}'
    """
    job_options = (posts, "", None, None, False, model, prompt, config, format, media_root)
    options = _options.JobOptions(*job_options)
    location = _remote.OutputLocation.of(out)
    if location.local_path is None or location.local_path.suffix != ".jsonl":
        raise UserError(f"-o {out}: write .jsonl", hint="gen-msa convert makes .parquet of it")
    parallel = _options.ParallelOptions(shard, reuse_cache, engine, address)
    outputs = _AnnotateOutputs(location.local_path, no_cache and not dry_run, dry_run)
    code = _run(options, outputs, parallel, max_error_rate)
    if shard_spec := parallel.parse_shard(has_output=True):
        location.send(shard_spec.path_beside(location.local_path, ".part"))
    elif not dry_run:
        location.send_all()
    sys.exit(code)


class _AnnotateOutputs(NamedTuple):
    out: Path
    no_cache: bool
    dry_run: bool


def _run(
    options: _options.JobOptions,
    outputs: _AnnotateOutputs,
    parallel: _options.ParallelOptions,
    max_error_rate: float | None,
) -> int:
    from gen_msa.annotation import AnnotateSettings
    from gen_msa.cli._job import run_shard

    out, reuse_cache = outputs.out, parallel.reuse_cache or ()
    shard = parallel.parse_shard(has_output=not (reuse_cache and outputs.no_cache))
    base_settings = options.settings_of(
        AnnotateSettings, max_error_rate=max_error_rate, **parallel.settings()
    )
    settings, source = _with_task(base_settings), options.source(out)
    cache_path = shard.path_beside(out, ".cache") if shard else out.with_suffix(".cache")
    if outputs.no_cache:
        cache_path.unlink(missing_ok=True)
    if shard and not outputs.dry_run:
        return run_shard(
            source, settings, shard, out, cache_path=cache_path, reuse_cache=reuse_cache
        )
    return _run_unsharded(source, settings, outputs, cache_path, reuse_cache)


def _run_unsharded(
    source: "ExampleSource",
    settings: "AnnotateSettings",
    outputs: _AnnotateOutputs,
    cache_path: Path,
    reuse_cache: Sequence[Path],
) -> int:
    """A job that is not shared: what it will cost, then its files."""
    from rich.console import Console

    from gen_msa.annotation import annotate as work
    from gen_msa.annotation import make_job_teacher
    from gen_msa.annotation.cost_estimate import estimate_cost
    from gen_msa.cli._job import progress_bar

    console, teacher = Console(stderr=True), make_job_teacher(source, settings)
    cache_options: dict[str, Any] = {"cache_path": cache_path, "reuse_cache": reuse_cache}
    probe_cache = None if outputs.dry_run else cache_path
    _print_estimate(
        console, estimate_cost(source, settings, teacher, probe_cache, reuse_cache), settings
    )
    if outputs.dry_run:
        return 0
    with progress_bar(source, settings.limit, console) as on_progress:
        outcome = work(
            source, outputs.out, settings, **cache_options, teacher=teacher, on_progress=on_progress
        )
    return finish_filtered(console, outcome, settings, outputs.out)


def finish_filtered(
    console: "Console", outcome: "JobResult", settings: "JobSettings", out: Path
) -> int:
    """Show what a job with gates came to; returns its exit code."""
    from gen_msa.cli._job import result_lines

    summary = outcome.summary
    if summary is None:
        raise RuntimeError("a job with gates has a summary")
    show_summary(console, summary)
    files = [out, out.with_suffix(".summary.json")]
    _print_lines(console, result_lines(outcome.counts, settings, outcome, [*files]))
    return 3 if outcome.exceeds_error_rate(settings) or summary.label_fields else 0


def _with_task(settings: "AnnotateSettings") -> "AnnotateSettings":
    """The prompt in the place of its task; `teacher/rationale` for a reader that brings none."""
    from gen_msa import prompting
    from gen_msa.backends import backends

    if not settings.prompt:
        if settings.model.partition(":")[0] not in backends:
            return settings
        return settings.model_copy(update={"prompt": "teacher/rationale"})
    task = prompting.load_prompt(settings.prompt).task
    if settings.aspects == "auto" and task == "overall":
        update = {"aspects": "overall", "overall_prompt": settings.prompt}
        return settings.model_copy(update=update)
    if settings.aspects == "auto" and task == "aspects":
        update = {"aspects": "model", "aspects_prompt": settings.prompt}
        return settings.model_copy(update=update)
    return settings


def _print_estimate(
    console: "Console", cost_estimate: "CostEstimate", settings: "AnnotateSettings"
) -> None:
    """What lies ahead: the first question whole, then the counts."""
    from gen_msa.cli.preview import show_request as show_question

    if cost_estimate.first_request:
        show_question(console, cost_estimate.first_request)
    lines = [
        f"ahead: {cost_estimate.posts:,} posts, {cost_estimate.requests:,} questions to {settings.model}"
    ]
    if cost_estimate.tokens:
        prompt_tokens, answer_tokens = cost_estimate.tokens
        answers_note = f", {answer_tokens:,.0f} of answers" if cost_estimate.probed else ""
        lines.append(f"about {prompt_tokens:,.0f} tokens of prompts{answers_note}")
    if cost_estimate.seconds is not None:
        lines.append(
            f"about {_format_duration(cost_estimate.seconds)}, by the first {cost_estimate.probed} posts"
        )
    if settings.prices:
        cost_note = (
            "not to be known beforehand"
            if cost_estimate.cost is None
            else f"{cost_estimate.cost:,.2f}"
        )
        lines.append(f"about {cost_note} in money")
    if not settings.filters:
        lines.append("no gates: every answer that can be read whole is kept")
    _print_lines(console, lines)


def show_summary(console: "Console", summary: "AnnotationSummary") -> None:
    """Print a summary: a table of gates, then agreement with gold, tokens, time and money."""
    from rich.table import Table

    table = Table("gate", "answers shown", "refused", "accepted")
    for name, count in summary.filters.items():
        share_text = "" if count.acceptance is None else f"{count.acceptance:.1%}"
        table.add_row(name, f"{count.checked:,}", f"{count.rejected:,}", share_text)
    console.print(table)
    counts = summary
    share_text = (
        f"accepted {counts.accepted:,} of {counts.questions:,} questions ({counts.acceptance:.1%})"
    )
    lines = [
        f"{share_text}, {counts.retried:,} at a further try; {counts.excluded:,} excluded",
        f"{counts.unanswered:,} could not be asked" if counts.unanswered else "",
        _agreement_line("first answers", counts.first_answers),
        _agreement_line("accepted answers", counts.accepted_answers),
        "gold was told to the teacher: agreement with it says nothing" if counts.guided else "",
        _cost_line(counts),
        f"{counts.label_fields} label fields in contexts or reasons of rows kept apart"
        if counts.label_fields
        else "",
    ]
    _print_lines(console, [line for line in lines if line])


def _agreement_line(label: str, gold_agreement: "GoldAgreement | None") -> str:
    if gold_agreement is None:
        return f"{label}: no gold to hold them against"
    kappa = "undefined" if gold_agreement.kappa is None else f"{gold_agreement.kappa:.3f}"
    cells = "; ".join(
        f"{gold} as {', '.join(f'{predicted} {n:,}' for predicted, n in row.items())}"
        for gold, row in gold_agreement.confusion.items()
    )
    metrics_text = f"kappa {kappa}, accuracy {gold_agreement.accuracy:.1%}, n {gold_agreement.n:,}"
    return f"{label} against gold: {metrics_text} ({cells})"


def _cost_line(summary: "AnnotationSummary") -> str:
    tokens = "tokens not counted"
    if summary.prompt_tokens is not None and summary.answer_tokens is not None:
        tokens = (
            f"{summary.prompt_tokens:,} tokens of prompts, {summary.answer_tokens:,} of answers"
        )
    cost = "" if summary.cost is None else f", {summary.cost:,.2f} in money"
    return f"{tokens}{cost}; this run took {_format_duration(summary.seconds)}"


def _format_duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _print_lines(console: "Console", lines: list[str]) -> None:
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True, markup=False)
