"""The other sections of the page: slices, comparisons, confusion, probes and the cost of the run.

comparison_rows(result)[0].verdict      # "builtin is better"
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from gen_msa.report.evaluation.format import (
    comparison_verdict,
    definitions_by_family,
    find_definition,
    format_amount,
    format_interval,
    format_number,
    format_p_value,
    format_with_interval,
    is_defined,
    metric_value,
    unit_symbol,
)
from gen_msa.report.evaluation.grids import EMPTY_MARKUP, MetricGrid, format_tick, value_grid
from gen_msa.report.evaluation.svg import (
    Axis,
    DotLine,
    PlotDot,
    dot_plot,
    interval_bar,
    linear_axis,
)
from gen_msa.results import (
    EvaluationResult,
    MetricDefinition,
    MetricValue,
    PairedComparison,
    RunCost,
    SliceMetrics,
    SystemResult,
)
from gen_msa.types import Polarity

PanelRows = Mapping[str, Sequence[MetricValue | None]]
"""Label -> value of each system."""


@dataclass(frozen=True)
class PlotPanel:
    """One plot with its table."""

    title: str
    metric: str
    unit: str
    plot: Markup
    grid: MetricGrid | None
    """None when the numbers are in a family's own table already."""


def class_panels(result: EvaluationResult) -> list[PlotPanel]:
    """Return one panel for each metric that is given by class (`f1_negative`, `f1_neutral`, …)."""
    by_base_metric: dict[tuple[str, str], dict[str, MetricDefinition]] = {}
    for family, members in definitions_by_family(result).items():
        for d in members:
            parts = d.name.split("_")
            polarity = next((p.value for p in Polarity if p.value in parts), None)
            if polarity:
                base_name = " ".join(w for w in parts if w != polarity)
                by_base_metric.setdefault((family, base_name), {})[polarity] = d
    out = []
    for (family, name), by_class in by_base_metric.items():
        rows = {c: [metric_value(r, d) for r in result.systems] for c, d in by_class.items()}
        d = next(iter(by_class.values()))
        plot = _dot_plot(result, rows, d, _panel_axis(rows.values()), f"{name} by class")
        out.append(PlotPanel(f"{family}: {name}", name, unit_symbol(d.unit), plot, None))
    return out


def slice_panels(result: EvaluationResult) -> list[PlotPanel]:
    """Return one panel per slice: the first metric plotted, all of them in its table."""
    levels = [r.slices for r in result.systems]
    names = dict.fromkeys(lv.slice for system_levels in levels for lv in system_levels)
    metric_names = list(
        dict.fromkeys(
            name for system_levels in levels for lv in system_levels for name in lv.metrics
        )
    )
    if not metric_names:
        return []
    columns = [find_definition(result, f).model_copy(update={"name": f}) for f in metric_names]
    first = columns[0]
    rows_by_slice = {name: _level_rows(levels, name, first.name) for name in names}
    scale = _panel_axis(row for rows in rows_by_slice.values() for row in rows.values())
    return [
        PlotPanel(
            title=name,
            metric=first.name.replace("_", " "),
            unit=unit_symbol(first.unit),
            plot=_dot_plot(result, rows, first, scale, f"{first.name} by {name}"),
            grid=value_grid(columns, _slice_rows(result, name)),
        )
        for name, rows in rows_by_slice.items()
    ]


def _level_rows(levels: Sequence[Sequence[SliceMetrics]], name: str, metric_name: str) -> PanelRows:
    """Return level -> value of each system for one metric."""
    by_level = [
        {lv.level: lv for lv in system_levels if lv.slice == name} for system_levels in levels
    ]
    level_names = dict.fromkeys(level for system_levels in by_level for level in system_levels)
    return {
        level: [
            system_levels[level].metrics.get(metric_name) if level in system_levels else None
            for system_levels in by_level
        ]
        for level in level_names
    }


def _slice_rows(
    result: EvaluationResult, name: str
) -> list[tuple[str, int, Mapping[str, MetricValue]]]:
    """Return the rows of a slice's table, the systems of one level together."""
    level_names = dict.fromkeys(
        lv.level for r in result.systems for lv in r.slices if lv.slice == name
    )
    return [
        (f"{level} · {r.name}", index, lv.metrics)
        for level in level_names
        for index, r in enumerate(result.systems)
        for lv in r.slices
        if (lv.slice, lv.level) == (name, level)
    ]


def _panel_axis(rows: Iterable[Sequence[MetricValue | None]]) -> Axis:
    return linear_axis([x for row in rows for v in row if v for x in (v.value, v.low, v.high)])


def _dot_plot(
    result: EvaluationResult, rows: PanelRows, d: MetricDefinition, scale: Axis, title: str
) -> Markup:
    lines = []
    for label, values in rows.items():
        counts = [v.n for v in values if v]
        plotted = tuple(
            PlotDot(
                index,
                v.value,
                v.low,
                v.high,
                f"{r.name}: {format_with_interval(v, d.unit)}, n {v.n:,}",
            )
            for index, (r, v) in enumerate(zip(result.systems, values, strict=True))
            if v and v.value is not None and is_defined(v.value)
        )
        lines.append(DotLine(label, f"n {max(counts):,}" if counts else "", plotted))
    return dot_plot(lines, scale, lambda x: format_tick(x, d.unit), title)


UNPARSED = "unparsed"
"""The column of answers that could not be parsed."""


@dataclass(frozen=True)
class ComparisonRow:
    """Two systems compared by one metric."""

    metric: str
    about: str
    unit: str
    a: str
    b: str
    difference: str
    interval: str
    method: str
    bar: Markup
    test: str
    p: str
    p_adjusted: str
    adjustment: str
    verdict: str
    is_significant: bool


def comparison_rows(result: EvaluationResult) -> list[ComparisonRow]:
    """Return every comparison in the order given; differences in one unit share an axis."""
    comparisons = [
        (c, find_definition(result, f"{c.family}.{c.metric}")) for c in result.comparisons
    ]
    return [
        _comparison_row(c, d, [o for o, e in comparisons if e.unit == d.unit])
        for c, d in comparisons
    ]


def _comparison_row(
    c: PairedComparison, d: MetricDefinition, same_unit: list[PairedComparison]
) -> ComparisonRow:
    scale = linear_axis([x for o in same_unit for x in (o.difference, o.low, o.high)], zero=True)
    verdict_text = comparison_verdict(c, d.better)
    low, high = (c.low, c.high) if is_defined(c.low) and is_defined(c.high) else (None, None)
    drawing = (
        interval_bar(c.difference, low, high, scale, "apart")
        if is_defined(c.difference)
        else EMPTY_MARKUP
    )
    return ComparisonRow(
        metric=f"{c.family} {c.metric}".replace("_", " "),
        about=d.about,
        unit="points" if d.unit == "share" else unit_symbol(d.unit),
        a=c.a,
        b=c.b,
        difference=format_number(c.difference, d.unit, signed=True),
        interval=format_interval(c.low, c.high, d.unit, signed=True),
        method=c.method,
        bar=drawing,
        test=c.test,
        p=format_p_value(c.p),
        p_adjusted=format_p_value(c.p_adjusted),
        adjustment=c.adjustment,
        verdict=verdict_text,
        is_significant=verdict_text != "no significant difference",
    )


@dataclass(frozen=True)
class ConfusionCell:
    """One cell of a confusion matrix."""

    count: str
    percent: int
    """Share of the row, 0..100; decides the shade."""
    is_correct: bool


@dataclass(frozen=True)
class ConfusionMatrix:
    """Reference polarity against predicted polarity."""

    system: str
    index: int
    columns: tuple[str, ...]
    rows: tuple[tuple[str, str, tuple[ConfusionCell, ...]], ...]
    """(reference polarity, its rows, the cells)"""


def confusion_matrices(result: EvaluationResult) -> list[ConfusionMatrix]:
    """Return one matrix for each system that has one."""
    return [_confusion_matrix(r, index) for index, r in enumerate(result.systems) if r.confusion]


def _confusion_matrix(r: SystemResult, index: int) -> ConfusionMatrix:
    labels = dict.fromkeys([*(p.value for p in Polarity), UNPARSED])
    labels |= dict.fromkeys(name for row in r.confusion.values() for name in row)
    lines = []
    for gold, row in r.confusion.items():
        total = sum(row.values())
        cells = tuple(
            ConfusionCell(
                f"{row.get(s, 0):,}", round(100 * row.get(s, 0) / (total or 1)), s == gold
            )
            for s in labels
        )
        lines.append((gold, f"{total:,}", cells))
    return ConfusionMatrix(r.name, index, tuple(labels), tuple(lines))


def probe_grids(result: EvaluationResult) -> dict[str, MetricGrid]:
    """Return one table per probe: systems down, metrics across."""
    names = dict.fromkeys(
        name for system_probes in result.probes.values() for name in system_probes
    )
    index_by_system = {r.name: index for index, r in enumerate(result.systems)}
    out = {}
    for name in names:
        rows: list[tuple[str, int, Mapping[str, MetricValue]]] = [
            (system, index_by_system.get(system, len(index_by_system)), system_probes[name])
            for system, system_probes in result.probes.items()
            if name in system_probes
        ]
        metric_names = dict.fromkeys(f for _, _, values in rows for f in values)
        hints = (name, f"probes.{name}", "probes")
        columns = [
            find_definition(result, f, hints).model_copy(update={"name": f}) for f in metric_names
        ]
        out[name] = value_grid(columns, rows)
    return out


@dataclass(frozen=True)
class RunCostRow:
    """The cost of this run for one system."""

    system: str
    index: int
    cells: tuple[tuple[str, str], ...]
    """(value, note)"""
    machine: str


RUN_COST_COLUMNS = ("posts", "seconds", "posts per second", "CPU seconds per post")


def run_costs(result: EvaluationResult) -> list[RunCostRow]:
    """Return time and throughput of each system that has them."""
    return [
        RunCostRow(r.name, index, _run_cost_cells(r.cost), r.cost.machine)
        for index, r in enumerate(result.systems)
        if r.cost
    ]


def _run_cost_cells(c: RunCost) -> tuple[tuple[str, str], ...]:
    recorded = "the answers were recorded" if c.seconds is None else ""
    rate = c.posts / c.seconds if c.seconds else None
    each = c.cpu_seconds / c.posts if c.cpu_seconds is not None and c.posts else None
    return (
        (f"{c.posts:,}", ""),
        (format_amount(c.seconds), recorded),
        (format_amount(rate), ""),
        (format_amount(each), "" if each is not None else "not measured"),
    )
