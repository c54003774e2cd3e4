"""An evaluation as a terminal table, as Markdown and as a CSV.

Systems are down, headline metrics across; published results are dim (or italic) below. Names from
outside can neither change colours nor move the cursor.

    rich.print(metrics_table(result))
    Path("metrics.md").write_text(markdown_table(result), "utf-8")
    write_metrics_csv(result, Path("metrics.csv"))
"""

import csv
import re
from collections.abc import Iterable, Iterator
from io import TextIOWrapper
from pathlib import Path

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.table import Table
from rich.text import Text

from gen_msa.formula_guard import escape_formula
from gen_msa.jsonl import atomic_write
from gen_msa.report.evaluation.costs import COST_COLUMNS, cost_notes, cost_rows
from gen_msa.report.evaluation.format import (
    MISSING,
    default_definition,
    definitions_by_family,
    find_definition,
    format_interval,
    format_number,
    format_unparsed,
    format_with_interval,
    headline_definitions,
    interval_scope,
    metric_value,
    published_value,
    significantly_best,
    unit_symbol,
)
from gen_msa.report.opinion_tables import CsvCell
from gen_msa.report.style import printable
from gen_msa.results import EvaluationResult, MetricDefinition, MetricValue

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|#!~$&])")


def escape_markdown(text: str) -> str:
    """Escape every character that Markdown would interpret."""
    return _SPECIAL.sub(r"\\\1", printable(text)).replace("://", ":\u200b//")


def markdown_table(result: EvaluationResult) -> str:
    """Render the headline metrics with 95 % intervals, published rows in italics, and notes.

    Bold means: better than every other system by its paired test after adjustment.
    """
    columns = headline_definitions(result)
    heads = [f"{d.name.replace('_', ' ')} {unit_symbol(d.unit)}".strip() for d in columns]
    lines = [
        _markdown_row(["system", "n", "unparsed", *map(escape_markdown, heads)]),
        _markdown_row(["---"] + ["---:"] * (len(heads) + 2)),
    ]
    best_systems = [significantly_best(result, d) for d in columns]
    for r in result.systems:
        cells = [
            f"**{escape_markdown(text)}**" if best_name == r.name else escape_markdown(text)
            for d, best_name in zip(columns, best_systems, strict=True)
            for text in [format_with_interval(metric_value(r, d), d.unit)]
        ]
        lines.append(
            _markdown_row([escape_markdown(r.name), f"{r.rows:,}", format_unparsed(r), *cells])
        )
    for p in result.published:
        values = [format_number(published_value(p, d), d.unit) for d in columns]
        lines.append(
            _markdown_row([f"*{escape_markdown(p.name)}*, published", MISSING, MISSING, *values])
        )
    return "\n".join([*lines, "", *_markdown_costs(result), *_markdown_notes(result)]) + "\n"


def _markdown_costs(result: EvaluationResult) -> list[str]:
    """Render the costs, each with the range over its repeats; nothing if there are none."""
    rows = cost_rows(result)
    if not rows:
        return []
    heads = ["system", "frontier", *COST_COLUMNS.values()]
    lines = [_markdown_row(heads), _markdown_row(["---"] * 2 + ["---:"] * len(COST_COLUMNS))]
    for c in rows:
        cells = [escape_markdown(f"{value} ({note})" if note else value) for value, note in c.cells]
        lines.append(
            _markdown_row([escape_markdown(c.system), "yes" if c.frontier else MISSING, *cells])
        )
    return [*lines, "", *(f"- {escape_markdown(text)}" for text in cost_notes(rows))]


def _markdown_row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _markdown_notes(result: EvaluationResult) -> list[str]:
    """Return the lines below the table: scope, sources and notes."""
    scope = (
        f"{result.data}: {result.rows:,} rows in {result.clusters:,} clusters by "
        f"{result.clustered_by}, reference {result.reference}. {interval_scope(result)}. "
        f"Data sha256 {result.data_sha256[:12]}, gen_msa {result.version}."
    )
    lines = [scope]
    lines += [f"{p.name}: published in {p.source}. {p.protocol}" for p in result.published]
    lines += result.notes
    lines += [f"{r.name}: {note}" for r in result.systems for note in r.notes]
    return [f"- {escape_markdown(text)}" for text in lines]


CSV_COLUMNS = (
    *("system", "kind", "family", "metric", "slice", "level", "value", "low", "high", "n"),
    *("unit", "method", "note", "sd", "n_seeds", "seeds"),
)

CsvRow = tuple[CsvCell, ...]


def write_metrics_csv(result: EvaluationResult, path: Path) -> int:
    """Write one row per value, unrounded and in its own unit.

    `kind` is `measured`, `slice`, `probe`, `cost`, `comparison` or `published`; low and high of a
    cost are the minimum and maximum over the repeats. An undefined value is empty, with its reason
    under `note`. A mean over seeds has the sample standard deviation under `sd`, the number of
    seeds under `n_seeds` and their values under `seeds`.

    Args:
        result: The evaluation.
        path: The file.

    Returns:
        The number of rows.
    """
    rows = 0
    with atomic_write(path) as f:
        text = TextIOWrapper(f, "utf-8-sig", errors="replace", newline="")
        out = csv.writer(text)
        out.writerow(CSV_COLUMNS)
        for row in _csv_rows(result):
            out.writerow([escape_formula(cell) for cell in row])
            rows += 1
        text.detach()
    return rows


def _csv_rows(result: EvaluationResult) -> Iterator[CsvRow]:
    definitions = {
        (d.family, d.name): d for members in definitions_by_family(result).values() for d in members
    }
    for r in result.systems:
        for d in definitions.values():
            value = metric_value(r, d)
            if value is not None:
                yield _csv_row(r.name, "measured", d, value)
        for lv in r.slices:
            for name, value in lv.metrics.items():
                yield _csv_row(
                    r.name, "slice", find_definition(result, name), value, lv.slice, lv.level
                )
    for system, probe_values in result.probes.items():
        for probe, values in probe_values.items():
            for name, value in values.items():
                d = find_definition(result, name, (probe, "probes"))
                yield _csv_row(system, "probe", d, value, probe)
    yield from _csv_costs(result)
    yield from _csv_comparisons_and_published(result)


def _csv_costs(result: EvaluationResult) -> Iterator[CsvRow]:
    """Yield one row per value, or one with the reason why a system has none."""
    for r in result.systems:
        if not r.cost_benchmark:
            continue
        if not r.cost_benchmark.metrics:
            empty = (None, None, None, None, "", "", r.cost_benchmark.note, None, None, "")
            yield (r.name, "cost", "cost", "", "", "", *empty)
        for name, v in r.cost_benchmark.metrics.items():
            method = "; ".join(part for part in (v.method, r.cost_benchmark.machine) if part)
            d = default_definition("cost", name).model_copy(
                update={"unit": COST_COLUMNS.get(name, "")}
            )
            yield _csv_row(r.name, "cost", d, v.model_copy(update={"method": method}))


def _csv_row(
    system: str, kind: str, d: MetricDefinition, v: MetricValue, part: str = "", level: str = ""
) -> CsvRow:
    seed_values = " ".join(map(repr, v.seeds))
    spread = (v.sd, len(v.seeds) or None, seed_values)
    values = (v.value, v.low, v.high, v.n, d.unit, v.method, v.note, *spread)
    return (system, kind, d.family, d.name, part, level, *values)


def _csv_comparisons_and_published(result: EvaluationResult) -> Iterator[CsvRow]:
    for c in result.comparisons:
        d = find_definition(result, f"{c.family}.{c.metric}")
        method = f"{c.method}; {c.test}: p {c.p!r}, adjusted {c.p_adjusted!r} ({c.adjustment})"
        values = (c.difference, c.low, c.high, None, d.unit, method, "", None, None, "")
        yield (f"{c.a} minus {c.b}", "comparison", c.family, c.metric, "", "", *values)
    for p in result.published:
        for name, x in p.metrics.items():
            d = find_definition(result, name)
            family, _, short = name.partition(".")
            note = f"{p.source}; {p.protocol}"
            yield (
                p.name,
                "published",
                family,
                short,
                "",
                "",
                x,
                None,
                None,
                None,
                d.unit,
                "",
                note,
                None,
                None,
                "",
            )


COLUMN_WIDTH = 19
"""Columns of the terminal that a value with its interval takes."""


def metrics_table(result: EvaluationResult) -> "MetricsTable":
    """Return a renderable of the headline metrics with their intervals.

    Where the terminal is too narrow, the metrics are split into several tables; none is left out.
    """
    return MetricsTable(result)


class MetricsTable:
    """Headline metrics, fitted to the width of the console."""

    def __init__(self, result: EvaluationResult) -> None:
        self._result = result

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield title, tables, and notes."""
        result, columns = self._result, headline_definitions(self._result)
        yield Text(printable(f"{result.title} ({result.data})"), style="bold")
        yield Text(_scope_line(result), style="dim")
        columns_per_table = max(1, (options.max_width - 2 * COLUMN_WIDTH) // COLUMN_WIDTH)
        lines = box.SIMPLE_HEAD if console.is_terminal else None
        parts = [
            columns[i : i + columns_per_table] for i in range(0, len(columns), columns_per_table)
        ] or [[]]
        yield Group(*(self._metric_columns(part, lines, first=part is parts[0]) for part in parts))
        yield from _cost_tables(result, lines)
        for note in (*result.notes, *(f"{r.name}: {n}" for r in result.systems for n in r.notes)):
            yield Text("note: " + printable(note), style="dim")
        if result.published:
            text = "published: copied from papers, not measured here; the page lists the sources"
            yield Text(text, style="dim")

    def _metric_columns(
        self, columns: list[MetricDefinition], lines: box.Box | None, *, first: bool
    ) -> Table:
        out = Table(box=lines, pad_edge=False, header_style="dim", expand=False)
        out.add_column("system", overflow="fold", max_width=2 * COLUMN_WIDTH - 12)
        if first:
            out.add_column("unparsed", justify="right", overflow="fold")
        for d in columns:
            unit = f" ({unit_symbol(d.unit)})" if unit_symbol(d.unit) else ""
            name = Text(f"{printable(d.family)}\n{printable(d.name.replace('_', ' ') + unit)}")
            out.add_column(name, justify="right", overflow="fold")
        best_systems = [significantly_best(self._result, d) for d in columns]
        for r in self._result.systems:
            cells = [
                _rich_cell(metric_value(r, d), d, is_best=name == r.name)
                for d, name in zip(columns, best_systems, strict=True)
            ]
            unparsed_cells = [Text(format_unparsed(r))] if first else []
            out.add_row(Text(printable(r.name)), *unparsed_cells, *cells)
        for p in self._result.published:
            values = [published_value(p, d) for d in columns]
            if any(v is not None for v in values):
                texts = [format_number(v, d.unit) for v, d in zip(values, columns, strict=True)]
                name = Text(printable(f"{p.name}, published"))
                out.add_row(name, *[MISSING] * first, *texts, style="dim italic")
        return out


def _rich_cell(value: MetricValue | None, d: MetricDefinition, *, is_best: bool) -> Text:
    """Format a value with its interval dim behind it; bold where the paired tests call it best."""
    if value is None:
        return Text(MISSING)
    out = Text(format_number(value.value, d.unit), style="bold" if is_best else "")
    if value.sd is not None:
        return out.append(f" ± {format_number(value.sd, d.unit)}", style="dim not bold")
    if format_interval(value.low, value.high, d.unit):
        interval = f" [{format_number(value.low, d.unit)}, {format_number(value.high, d.unit)}]"
        out.append(interval, style="dim not bold")
    return out


def _cost_tables(result: EvaluationResult, lines: box.Box | None) -> Iterator[Table | Text]:
    """Yield the costs with their ranges, then where they were measured, and failures."""
    rows = cost_rows(result)
    if not rows:
        return
    out = Table(box=lines, pad_edge=False, header_style="dim", expand=False)
    out.add_column("cost", overflow="fold", max_width=2 * COLUMN_WIDTH - 12)
    for name in (*COST_COLUMNS.values(), "frontier"):
        out.add_column(Text(name), justify="right", overflow="fold")
    for c in (c for c in rows if any(text != MISSING for text, _ in c.cells)):
        cells = [
            Text(text).append(f"\n{note}" if note and text != MISSING else "", "dim")
            for text, note in c.cells
        ]
        out.add_row(Text(printable(c.system)), *cells, Text("yes" if c.frontier else MISSING))
    yield out
    for text in cost_notes(rows):
        yield Text(printable(text), style="dim")


def _scope_line(result: EvaluationResult) -> str:
    text = (
        f"{result.rows:,} rows, {result.posts:,} posts, {result.clusters:,} clusters by "
        f"{result.clustered_by}; reference {result.reference}; {interval_scope(result)}; "
        f"data {result.data_sha256[:12]}"
    )
    return printable(text)
