"""Small plots side by side: a figure of each class, and of each slice of the rows.

All plots of one figure share an axis, so that an eye can move from one to the next. Each has a
table with the same numbers. Drawn from a `Result`; knows nothing of how slices were cut.

    for panel in slices(result):
        print(panel.title, panel.plot, panel.grid)
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from gen_msa.report.evaluation.columns import find_definition, definitions_by_family, metric_value
from gen_msa.report.evaluation.grids import MetricGrid, value_grid, format_tick
from gen_msa.report.evaluation.plots import PlotDot, DotLine, dot_plot
from gen_msa.report.evaluation.scales import Axis, linear_axis
from gen_msa.report.evaluation.words import format_with_interval, is_defined, unit_symbol
from gen_msa.results import MetricDefinition, SliceMetrics, EvaluationResult, MetricValue
from gen_msa.types import Polarity

PanelRows = Mapping[str, Sequence[MetricValue | None]]
"""Label -> each reader's value."""


@dataclass(frozen=True)
class PlotPanel:
    """One plot with its table."""

    title: str
    metric: str
    unit: str
    plot: Markup
    grid: MetricGrid | None
    """None when the numbers stand in a family's own table already."""


def class_panels(result: EvaluationResult) -> list[PlotPanel]:
    """One panel for each figure that is given by class (`f1_negative`, `f1_neutral`, …)."""
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
    """One panel a slice: the first figure drawn, all of them in its table."""
    levels = [r.slices for r in result.systems]
    names = dict.fromkeys(lv.slice for system_levels in levels for lv in system_levels)
    metric_names = list(dict.fromkeys(name for system_levels in levels for lv in system_levels for name in lv.metrics))
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
    """Level -> each reader's value of one figure."""
    by_level = [{lv.level: lv for lv in system_levels if lv.slice == name} for system_levels in levels]
    level_names = dict.fromkeys(level for system_levels in by_level for level in system_levels)
    return {
        level: [system_levels[level].metrics.get(metric_name) if level in system_levels else None for system_levels in by_level]
        for level in level_names
    }


def _slice_rows(result: EvaluationResult, name: str) -> list[tuple[str, int, Mapping[str, MetricValue]]]:
    """Rows of a slice's table, the readers of one level together."""
    level_names = dict.fromkeys(lv.level for r in result.systems for lv in r.slices if lv.slice == name)
    return [
        (f"{level} · {r.name}", index, lv.metrics)
        for level in level_names
        for index, r in enumerate(result.systems)
        for lv in r.slices
        if (lv.slice, lv.level) == (name, level)
    ]


def _panel_axis(rows: Iterable[Sequence[MetricValue | None]]) -> Axis:
    return linear_axis([x for row in rows for v in row if v for x in (v.value, v.low, v.high)])


def _dot_plot(result: EvaluationResult, rows: PanelRows, d: MetricDefinition, scale: Axis, title: str) -> Markup:
    lines = []
    for label, values in rows.items():
        counts = [v.n for v in values if v]
        plotted = tuple(
            PlotDot(index, v.value, v.low, v.high, f"{r.name}: {format_with_interval(v, d.unit)}, n {v.n:,}")
            for index, (r, v) in enumerate(zip(result.systems, values, strict=True))
            if v and v.value is not None and is_defined(v.value)
        )
        lines.append(DotLine(label, f"n {max(counts):,}" if counts else "", plotted))
    return dot_plot(lines, scale, lambda x: format_tick(x, d.unit), title)
