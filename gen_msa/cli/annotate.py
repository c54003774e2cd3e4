"""`gen-msa annotate`: have a teacher write labels, rationales or contexts, and filter them."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from gen_msa.cli import _options, _sending
from gen_msa.cli._options import count_noun, format_duration, print_lines
from gen_msa.cli._overwrite import OverwriteOption
from gen_msa.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from gen_msa.annotation import AnnotateSettings, AnnotationSummary, JobResult, JobSettings
    from gen_msa.annotation.cost_estimate import CostEstimate
    from gen_msa.annotation.summary import GoldAgreement
    from gen_msa.data import ExampleSource

OutOption = Annotated[
    str, typer.Option("--out", "-o", help="Write the accepted opinions here (.jsonl).")
]
NoCacheOption = Annotated[
    bool, typer.Option("--no-cache", help="Ignore and overwrite cached answers.")
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Show the first request and the counts; run nothing.")
]


def annotate(
    out: OutOption,
    posts: _options.PostsArgument = None,
    model: _options.ModelOption = None,
    prompt: _options.PromptOption = None,
    aspect: _options.AspectOption = None,
    max_error_rate: _options.MaxErrorRateOption = None,
    strict: _options.StrictOption = False,
    overwrite: OverwriteOption = False,
    no_cache: NoCacheOption = False,
    dry_run: DryRunOption = False,
    config: _options.ConfigOption = None,
    format: _options.FormatOption = None,
    media_root: _options.MediaRootOption = None,
    columns: _options.MapOption = None,
    label_map: _options.LabelMapOption = None,
    sep: _options.SepOption = None,
    encoding: _options.EncodingOption = None,
    sheet: _options.SheetOption = None,
    pseudonymize: _options.PseudonymizeOption = None,
    shard: _options.ShardOption = None,
    reuse_cache: _options.ReuseCacheOption = None,
    engine: _options.EngineOption = None,
    address: _options.AddressOption = None,
    yes: _sending.YesOption = False,
) -> None:
    """Have a teacher model write labels, rationales or contexts; keep what passes the filters.

    gen-msa annotate posts.jsonl -m http:URL#MODEL -p teacher/rationale -o teacher.jsonl
    'filters={mentions_aspect: {}, length: {max_words: 60}}'
    """
    job_options = (posts, "", None, aspect, False, model, prompt, config, format, media_root)
    file_options = (columns, label_map, pseudonymize, overwrite, sep, encoding, sheet)
    options = _options.JobOptions(*job_options, *file_options)
    location = _options.OutputLocation.of(out)
    if location.local_path is None or location.local_path.suffix != ".jsonl":
        raise UserError(
            f"-o {out}: the output must end in .jsonl",
            hint="gen-msa convert writes .parquet from it",
        )
    parallel = _options.ParallelOptions(shard, reuse_cache, engine, address)
    outputs = _AnnotateOutputs(location.local_path, no_cache and not dry_run, dry_run, yes)
    code = _run(options, outputs, parallel, 0.0 if strict else max_error_rate)
    if shard_spec := parallel.parse_shard(has_output=True):
        location.send(shard_spec.path_beside(location.local_path, ".part"))
    elif not dry_run:
        location.send_all()
    sys.exit(code)


class _AnnotateOutputs(NamedTuple):
    out: Path
    no_cache: bool
    dry_run: bool
    yes: bool


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
    settings = _with_task(base_settings)
    source = options.source(base_settings, out)
    if not outputs.dry_run:
        settings = _sending.confirm_job(source, settings, yes=outputs.yes)
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
    """Run a job without shards: print the estimated cost, then write the files."""
    from rich.console import Console

    from gen_msa.annotation import annotate as work
    from gen_msa.annotation import make_job_teacher
    from gen_msa.annotation.cost_estimate import estimate_cost
    from gen_msa.api.progress import progress_bar

    console, teacher = Console(stderr=True), make_job_teacher(source, settings)
    cache_options: dict[str, Any] = {"cache_path": cache_path, "reuse_cache": reuse_cache}
    probe_cache = None if outputs.dry_run else cache_path
    cost_estimate = estimate_cost(source, settings, teacher, probe_cache, reuse_cache)
    _print_estimate(console, cost_estimate, settings)
    if outputs.dry_run:
        return 0
    with progress_bar(source, settings.limit, console) as on_progress:
        outcome = work(
            source, outputs.out, settings, **cache_options, teacher=teacher, on_progress=on_progress
        )
    return finish_filtered(console, outcome, settings, outputs.out, cost_estimate)


def finish_filtered(
    console: "Console",
    outcome: "JobResult",
    settings: "JobSettings",
    out: Path,
    cost_estimate: "CostEstimate | None" = None,
) -> int:
    """Print the result of a filtered job; return its exit code (0 or 3).

    Args:
        console: Where to print.
        outcome: The result.
        settings: The job.
        out: The output.
        cost_estimate: What was expected of the job; None where nothing was.

    Returns:
        0, or 3 if too many rows failed, labels leaked, or there are no posts.
    """
    from gen_msa.cli._job import result_lines

    summary = outcome.summary
    if summary is None:
        raise RuntimeError("a filtered job has a summary")
    show_summary(console, summary)
    files = [out, out.with_suffix(".summary.json")]
    lines = result_lines(outcome.counts, settings, outcome, [*files])
    if cost_estimate and cost_estimate.tokens:
        estimated = f"{sum(cost_estimate.tokens):,.0f} tokens"
        if cost_estimate.cost is not None:
            estimated += f", cost {cost_estimate.cost:,.2f}"
        lines.insert(-1, f"estimated: {estimated}; used: {_cost_line(summary)}")
    print_lines(console, lines)
    if not outcome.counts.rows:
        print_lines(console, ["there are no posts"])
    failed = outcome.exceeds_error_rate(settings) or summary.label_fields
    return 3 if failed or not outcome.counts.rows else 0


def _with_task(settings: "AnnotateSettings") -> "AnnotateSettings":
    """Return settings with the prompt assigned to its task; the default is `teacher/rationale`."""
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
    """Print the first request, then the estimated requests, tokens, time and cost."""
    from gen_msa.cli.preview import show_request

    if cost_estimate.first_request:
        show_request(console, cost_estimate.first_request)
    requests = f"{count_noun(cost_estimate.requests, 'request')} to {settings.model}"
    lines = [f"estimate: {count_noun(cost_estimate.posts, 'post')}, {requests}"]
    if cost_estimate.tokens:
        prompt_tokens, answer_tokens = cost_estimate.tokens
        answers_note = f" and {answer_tokens:,.0f} answer tokens" if cost_estimate.probed else ""
        lines.append(f"about {prompt_tokens:,.0f} prompt tokens{answers_note}")
    if cost_estimate.seconds is not None:
        lines.append(
            f"about {format_duration(cost_estimate.seconds)}, "
            f"from the first {count_noun(cost_estimate.probed, 'post')}"
        )
    if settings.prices:
        cost_note = (
            "unknown until the first answers"
            if cost_estimate.cost is None
            else f"{cost_estimate.cost:,.2f}"
        )
        lines.append(f"cost: {cost_note}")
    if not settings.filters:
        lines.append("no filters: every complete answer is kept")
    print_lines(console, lines)


def show_summary(console: "Console", summary: "AnnotationSummary") -> None:
    """Print a table of filters, then agreement with gold, tokens, time and cost.

    Args:
        console: Where to print.
        summary: The summary.
    """
    from rich.table import Table

    table = Table("filter", "checked", "rejected", "accepted")
    for name, count in summary.filters.items():
        share_text = "" if count.acceptance is None else f"{count.acceptance:.1%}"
        table.add_row(name, f"{count.checked:,}", f"{count.rejected:,}", share_text)
    console.print(table)
    accepted_text = (
        f"accepted {summary.accepted:,} of {count_noun(summary.questions, 'question')} "
        f"({summary.acceptance:.1%})"
    )
    lines = [
        f"{accepted_text}, {summary.retried:,} after a retry; {summary.excluded:,} excluded",
        f"{summary.unanswered:,} without an answer" if summary.unanswered else "",
        _agreement_line("first answers", summary.first_answers),
        _agreement_line("accepted answers", summary.accepted_answers),
        "the teacher was given the gold label: agreement means nothing" if summary.guided else "",
        _cost_line(summary),
        f"{count_noun(summary.label_fields, 'label field')} in contexts or explanations of rows "
        "outside the train split"
        if summary.label_fields
        else "",
    ]
    print_lines(console, [line for line in lines if line])


def _agreement_line(label: str, gold_agreement: "GoldAgreement | None") -> str:
    if gold_agreement is None:
        return f"{label}: no gold labels to compare with"
    kappa = "undefined" if gold_agreement.kappa is None else f"{gold_agreement.kappa:.3f}"
    cells = "; ".join(
        f"{gold} as {', '.join(f'{predicted} {n:,}' for predicted, n in row.items())}"
        for gold, row in gold_agreement.confusion.items()
    )
    metrics_text = f"kappa {kappa}, accuracy {gold_agreement.accuracy:.1%}, n {gold_agreement.n:,}"
    return f"{label} against gold: {metrics_text} ({cells})"


def _cost_line(summary: "AnnotationSummary") -> str:
    tokens = "tokens unknown"
    if summary.prompt_tokens is not None and summary.answer_tokens is not None:
        tokens = f"{summary.prompt_tokens:,} prompt tokens, {summary.answer_tokens:,} answer tokens"
    cost = "" if summary.cost is None else f", cost {summary.cost:,.2f}"
    return f"{tokens}{cost}; this run took {format_duration(summary.seconds)}"
