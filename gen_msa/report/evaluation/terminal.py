"""An evaluation as a table for the terminal: readers down, headline figures across.

Figures a paper printed stand dim below ours. Foreign names can neither colour nor move the cursor.
Knows nothing of files.

    rich.print(table(result))
"""

from collections.abc import Iterator

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.table import Table
from rich.text import Text

from gen_msa.report.evaluation.columns import significantly_best, metric_value, headline_definitions, published_value
from gen_msa.report.evaluation.costs import COST_COLUMNS, cost_rows, cost_notes
from gen_msa.report.evaluation.words import MISSING, format_number, format_interval, unit_symbol, format_unparsed
from gen_msa.report.visible import printable
from gen_msa.results import MetricDefinition, EvaluationResult, MetricValue

COLUMN_WIDTH = 19
"""Columns of the terminal that a figure with its interval takes."""


def metrics_table(result: EvaluationResult) -> "MetricsTable":
    """A renderable of the headline figures with their intervals.

    Where the terminal is too narrow for all, figures are put in several tables one after another;
    none is left out.
    """
    return MetricsTable(result)


class MetricsTable:
    """Headline figures, drawn to the width of the console."""

    def __init__(self, result: EvaluationResult) -> None:
        self._result = result

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Title, tables, and the notes that a reader of the figures must know."""
        result, columns = self._result, headline_definitions(self._result)
        yield Text(printable(f"{result.title} ({result.data})"), style="bold")
        yield Text(_scope_line(result), style="dim")
        columns_per_table = max(1, (options.max_width - 2 * COLUMN_WIDTH) // COLUMN_WIDTH)
        lines = box.SIMPLE_HEAD if console.is_terminal else None
        parts = [columns[i : i + columns_per_table] for i in range(0, len(columns), columns_per_table)] or [[]]
        yield Group(*(self._metric_columns(part, lines, first=part is parts[0]) for part in parts))
        yield from _cost_tables(result, lines)
        for note in (*result.notes, *(f"{r.name}: {n}" for r in result.systems for n in r.notes)):
            yield Text("note: " + printable(note), style="dim")
        if result.published:
            text = "printed: copied from papers, not measured here; sources stand in the page"
            yield Text(text, style="dim")

    def _metric_columns(self, columns: list[MetricDefinition], lines: box.Box | None, *, first: bool) -> Table:
        out = Table(box=lines, pad_edge=False, header_style="dim", expand=False)
        out.add_column("reader", overflow="fold", max_width=2 * COLUMN_WIDTH - 12)
        if first:
            out.add_column("unread", justify="right", overflow="fold")
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
                name = Text(printable(f"{p.name}, printed"))
                out.add_row(name, *[MISSING] * first, *texts, style="dim italic")
        return out


def _rich_cell(value: MetricValue | None, d: MetricDefinition, *, is_best: bool) -> Text:
    """The figure, and its interval dim behind it; bold where the paired tests call it best."""
    if value is None:
        return Text(MISSING)
    out = Text(format_number(value.value, d.unit), style="bold" if is_best else "")
    if format_interval(value.low, value.high, d.unit):
        interval = f" [{format_number(value.low, d.unit)}, {format_number(value.high, d.unit)}]"
        out.append(interval, style="dim not bold")
    return out


def _cost_tables(result: EvaluationResult, lines: box.Box | None) -> Iterator[Table | Text]:
    """What reading costs, with the range over laps; then where it was measured, and what failed."""
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
        f"{result.clustered_by}; against {result.reference}; 95 % intervals, "
        f"{result.replicates:,} replicates, seed {result.seed}; data {result.data_sha256[:12]}"
    )
    return printable(text)
