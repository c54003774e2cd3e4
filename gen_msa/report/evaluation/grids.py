"""Tables of metrics: systems down, metrics across, cells with intervals as text and bars.

One layout serves the headline table, each family, each slice and each probe. The bars of a column
share an axis.

    system_grid(result, headline_definitions(result)).rows[0].cells[0].text      # "82.1"
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from gen_msa.report.evaluation.format import (
    MISSING,
    format_interval,
    format_number,
    format_seed_spread,
    format_unparsed,
    is_defined,
    metric_key,
    metric_value,
    published_value,
    significantly_best,
    unit_symbol,
)
from gen_msa.report.evaluation.svg import Axis, interval_bar, linear_axis, system_marker
from gen_msa.results import EvaluationResult, MetricDefinition, MetricValue

EMPTY_MARKUP = Markup("")


@dataclass(frozen=True)
class GridColumn:
    """The head of a column."""

    name: str
    unit: str
    family: str
    about: str
    low: str
    """`low` and `high` are the ends of its axis."""
    high: str
    better: str


@dataclass(frozen=True)
class GridCell:
    """One value."""

    text: str
    interval: str = ""
    bar: Markup = EMPTY_MARKUP
    seeds: str = ""
    note: str = ""
    method: str = ""
    best: bool = False


@dataclass(frozen=True)
class GridRow:
    """One row of a table."""

    name: str
    marker: Markup
    n: str
    unparsed: str
    cells: tuple[GridCell, ...]
    source: str = ""
    """Citation of a published row."""
    protocol: str = ""


@dataclass(frozen=True)
class MetricGrid:
    """A table of metrics."""

    columns: tuple[GridColumn, ...]
    rows: tuple[GridRow, ...]
    starred: bool
    """Whether some value is better than every other one by its paired tests."""


def system_grid(result: EvaluationResult, columns: Sequence[MetricDefinition]) -> MetricGrid:
    """Build the table of every system's metrics, with published rows below.

    Args:
        result: The evaluation.
        columns: The metrics.

    Returns:
        The table.
    """
    axes = [_column_axis(result, d) for d in columns]
    best_systems = {metric_key(d): significantly_best(result, d) for d in columns}
    lines = []
    for index, r in enumerate(result.systems):
        cells = tuple(
            metric_cell(
                metric_value(r, d),
                d,
                a,
                expected_n=r.rows,
                best=best_systems[metric_key(d)] == r.name,
            )
            for d, a in zip(columns, axes, strict=True)
        )
        lines.append(
            GridRow(r.name, system_marker(index), f"{r.rows:,}", format_unparsed(r), cells)
        )
    lines += _published_rows(result, columns, axes)
    return MetricGrid(_grid_columns(columns, axes), tuple(lines), any(best_systems.values()))


def value_grid(
    columns: Sequence[MetricDefinition], rows: Sequence[tuple[str, int, Mapping[str, MetricValue]]]
) -> MetricGrid:
    """Build a table of named values.

    Args:
        columns: The metrics.
        rows: (label, index of the system, metric -> value) per row.

    Returns:
        The table.
    """
    axes = [linear_axis(_values_and_ends(row[2].get(d.name) for row in rows)) for d in columns]
    lines = []
    for label, system, values in rows:
        row_values = [(d, values.get(d.name)) for d in columns]
        n = max((v.n for _, v in row_values if v), default=0)
        cells = tuple(
            metric_cell(v, d, a, expected_n=n) for (d, v), a in zip(row_values, axes, strict=True)
        )
        lines.append(GridRow(label, system_marker(system), f"{n:,}", "", cells))
    return MetricGrid(_grid_columns(columns, axes), tuple(lines), starred=False)


def metric_cell(
    value: MetricValue | None,
    d: MetricDefinition,
    scale: Axis,
    *,
    expected_n: int,
    best: bool = False,
) -> GridCell:
    """Format one value.

    Args:
        value: The value; None: not measured.
        d: Its metric.
        scale: The axis of the column.
        expected_n: The n that is not worth printing.
        best: Whether the paired tests call it best.

    Returns:
        The cell.
    """
    if value is None:
        return GridCell(MISSING, note="not measured")
    if value.value is None or not is_defined(value.value):
        return GridCell(MISSING, note=value.note or "undefined, no reason given")
    n_note = f"n {value.n:,}" if value.n != expected_n else ""
    note = "; ".join(part for part in (n_note, value.note) if part)
    low, high = (
        (value.low, value.high) if format_interval(value.low, value.high, d.unit) else (None, None)
    )
    return GridCell(
        text=format_number(value.value, d.unit),
        interval=format_interval(low, high, d.unit),
        bar=interval_bar(value.value, low, high, scale),
        seeds=format_seed_spread(value, d.unit),
        note=note,
        method=value.method,
        best=best,
    )


def _published_rows(
    result: EvaluationResult, columns: Sequence[MetricDefinition], axes: Sequence[Axis]
) -> list[GridRow]:
    lines = []
    for p in result.published:
        values = [published_value(p, d) for d in columns]
        if all(v is None for v in values):
            continue
        cells = tuple(
            GridCell(MISSING)
            if v is None or not is_defined(v)
            else GridCell(format_number(v, d.unit), bar=interval_bar(v, None, None, a, "hollow"))
            for v, d, a in zip(values, columns, axes, strict=True)
        )
        lines.append(GridRow(p.name, Markup(""), "", "", cells, p.source, p.protocol))
    return lines


def _column_axis(result: EvaluationResult, d: MetricDefinition) -> Axis:
    """Return one axis for a column: our values with their intervals, and published values."""
    measured_values = _values_and_ends(metric_value(r, d) for r in result.systems)
    return linear_axis([*measured_values, *(published_value(p, d) for p in result.published)])


def _values_and_ends(values: Iterable[MetricValue | None]) -> list[float | None]:
    return [x for v in values if v is not None for x in (v.value, v.low, v.high)]


def _grid_columns(
    columns: Sequence[MetricDefinition], axes: Sequence[Axis]
) -> tuple[GridColumn, ...]:
    return tuple(
        GridColumn(
            name=d.name.replace("_", " "),
            unit=unit_symbol(d.unit),
            family=d.family,
            about=d.about,
            low=format_tick(a.low, d.unit),
            high=format_tick(a.high, d.unit),
            better=d.better,
        )
        for d, a in zip(columns, axes, strict=True)
    )


def format_tick(x: float, unit: str) -> str:
    """Format a number of an axis without trailing zeros.

    Args:
        x: The number.
        unit: Its unit; shares become percentages.

    Returns:
        The text.
    """
    return f"{100 * x if unit == 'share' else x:,.6g}".replace("-", "−")
