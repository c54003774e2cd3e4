"""How values are printed, and which metrics appear where.

Shares are percentages, an undefined value is a dash, minus is a minus sign. Page, terminal and
Markdown use the same functions, so that they agree to the digit.

    format_number(0.8214, "share")             # "82.1"
    format_interval(0.80, 0.84, "share")       # "80.0 to 84.0"
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

from markupsafe import Markup

from gen_msa.metrics.statistics.intervals import MIN_CLUSTERS, too_few_clusters
from gen_msa.report.evaluation.svg import Axis, interval_bar, linear_axis, system_marker
from gen_msa.results import (
    EvaluationResult,
    MetricDefinition,
    MetricValue,
    PairedComparison,
    PublishedResult,
    SystemResult,
)

MISSING = "–"
"""Shown in place of an undefined value."""

ALPHA = 0.05
"""Adjusted p below which a difference is significant."""

_DIGITS = {"share": 1, "points": 1, "score": 3, "nats": 3, "words": 1, "count": 0}
_SYMBOL = {"share": "%", "points": "points", "nats": "nats", "words": "words"}


def is_defined(x: float | None) -> bool:
    """Return whether there is a number to print."""
    return x is not None and isfinite(x)


def to_display(x: float, unit: str) -> float:
    """Convert a number to the printed scale: a share to a percentage, anything else unchanged.

    Args:
        x: The number.
        unit: Its unit.

    Returns:
        The printed number.
    """
    return 100 * x if unit == "share" else x


def format_number(x: float | None, unit: str, *, signed: bool = False) -> str:
    """Format one number with the digits of its unit; `–` where there is none.

    Args:
        x: The number.
        unit: Its unit.
        signed: Write a plus before positive numbers.

    Returns:
        The text.
    """
    if x is None or not isfinite(x):
        return MISSING
    digits = _DIGITS.get(unit, 3)
    if unit == "count" and x != int(x):
        digits = 1
    shown = to_display(x, unit)
    text = f"{shown:.3e}" if abs(shown) >= HUGE_NUMBER else f"{shown:,.{digits}f}"
    if not text.strip("-0.,"):  # "-0.0" would say that there is a sign
        text = text.lstrip("-")
    elif signed and x > 0:
        text = "+" + text
    return text.replace("-", "−")


HUGE_NUMBER = 1e12
"""Numbers from here on are written with an exponent."""


def format_amount(x: float | None) -> str:
    """Format three significant digits, without exponents for counts."""
    if x is None or not isfinite(x):
        return MISSING
    return f"{x:,.0f}" if abs(x) >= 100 else f"{x:.3g}"


def unit_symbol(unit: str) -> str:
    """Return the unit for the head of a table; empty for a plain score."""
    return _SYMBOL.get(unit, "")


def format_interval(
    low: float | None, high: float | None, unit: str, *, signed: bool = False
) -> str:
    """Format an interval; empty when there is none.

    Args:
        low: Lower end.
        high: Upper end.
        unit: Unit of both.
        signed: Write a plus before positive numbers.

    Returns:
        The text.
    """
    if not (is_defined(low) and is_defined(high)):
        return ""
    return (
        f"{format_number(low, unit, signed=signed)} to {format_number(high, unit, signed=signed)}"
    )


def format_with_interval(value: MetricValue | None, unit: str) -> str:
    """Format a value as plain text, with its interval or its spread over seeds.

    `82.1 [80.0, 84.3]`, or for a mean over seeds `82.1 ± 0.4`.

    Args:
        value: The value; None: `–`.
        unit: Its unit.

    Returns:
        The text.
    """
    if value is None:
        return MISSING
    text = format_number(value.value, unit)
    if value.sd is not None:
        return f"{text} ± {format_number(value.sd, unit)}"
    if text == MISSING or not format_interval(value.low, value.high, unit):
        return text
    return f"{text} [{format_number(value.low, unit)}, {format_number(value.high, unit)}]"


def interval_scope(result: EvaluationResult) -> str:
    """Describe the 95 % intervals in a few words, or say why there are none."""
    if result.clusters < MIN_CLUSTERS:
        return too_few_clusters(result.clusters)
    return (
        f"95 % intervals with t of {result.clusters - 1:,} df, {result.replicates:,} replicates, "
        f"seed {result.seed}"
    )


def format_p_value(p: float) -> str:
    """Format a p value with at most two significant digits, never `0`."""
    if not isfinite(p):
        return MISSING
    return "<0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def format_seed_spread(value: MetricValue, unit: str) -> str:
    """Format the sample standard deviation over seeds: `±0.8 over 3 seeds`.

    Args:
        value: The value, with that of each seed.
        unit: Its unit.

    Returns:
        Empty for fewer than two seeds.
    """
    if value.sd is None:
        return ""
    return f"±{format_number(value.sd, unit)} over {len(value.seeds)} seeds"


def format_unparsed(system: SystemResult) -> str:
    """Format the unparsed answers as a count and a share of the reference's opinions."""
    count = len(system.unparsed)
    return (
        f"{count:,} ({format_number(count / system.rows, 'share')} %)" if system.rows else MISSING
    )


def comparison_verdict(c: PairedComparison, better: str) -> str:
    """Describe in words what the adjusted test says.

    Args:
        c: The comparison.
        better: `high`, `low`, or empty where neither is better.

    Returns:
        A short phrase.
    """
    if not isfinite(c.p_adjusted) or c.p_adjusted >= ALPHA or c.difference == 0:
        return "no significant difference"
    leader = c.a if c.difference > 0 else c.b
    if not better:
        return f"{leader} is higher"
    return f"{leader if better == 'high' else c.b if leader == c.a else c.a} is better"


def metric_key(d: MetricDefinition) -> str:
    """Return `family.metric`, as published results are named."""
    return f"{d.family}.{d.name}" if d.name else d.family


def metric_value(system: SystemResult, d: MetricDefinition) -> MetricValue | None:
    """Return the value of one metric.

    Args:
        system: The system.
        d: The metric.

    Returns:
        None when it was not measured.
    """
    return system.metrics.get(d.family, {}).get(d.name)


def definitions_by_family(result: EvaluationResult) -> dict[str, list[MetricDefinition]]:
    """Return the metrics of every family in the order defined.

    Metrics that a system or a paper has beyond the definitions come last, so that every value is
    printed.
    """
    out: dict[str, dict[str, MetricDefinition]] = {}
    for d in result.definitions:
        out.setdefault(d.family, {})[d.name] = d
    reported = [(f, n) for r in result.systems for f, names in r.metrics.items() for n in names]
    reported += [
        (f, n) for p in result.published for f, _, n in (k.partition(".") for k in p.metrics)
    ]
    for family, name in reported:
        out.setdefault(family, {}).setdefault(name, default_definition(family, name))
    return {family: list(members.values()) for family, members in out.items()}


def default_definition(family: str, name: str) -> MetricDefinition:
    """Return the definition of a metric that has none: a plain score.

    Args:
        family: Its family.
        name: Its name.
    """
    return MetricDefinition(family=family, name=name, about="", unit="score", better="")


def headline_definitions(result: EvaluationResult) -> list[MetricDefinition]:
    """Return headline, macro-F1, the first metric of each family, and what papers printed.

    A family without a single number has only its own table, which says why.
    """
    published_names = {name for p in result.published for name in p.metrics}
    shown = published_names | {*result.headline, "labels.macro_f1"}
    out = []
    for members in definitions_by_family(result).values():
        if any(_has_number(metric_value(r, d)) for r in result.systems for d in members):
            out += [d for index, d in enumerate(members) if index == 0 or metric_key(d) in shown]
        else:
            out += [d for d in members if metric_key(d) in published_names]
    return out


def _has_number(value: MetricValue | None) -> bool:
    return value is not None and is_defined(value.value)


def find_definition(
    result: EvaluationResult, name: str, hints: Iterable[str] = ()
) -> MetricDefinition:
    """Find the definition of a metric of a slice or a probe.

    Args:
        result: The evaluation.
        name: The metric; may be `family.metric`.
        hints: Families to prefer.

    Returns:
        The definition; a plain score for a metric without one.
    """
    definitions = [d for members in definitions_by_family(result).values() for d in members]
    hint_order = list(hints)
    matching = [d for d in definitions if name in (d.name, metric_key(d))]
    matching.sort(
        key=lambda d: hint_order.index(d.family) if d.family in hint_order else len(hint_order)
    )
    return matching[0] if matching else default_definition("", name)


def significantly_best(result: EvaluationResult, d: MetricDefinition) -> str | None:
    """Return the system that is better than every other one by its paired test, after adjustment.

    Args:
        result: The evaluation.
        d: The metric.

    Returns:
        Its name; None when a pair was not tested or not significant, or for a single system.
    """
    names = [r.name for r in result.systems if _has_number(metric_value(r, d))]
    if len(names) < 2 or not d.better:
        return None
    won_pairs = set(_significant_pairs(result, d))
    return next((a for a in names if all((a, b) in won_pairs for b in names if b != a)), None)


def _significant_pairs(result: EvaluationResult, d: MetricDefinition) -> Iterator[tuple[str, str]]:
    """Yield (better, worse) for every pair with a significant difference in this metric."""
    for c in result.comparisons:
        if (c.family, c.metric) != (d.family, d.name) or not c.p_adjusted < ALPHA:
            continue
        if c.difference and (c.difference > 0) == (d.better == "high"):
            yield c.a, c.b
        elif c.difference:
            yield c.b, c.a


def published_value(published: PublishedResult, d: MetricDefinition) -> float | None:
    """Return a published value of one metric.

    Args:
        published: The published result.
        d: The metric.

    Returns:
        None when the paper prints none.
    """
    return published.metrics.get(metric_key(d))


# Tables of metrics: systems down, metrics across, cells with intervals as text and bars.

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
