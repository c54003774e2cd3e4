"""What readers cost beside what they are worth: the rows of a table, and the points of a plot.

A reader is on the frontier when no other one is both as fast and as good, and better in one of the
two. The worth is the first figure of the evaluation of which more is better. Drawn from a `Result`;
knows nothing of HTML, and nothing of how cost was measured.

    [c.reader for c in costed(result) if c.frontier]
"""

from collections.abc import Sequence
from dataclasses import dataclass

from gen_msa.report.evaluation.columns import metric_value, headline_definitions
from gen_msa.report.evaluation.words import MISSING, format_amount, format_with_interval, is_defined
from gen_msa.results import CostBenchmark, MetricDefinition, SystemResult, EvaluationResult, MetricValue

COST_COLUMNS = {
    "posts_per_second": "posts a second",
    "cpu_seconds": "CPU s for 1,000 posts",
    "megabytes": "MB on disk",
    "peak_megabytes": "MB of memory",
    "joules": "J for 1,000 posts",
}
"""Figure -> as it stands over its column."""
THROUGHPUT = "posts_per_second"


@dataclass(frozen=True)
class ParetoPoint:
    """A reader in the plot."""

    index: int
    """Its place among the readers."""
    name: str
    rate: float
    value: float
    low: float | None
    high: float | None
    size: str
    """Megabytes, as words; empty where they are not known."""
    label: str


@dataclass(frozen=True)
class CostRow:
    """One reader's row."""

    system: str
    at: int
    worth: str
    cells: tuple[tuple[str, str], ...]
    """(figure, its range or why there is none), in the order of `COSTS`."""
    frontier: bool
    method: str
    """Posts, laps and machine; empty where there are no figures."""
    note: str
    """Why there are none."""


def quality_metric(result: EvaluationResult) -> MetricDefinition | None:
    """The figure that is held against cost; None where no reader has one."""
    return next((d for d in headline_definitions(result) if d.better == "high"), None)


def cost_rows(result: EvaluationResult) -> list[CostRow]:
    """Every reader that was to be timed, in the order of the readers."""
    frontier_indices = {p.index for p in pareto_frontier(pareto_points(result))}
    d = quality_metric(result)
    return [
        CostRow(
            system=r.name,
            at=index,
            worth=format_with_interval(metric_value(r, d), d.unit) if d else MISSING,
            cells=tuple(_cost_cell(r.cost_benchmark.metrics.get(name)) for name in COST_COLUMNS),
            frontier=index in frontier_indices,
            method=_measurement_note(r.cost_benchmark) if r.cost_benchmark.metrics else "",
            note=r.cost_benchmark.note,
        )
        for index, r in enumerate(result.systems)
        if r.cost_benchmark
    ]


def pareto_points(result: EvaluationResult) -> list[ParetoPoint]:
    """The readers that have both a worth and a speed."""
    d = quality_metric(result)
    points = [_pareto_point(index, r, d) for index, r in enumerate(result.systems) if d]
    return [p for p in points if p]


def pareto_frontier(points: Sequence[ParetoPoint]) -> list[ParetoPoint]:
    """Those that no other one dominates, slowest first; equals do not dominate each other."""
    frontier = [
        p
        for p in points
        if not any(
            q.rate >= p.rate and q.value >= p.value and (q.rate, q.value) != (p.rate, p.value)
            for q in points
        )
    ]
    return sorted(frontier, key=lambda p: p.rate)


def cost_notes(rows: Sequence[CostRow]) -> list[str]:
    """What stands under a table: how readers were timed, and which figures they lack, those alike
    together; and why some were not timed.
    """
    systems_by_note: dict[str, list[str]] = {}
    for row in rows:
        missing = [
            f"{head}: {reason}"
            for head, (value, reason) in zip(COST_COLUMNS.values(), row.cells, strict=True)
            if value == MISSING and reason
        ]
        for remark in filter(None, [row.method, *missing]):
            systems_by_note.setdefault(remark, []).append(row.system)
    notes = [f"cost of {'; '.join(names)}: {remark}" for remark, names in systems_by_note.items()]
    return notes + [f"cost of {row.system}: {row.note}" for row in rows if row.note]


def _pareto_point(index: int, r: SystemResult, d: MetricDefinition) -> ParetoPoint | None:
    rate = r.cost_benchmark.metrics.get(THROUGHPUT) if r.cost_benchmark else None
    value = metric_value(r, d)
    if not (rate and rate.value and value and value.value is not None and is_defined(value.value)):
        return None
    size = r.cost_benchmark.metrics.get("megabytes") if r.cost_benchmark else None
    size_text = f"{format_amount(size.value)} MB" if size and size.value is not None else ""
    label = f"{r.name}: {format_amount(rate.value)} posts a second, {format_with_interval(value, d.unit)}"
    label = f"{label}, {size_text}" if size_text else label
    return ParetoPoint(index, r.name, rate.value, value.value, value.low, value.high, size_text, label)


def _cost_cell(value: MetricValue | None) -> tuple[str, str]:
    if value is None or value.value is None:
        return MISSING, value.note if value else ""
    interval = f"{format_amount(value.low)} to {format_amount(value.high)}" if value.low is not None else ""
    return format_amount(value.value), interval


def _measurement_note(cost: CostBenchmark) -> str:
    text = f"{cost.posts:,} posts a lap, {cost.laps} laps"
    return f"{text} on {cost.machine}" if cost.machine else text
