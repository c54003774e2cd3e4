"""Tables of figures: readers down, figures across, every cell with its interval in words and as a
bar on the column's own axis.

One shape serves the headline table, each family, each slice and each probe. Drawn from a `Result`;
knows nothing of HTML but the small drawings that stand in its cells.

    grid(result, headlines(result)).lines[0].cells[0].text      # "82.1"
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
    """The ends of its axis."""
    high: str
    better: str


@dataclass(frozen=True)
class GridCell:
    """One figure."""

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
    """Of a printed row: its citation."""
    protocol: str = ""


@dataclass(frozen=True)
class MetricGrid:
    """A table of figures."""

    columns: tuple[GridColumn, ...]
    rows: tuple[GridRow, ...]
    starred: bool
    """Some figure is better than every other by its paired tests."""


def system_grid(result: EvaluationResult, columns: Sequence[MetricDefinition]) -> MetricGrid:
    """Every reader's figures of `columns`, with the papers that print any of them below."""
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
    """A table of named values: (label, place of the reader, figures) a row."""
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
    """One figure as it is printed; `usual` is the n that goes without saying."""
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
    """One axis for a column: our figures with their intervals, and the papers' figures."""
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
    """A number of an axis, without zeros that say nothing."""
    return f"{100 * x if unit == 'share' else x:,.6g}".replace("-", "−")
