"""Prints a run: its header, each logged step, each validation, its summary.

Coloured on a terminal; when piped, plain text in which the fields of an answer are marked as in
`[label| positive]`. All input is plain values; nothing here depends on torch.

    reporter = ConsoleReporter(Console(stderr=True))
    reporter.print_header(RunHeader(...))
    reporter.print_step(StepLog(...))
    reporter.print_metrics(result.as_json())
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from rich.table import Table
from rich.text import Text

from gen_msa.finetuning.validation import ValidationResult
from gen_msa.report.style import TONE_STYLES, TONE_SYMBOLS, printable, tone_of
from gen_msa.training.run_log import LinePrinter, accuracy_parts, format_percent


@dataclass(frozen=True)
class ParamGroupCount:
    """Trained tensors of one kind: attention, mlp, projector, vision and others."""

    kind: str
    tensors: int
    params: int


def count_params_by_kind(tensors: Iterable[tuple[str, int]]) -> tuple[ParamGroupCount, ...]:
    """Count trained tensors, each a (kind, number of parameters), by kind, largest first."""
    counts_by_kind: dict[str, list[int]] = {}
    for kind, count in tensors:
        counts_by_kind.setdefault(kind, []).append(count)
    return tuple(
        sorted(
            (ParamGroupCount(k, len(c), sum(c)) for k, c in counts_by_kind.items()),
            key=lambda p: -p.params,
        )
    )


@dataclass(frozen=True)
class TokenPreview:
    """One training row: three lists of the same length."""

    name: str
    tokens: Sequence[str]
    """The text of each token."""
    fields: Sequence[str | None]
    """The field of each token; None in the prompt, which has no loss."""
    weights: Sequence[float]


@dataclass(frozen=True)
class EpochStats:
    """What an epoch costs."""

    posts: int
    rows: int
    tokens: int
    """As fed to the model: shared prefixes once, without padding."""
    longest: int
    median: int
    max_length: int
    """Tokens of the longest row that is allowed."""
    image_tokens: int = 0
    padding_share: float = 0.0
    """Share of all positions that is padding, 0..1."""
    saved_share: float = 0.0
    """Share of tokens saved by feeding a post once for all its aspects, 0..1."""
    without_rationale: int = 0
    """Rows of which only the label is learned."""
    left_out: Sequence[tuple[str, str]] = ()
    """(Row, reason) of everything that cannot be used."""


@dataclass(frozen=True)
class RunHeader:
    """Everything that is printed before the first step."""

    model: str
    total_params: int
    """Parameters of the whole model, adapter included; 0 when unknown."""
    param_groups: Sequence[ParamGroupCount]
    preview: TokenPreview
    stats: EpochStats
    notes: Sequence[str] = ()
    """What differs from the request, such as an optimization that cannot be used."""


@dataclass(frozen=True)
class StepLog:
    """One logged optimiser step; values are means since the previous one."""

    step: int
    steps: int
    epoch: float
    loss: float
    fields: dict[str, float]
    """Unweighted mean cross-entropy of each field, in nats."""
    tokens_per_second: float
    learning_rate: float
    grad_norm: float | None
    extra: dict[str, float] = field(default_factory=dict)
    """Further values to be logged and not printed, such as memory."""


FIELD_STYLES = {"label": "bold green", "explanation": "cyan", "aspect": "magenta", "form": "yellow"}
"""Style of the tokens of each field; the prompt, which has no loss, is dim."""

MAX_LISTED = 5
"""Left-out rows that are listed by name; the others are counted."""
MIN_REPEATS = 4
"""A run of this many equal tokens (of an image) is shown once with its count."""


class ConsoleReporter(LinePrinter):
    """Prints to a console. Text from posts can neither set colours nor move the cursor."""

    def print_header(self, header: RunHeader) -> None:
        """Print what is trained and on what data."""
        self._print_heading("trainable parameters", f"of {header.model}")
        self._print_table(_params_table(header))
        self._print_heading("example row", header.preview.name)
        self._print_line(
            render_masked_tokens(header.preview, coloured=self._console.color_system is not None)
        )
        self._print_line(_field_legend(header.preview))
        self._print_heading("one epoch")
        self._print_table(_stats_table(header.stats))
        left_out = header.stats.left_out
        for name, reason in left_out[:MAX_LISTED]:
            self._print_line(
                Text(f"left out: {printable(name)}: {printable(reason)}", style="yellow")
            )
        if len(left_out) > MAX_LISTED:
            self._print_line(Text(f"left out: {len(left_out) - MAX_LISTED:,} more", style="yellow"))
        for note in header.notes:
            self.print_note(note)

    def print_plan(self, steps: int, seconds: float) -> None:
        """Print the number of steps and the time estimated from the probe step.

        Args:
            steps: Optimiser steps of the run.
            seconds: Estimated time of all of them, in seconds.
        """
        self._print_heading("training", f"{steps:,} steps, about {format_duration(seconds)}")

    def print_step(self, entry: StepLog) -> None:
        """Print one line for a logged step."""
        width = len(f"{entry.steps:,}")
        parts = [
            f"step {entry.step:>{width},}/{entry.steps:,}",
            f"epoch {entry.epoch:.2f}",
            f"loss {entry.loss:.4f}",
        ]
        parts += [f"{name} {value:.4f}" for name, value in entry.fields.items()]
        parts += [f"{entry.tokens_per_second:,.0f} tokens/s", f"lr {entry.learning_rate:.2e}"]
        parts += [] if entry.grad_norm is None else [f"grad {entry.grad_norm:.3f}"]
        self._print_line(Text("  ".join(parts)))

    def print_metrics(self, metrics: Mapping[str, Any]) -> None:
        """Print the metrics of each dev source (`ValidationResult.as_json`) with n and interval."""
        for source in metrics["sources"]:
            self._print_line(Text(_dev_line(source), style="bold"))

    def print_samples(self, result: ValidationResult) -> None:
        """Print answers beside their gold labels."""
        for sample in result.samples:
            gold, predicted = tone_of(sample.gold), tone_of(sample.predicted)
            line = Text(
                f"{TONE_SYMBOLS[predicted]} {sample.predicted or sample.status}",
                style=TONE_STYLES.get(predicted, "yellow"),
            )
            line.append(f"  (gold {gold})" if sample.predicted != sample.gold else "", style="dim")
            line.append(f"  {printable(sample.aspect) or '(whole post)'}: ", style="bold")
            line.append(
                printable(sample.explanation or (sample.raw if sample.predicted is None else ""))
            )
            self._print_line(line)
            self._print_line(Text(f"    {printable(sample.text)}", style="dim"))

    def print_summary(
        self, best: Mapping[str, Any] | None, *, steps: int, seconds: float, folder: str
    ) -> None:
        """Print the metrics of the best checkpoint with their prompt and data hashes.

        Args:
            best: `ValidationResult.as_json` of the best checkpoint; None without one.
            steps: Optimiser steps done.
            seconds: Duration of the run.
            folder: Where the adapter is.
        """
        self._print_heading(
            "done", f"{steps:,} steps in {format_duration(seconds)}; adapter in {folder}"
        )
        if not best or "sources" not in best:
            self._print_line(Text("no dev source was validated: the last step is kept"))
            return
        score, seed = format_percent(best["score"]), best["seed"]
        self._print_line(Text(f"best: step {best['step']:,}, dev score {score}, seed {seed}"))
        self.print_metrics(best)
        for s in best["sources"]:
            details = f"{s['source']}: prompt {s['prompt']}, data {s['data_sha256'][:12]}"
            self._print_line(Text(printable(details), style="dim"))

    def _print_table(self, table: Table) -> None:
        self._console.print(table, highlight=False)


def render_masked_tokens(preview: TokenPreview, *, coloured: bool) -> Text:
    """Render a row with its fields in colours, or in text markers: `[label| positive]`.

    Args:
        preview: The row.
        coloured: Whether colours are available; otherwise fields are marked in the text.

    Returns:
        The text of the row; tokens that are not learned are dimmed.
    """
    out = Text()
    pairs = zip(preview.tokens, preview.fields, strict=True)
    for name, run in groupby(pairs, key=lambda pair: pair[1]):
        text = _collapse_repeats([token for token, _ in run])
        if name is None:
            lines = "\n".join(printable(line) for line in text.split("\n"))
            out.append(lines, style="dim")
            continue
        field_text = printable(text.replace("\n", "⏎"))
        out.append(
            field_text if coloured else f"[{name}|{field_text}]",
            style=FIELD_STYLES.get(name, "red"),
        )
    return out


def format_duration(seconds: float) -> str:
    """Format a duration: `45 s`, `12 min`, `3 h 20 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def _collapse_repeats(tokens: Iterable[str]) -> str:
    out = []
    for token, run in groupby(tokens):
        n = sum(1 for _ in run)
        is_repeated = n >= MIN_REPEATS and token.strip()
        out.append(f"{token}×{n} " if is_repeated else token * n)
    return "".join(out)


def _field_legend(preview: TokenPreview) -> Text:
    """Return each field's number of tokens and their mean weight; the prompt weighs nothing."""
    out = Text(f"prompt {sum(f is None for f in preview.fields)} tokens", style="dim")
    for name in dict.fromkeys(f for f in preview.fields if f is not None):
        weights = [w for w, f in zip(preview.weights, preview.fields, strict=True) if f == name]
        out.append(
            f"  {name} {len(weights)} × {sum(weights) / len(weights):.3g}",
            FIELD_STYLES.get(name, "red"),
        )
    return out


def _params_table(header: RunHeader) -> Table:
    table = Table.grid(padding=(0, 2))
    for justify in ("left", "right", "right", "right"):
        table.add_column(justify=justify)
    table.add_row("part", "tensors", "parameters", "share", style="dim")
    total = ParamGroupCount(
        "total",
        sum(p.tensors for p in header.param_groups),
        sum(p.params for p in header.param_groups),
    )
    for p in (*header.param_groups, total):
        share = f"{p.params / header.total_params:.2%}" if header.total_params else "?"
        table.add_row(p.kind, f"{p.tensors:,}", f"{p.params:,}", share)
    return table


def _stats_table(stats: EpochStats) -> Table:
    table = Table.grid(padding=(0, 2))
    size = f"longest {stats.longest:,}, median {stats.median:,}; at most {stats.max_length:,} a row"
    rows = [
        ("posts, rows", f"{stats.posts:,}, {stats.rows:,}"),
        ("tokens", f"{stats.tokens:,} (a post: {size})"),
        ("image tokens", f"{stats.image_tokens:,}" if stats.image_tokens else "none"),
        ("padding", format_percent(stats.padding_share)),
        ("saved by packing", format_percent(stats.saved_share)),
        (
            "without rationale",
            f"{stats.without_rationale:,} rows" if stats.without_rationale else "none",
        ),
        ("left out", f"{len(stats.left_out):,} rows" if stats.left_out else "none"),
    ]
    for name, value in rows:
        table.add_row(Text(name, style="dim"), value)
    return table


def _dev_line(metrics: Mapping[str, Any]) -> str:
    parts = [
        f"dev {printable(metrics['source'])}",
        f"n {metrics['n']:,}",
        f"parsed {format_percent(metrics['read_rate'])}",
    ]
    parts += accuracy_parts(metrics)
    parts += (
        [] if metrics["joint_f1"] is None else [f"joint F1 {format_percent(metrics['joint_f1'])}"]
    )
    if explanations := metrics["explanations"]:
        parts += [f"explanations parsed {format_percent(explanations['read_rate'])}"]
        parts += [f"aspect named {format_percent(explanations['aspect_named'])}"]
        verbatim = format_percent(explanations["quotes_verbatim"])
        parts += [f"{explanations['quotes']:,} quotes, verbatim {verbatim}"]
    return "  ".join(parts)
