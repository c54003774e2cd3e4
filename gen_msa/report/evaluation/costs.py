"""Cost against quality: the rows of a table, and a plot with the Pareto frontier.

A system is on the frontier when no other one is at least as fast and as good, and better in one of
the two. Quality is the first metric of the evaluation of which more is better.

    [row.system for row in cost_rows(result) if row.frontier]
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import log10

from markupsafe import Markup

from gen_msa.report.evaluation.format import (
    MISSING,
    format_amount,
    format_tick,
    format_with_interval,
    headline_definitions,
    is_defined,
    metric_value,
    unit_symbol,
)
from gen_msa.report.evaluation.svg import (
    color_class,
    linear_axis,
    log_axis,
    marker_shape,
    svg_path,
    svg_text,
)
from gen_msa.results import (
    CostBenchmark,
    EvaluationResult,
    MetricDefinition,
    MetricValue,
    SystemResult,
)

COST_COLUMNS = {
    "posts_per_second": "posts per second",
    "cpu_seconds": "CPU s per 1,000 posts",
    "megabytes": "MB on disk",
    "peak_megabytes": "MB of memory",
    "joules": "J per 1,000 posts",
}
"""Metric -> head of its column."""
THROUGHPUT = "posts_per_second"


@dataclass(frozen=True)
class ParetoPoint:
    """A system in the plot."""

    index: int
    """Its index among the systems."""
    name: str
    rate: float
    value: float
    low: float | None
    high: float | None
    size: str
    """Megabytes, as text; empty where they are unknown."""
    label: str


@dataclass(frozen=True)
class CostRow:
    """The row of one system."""

    system: str
    index: int
    quality: str
    cells: tuple[tuple[str, str], ...]
    """(value, its range or why there is none), in the order of `COST_COLUMNS`."""
    frontier: bool
    method: str
    """Posts, repeats and machine; empty without measurements."""
    note: str
    """Why there are no measurements."""


def quality_metric(result: EvaluationResult) -> MetricDefinition | None:
    """Return the metric that is compared with cost; None where no system has one."""
    return next((d for d in headline_definitions(result) if d.better == "high"), None)


def cost_rows(result: EvaluationResult) -> list[CostRow]:
    """Return the row of every system with a cost benchmark, in the order of the systems."""
    frontier_indices = {p.index for p in pareto_frontier(pareto_points(result))}
    d = quality_metric(result)
    return [
        CostRow(
            system=r.name,
            index=index,
            quality=format_with_interval(metric_value(r, d), d.unit) if d else MISSING,
            cells=tuple(_cost_cell(r.cost_benchmark.metrics.get(name)) for name in COST_COLUMNS),
            frontier=index in frontier_indices,
            method=_measurement_note(r.cost_benchmark) if r.cost_benchmark.metrics else "",
            note=r.cost_benchmark.note,
        )
        for index, r in enumerate(result.systems)
        if r.cost_benchmark
    ]


def pareto_points(result: EvaluationResult) -> list[ParetoPoint]:
    """Return the systems that have both quality and throughput."""
    d = quality_metric(result)
    points = [_pareto_point(index, r, d) for index, r in enumerate(result.systems) if d]
    return [p for p in points if p]


def pareto_frontier(points: Sequence[ParetoPoint]) -> list[ParetoPoint]:
    """Return the points that no other one dominates, slowest first; equal ones do not dominate."""
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
    """Return the notes under the table: how systems were timed, and what is missing.

    Systems with the same note share one line.
    """
    systems_by_note: dict[str, list[str]] = {}
    for row in rows:
        missing = [
            f"{head}: {reason}"
            for head, (value, reason) in zip(COST_COLUMNS.values(), row.cells, strict=True)
            if value == MISSING and reason
        ]
        for note in filter(None, [row.method, *missing]):
            systems_by_note.setdefault(note, []).append(row.system)
    lines = [f"cost of {'; '.join(names)}: {note}" for note, names in systems_by_note.items()]
    return lines + [f"cost of {row.system}: {row.note}" for row in rows if row.note]


def _pareto_point(index: int, r: SystemResult, d: MetricDefinition) -> ParetoPoint | None:
    rate = r.cost_benchmark.metrics.get(THROUGHPUT) if r.cost_benchmark else None
    value = metric_value(r, d)
    if not (rate and rate.value and value and value.value is not None and is_defined(value.value)):
        return None
    size = r.cost_benchmark.metrics.get("megabytes") if r.cost_benchmark else None
    size_text = f"{format_amount(size.value)} MB" if size and size.value is not None else ""
    speed = f"{format_amount(rate.value)} posts per second"
    label = f"{r.name}: {speed}, {format_with_interval(value, d.unit)}"
    label = f"{label}, {size_text}" if size_text else label
    return ParetoPoint(
        index, r.name, rate.value, value.value, value.low, value.high, size_text, label
    )


def _cost_cell(value: MetricValue | None) -> tuple[str, str]:
    if value is None or value.value is None:
        return MISSING, value.note if value else ""
    interval = (
        f"{format_amount(value.low)} to {format_amount(value.high)}"
        if value.low is not None
        else ""
    )
    return format_amount(value.value), interval


def _measurement_note(cost: CostBenchmark) -> str:
    text = f"{cost.posts:,} posts, {cost.repeats} repeats"
    return f"{text} on {cost.machine}" if cost.machine else text


WIDTH, HEIGHT = 360, 300
LEFT, RIGHT, TOP, BOTTOM = 36, 8, 20, 266
"""Edges of the plot area."""
CHAR_WIDTH, LINE_HEIGHT = 6.2, 12
"""Approximate width of a character of a label, and the height of a line."""
MAX_LABEL_CHARS = 18

Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""


@dataclass(frozen=True)
class PlottedPoint:
    """A point with its coordinates."""

    point: ParetoPoint
    x: float
    y: float
    top: float
    """Upper end of its interval."""
    bottom: float


@dataclass(frozen=True)
class LabelPosition:
    """Where the label of a point is drawn."""

    x: float
    y: float
    """Baseline of the first line."""
    side: str
    """`start`, `middle` or `end`: the part of the label that is at x."""


def draw_pareto_plot(
    points: Sequence[ParetoPoint], frontier: Sequence[ParetoPoint], metric: str, unit: str
) -> Markup:
    """Draw quality against throughput: one point per system, the frontier as a step line.

    Args:
        points: All points.
        frontier: The points of the frontier, slowest first; the others are pale.
        metric: Name of the quality metric.
        unit: Its unit.

    Returns:
        The SVG element.
    """
    x_axis = log_axis(p.rate for p in points)
    y_axis = linear_axis([v for p in points for v in (p.value, p.low, p.high)])

    def x(rate: float) -> float:
        return LEFT + 6 + (WIDTH - RIGHT - LEFT - 12) * x_axis.position(log10(rate))

    def y(value: float) -> float:
        return BOTTOM - (BOTTOM - TOP) * y_axis.position(value)

    plotted = [
        PlottedPoint(p, x(p.rate), y(p.value), y(_or_value(p.high, p)), y(_or_value(p.low, p)))
        for p in points
    ]
    parts = Markup("")
    for t in y_axis.ticks:
        parts += svg_path("grid", f"M{LEFT} {y(t):.4g}H{WIDTH - RIGHT}")
        parts += svg_text("lb", LEFT - 5, y(t) + 4, format_tick(t, unit))
    for t in x_axis.ticks:
        parts += svg_path("grid", f"M{x(10**t):.4g} {TOP}V{BOTTOM}")
        parts += svg_text("tk", x(10**t), BOTTOM + 15, format_amount(10**t))
    parts += svg_text("tk", (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 4, "posts per second")
    parts += svg_text("ax", 2, 11, f"{metric}, {unit_symbol(unit)}".rstrip(", "))
    parts += _frontier_line([(x(p.rate), y(p.value)) for p in frontier])
    for spot, label in zip(plotted, place_labels(plotted), strict=True):
        parts += _draw_point(spot, label, pale=spot.point not in frontier)
    return _svg_frame(parts, f"{metric} against posts per second", points, frontier)


def _or_value(limit: float | None, p: ParetoPoint) -> float:
    return p.value if limit is None else limit


def _svg_frame(
    parts: Markup, title: str, points: Sequence[ParetoPoint], frontier: Sequence[ParetoPoint]
) -> Markup:
    description = "; ".join(
        f"{p.label}{', on the frontier' if p in frontier else ''}" for p in points
    )
    return Markup(
        '<svg class="plot front" viewBox="0 0 {} {}" role="img" '
        'aria-labelledby="frontier-title frontier-desc"><title id="frontier-title">{}</title>'
        '<desc id="frontier-desc">{}</desc>{}</svg>'
    ).format(WIDTH, HEIGHT, title, description, parts)


def _frontier_line(corners: Sequence[tuple[float, float]]) -> Markup:
    """Draw which quality is available at which speed: level up to a system's speed, then down."""
    if not corners:
        return Markup("")
    line = f"M{LEFT} {corners[0][1]:.4g}"
    for (x, _), next_y in zip(corners, [*(y for _, y in corners[1:]), BOTTOM], strict=True):
        line += f"H{x:.4g}V{next_y:.4g}"
    return svg_path("step", line)


def _draw_point(spot: PlottedPoint, label: LabelPosition, *, pale: bool) -> Markup:
    p, tone = spot.point, color_class(spot.point.index)
    parts = Markup("")
    if p.low is not None and p.high is not None:
        parts += svg_path(f"wh {tone}", f"M{spot.x:.4g} {spot.top:.4g}V{spot.bottom:.4g}")
    parts += marker_shape(p.index, spot.x, spot.y)
    label_y = label.y - LINE_HEIGHT / 2 + 2
    anchor_y = min(max(label_y, spot.top), spot.bottom)
    if abs(label_y - anchor_y) > 1.5 * LINE_HEIGHT or abs(label.x - spot.x) > LINE_HEIGHT:
        anchor_x = label.x + {"start": -2, "middle": 0, "end": 2}[label.side]
        parts += svg_path("lead", f"M{spot.x:.4g} {anchor_y:.4g}L{anchor_x:.4g} {label_y:.4g}")
    parts += svg_text(f"pt {label.side}", label.x, label.y, shorten_name(p.name))
    parts += svg_text(f"pt sz {label.side}", label.x, label.y + LINE_HEIGHT, p.size)
    kind = "spot pale" if pale else "spot"
    return Markup('<g class="{}"><title>{}</title>{}</g>').format(kind, p.label, parts)


def shorten_name(name: str) -> str:
    """Shorten a name to its beginning and its end, which distinguishes paths."""
    return name if len(name) <= MAX_LABEL_CHARS else f"{name[:5]}…{name[6 - MAX_LABEL_CHARS :]}"


def place_labels(plotted: Sequence[PlottedPoint]) -> list[LabelPosition]:
    """Choose a position for the label of each point.

    The nearest position that covers nothing is preferred, then the nearest that covers no other
    label.
    """
    point_boxes, label_boxes = [_point_box(s) for s in plotted], list[Box]()
    positions = []
    for spot in plotted:
        candidates = [(p, label_box(spot, p)) for p in _candidate_positions(spot)]
        free = [
            candidate for candidate in candidates if not _overlaps_any(candidate[1], label_boxes)
        ] or candidates[:1]
        unobstructed = (
            candidate for candidate in free if not _overlaps_any(candidate[1], point_boxes)
        )
        label, chosen_box = next(unobstructed, free[0])
        label_boxes.append(chosen_box)
        positions.append(label)
    return positions


def label_box(spot: PlottedPoint, label: LabelPosition) -> Box:
    """Return the box that a label covers.

    Args:
        spot: The point.
        label: Position of its label.
    """
    width = CHAR_WIDTH * max(len(shorten_name(spot.point.name)), len(spot.point.size))
    left = label.x - {"start": 0.0, "middle": width / 2, "end": width}[label.side]
    lines = 2 if spot.point.size else 1
    return left, label.y - LINE_HEIGHT + 3, left + width, label.y + LINE_HEIGHT * (lines - 1) + 3


def _point_box(spot: PlottedPoint) -> Box:
    return spot.x - 5, min(spot.top, spot.y - 5), spot.x + 5, max(spot.bottom, spot.y + 5)


def _candidate_positions(spot: PlottedPoint) -> Iterator[LabelPosition]:
    """Yield positions beside the point, then further up and down, then anywhere in the plot."""
    near_sides = [("start", spot.x + 8), ("end", spot.x - 8), ("middle", spot.x)]
    baselines = [spot.y + 1 + 6 * n * sign for n in range(48) for sign in (1, -1)]
    far_sides = [("start", float(x)) for x in range(LEFT, WIDTH, 12)]
    for sides in (near_sides, sorted(far_sides, key=lambda side: abs(side[1] - spot.x))):
        for label in (
            LabelPosition(x, baseline, side) for baseline in baselines for side, x in sides
        ):
            left, top, right, bottom = label_box(spot, label)
            if left >= LEFT and right <= WIDTH and top >= TOP - 6 and bottom <= BOTTOM:
                yield label
    yield LabelPosition(WIDTH - RIGHT, TOP + 8, "end")


def _overlaps_any(box: Box, boxes: Iterable[Box]) -> bool:
    return any(box[0] < o[2] and o[0] < box[2] and box[1] < o[3] and o[1] < box[3] for o in boxes)
