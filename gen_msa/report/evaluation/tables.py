"""The other tables of the page: comparisons, confusion, probes and cost.

Drawn from a `Result`; knows nothing of HTML.

    compared(result)[0].verdict      # "builtin is better"
"""

from collections.abc import Mapping
from dataclasses import dataclass

from markupsafe import Markup

from gen_msa.report.evaluation.columns import find_definition
from gen_msa.report.evaluation.grids import EMPTY_MARKUP, MetricGrid, value_grid
from gen_msa.report.evaluation.plots import interval_bar
from gen_msa.report.evaluation.scales import linear_axis
from gen_msa.report.evaluation.words import (
    format_amount,
    is_defined,
    format_number,
    format_p_value,
    format_interval,
    unit_symbol,
    comparison_verdict,
)
from gen_msa.results import PairedComparison, RunCost, MetricDefinition, SystemResult, EvaluationResult, MetricValue
from gen_msa.types import Polarity

UNPARSED = "unread"
"""The column of answers that could not be read."""


@dataclass(frozen=True)
class ComparisonRow:
    """Two readers on one figure."""

    metric: str
    about: str
    unit: str
    a: str
    b: str
    difference: str
    span: str
    method: str
    bar: Markup
    test: str
    p: str
    p_adjusted: str
    adjustment: str
    verdict: str
    is_significant: bool


def comparison_rows(result: EvaluationResult) -> list[ComparisonRow]:
    """Every comparison in the order given; differences in one unit share an axis."""
    comparisons = [(c, find_definition(result, f"{c.family}.{c.metric}")) for c in result.comparisons]
    return [_comparison_row(c, d, [o for o, e in comparisons if e.unit == d.unit]) for c, d in comparisons]


def _comparison_row(c: PairedComparison, d: MetricDefinition, same_unit: list[PairedComparison]) -> ComparisonRow:
    scale = linear_axis([x for o in same_unit for x in (o.difference, o.low, o.high)], zero=True)
    verdict_text = comparison_verdict(c, d.better)
    low, high = (c.low, c.high) if is_defined(c.low) and is_defined(c.high) else (None, None)
    drawing = interval_bar(c.difference, low, high, scale, "apart") if is_defined(c.difference) else EMPTY_MARKUP
    return ComparisonRow(
        metric=f"{c.family} {c.metric}".replace("_", " "),
        about=d.about,
        unit="points" if d.unit == "share" else unit_symbol(d.unit),
        a=c.a,
        b=c.b,
        difference=format_number(c.difference, d.unit, signed=True),
        span=format_interval(c.low, c.high, d.unit, signed=True),
        method=c.method,
        bar=drawing,
        test=c.test,
        p=format_p_value(c.p),
        p_adjusted=format_p_value(c.p_adjusted),
        adjustment=c.adjustment,
        verdict=verdict_text,
        is_significant=verdict_text != "not told apart",
    )


@dataclass(frozen=True)
class ConfusionCell:
    """One cell of a confusion matrix."""

    count: str
    percent: int
    """Of the row, 0..100: how dark it is."""
    is_correct: bool


@dataclass(frozen=True)
class ConfusionMatrix:
    """What each of gold's polarities was read as."""

    system: str
    at: int
    heads: tuple[str, ...]
    lines: tuple[tuple[str, str, tuple[ConfusionCell, ...]], ...]
    """(gold's polarity, its rows, the cells)"""


def confusion_matrices(result: EvaluationResult) -> list[ConfusionMatrix]:
    """One matrix for each reader that has one."""
    return [_confusion_matrix(r, at) for at, r in enumerate(result.systems) if r.confusion]


def _confusion_matrix(r: SystemResult, at: int) -> ConfusionMatrix:
    labels = dict.fromkeys([*(p.value for p in Polarity), UNPARSED])
    labels |= dict.fromkeys(name for row in r.confusion.values() for name in row)
    lines = []
    for gold, row in r.confusion.items():
        total = sum(row.values())
        cells = tuple(
            ConfusionCell(f"{row.get(s, 0):,}", round(100 * row.get(s, 0) / (total or 1)), s == gold)
            for s in labels
        )
        lines.append((gold, f"{total:,}", cells))
    return ConfusionMatrix(r.name, at, tuple(labels), tuple(lines))


def probe_grids(result: EvaluationResult) -> dict[str, MetricGrid]:
    """One table a probe: readers down, its figures across."""
    names = dict.fromkeys(name for system_probes in result.probes.values() for name in system_probes)
    index_by_system = {r.name: at for at, r in enumerate(result.systems)}
    out = {}
    for name in names:
        rows: list[tuple[str, int, Mapping[str, MetricValue]]] = [
            (system, index_by_system.get(system, len(index_by_system)), system_probes[name])
            for system, system_probes in result.probes.items()
            if name in system_probes
        ]
        metric_names = dict.fromkeys(f for _, _, values in rows for f in values)
        hints = (name, f"probes.{name}", "probes", "probing")
        columns = [find_definition(result, f, hints).model_copy(update={"name": f}) for f in metric_names]
        out[name] = value_grid(columns, rows)
    return out


@dataclass(frozen=True)
class RunCostRow:
    """What reading took one reader in this run."""

    system: str
    at: int
    cells: tuple[tuple[str, str], ...]
    """(figure, note)"""
    machine: str


RUN_COST_COLUMNS = ("posts", "seconds", "posts a second", "CPU seconds a post")


def run_costs(result: EvaluationResult) -> list[RunCostRow]:
    """Time and throughput of each reader that has them."""
    return [
        RunCostRow(r.name, at, _run_cost_cells(r.cost), r.cost.machine)
        for at, r in enumerate(result.systems)
        if r.cost
    ]


def _run_cost_cells(c: RunCost) -> tuple[tuple[str, str], ...]:
    recorded = "answers were on record" if c.seconds is None else ""
    rate = c.posts / c.seconds if c.seconds else None
    each = c.cpu_seconds / c.posts if c.cpu_seconds is not None and c.posts else None
    return (
        (f"{c.posts:,}", ""),
        (format_amount(c.seconds), recorded),
        (format_amount(rate), ""),
        (format_amount(each), "" if each is not None else "not measured"),
    )
