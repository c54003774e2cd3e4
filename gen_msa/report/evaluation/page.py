"""An evaluation as one HTML file: metrics, tests, plots, and the rows behind them.

Every table and plot is drawn from the `EvaluationResult`; the examples are only shown as cards. The
file works offline under the same content security policy as the report of posts: its own style and
script by hash, images as data URLs, every value escaped.

    write_evaluation(result, examples, Path("evaluation.html"), Path("images"))
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Literal

from markupsafe import Markup

from gen_msa.jsonl import atomic_write
from gen_msa.report.cards import DrawThumbnail, PostCard, ThumbnailStore, build_card
from gen_msa.report.evaluation.costs import (
    COST_COLUMNS,
    cost_rows,
    draw_pareto_plot,
    pareto_frontier,
    pareto_points,
    quality_metric,
)
from gen_msa.report.evaluation.format import (
    EMPTY_MARKUP,
    MetricGrid,
    comparison_verdict,
    definitions_by_family,
    find_definition,
    format_amount,
    format_interval,
    format_number,
    format_p_value,
    format_tick,
    format_with_interval,
    headline_definitions,
    is_defined,
    metric_value,
    system_grid,
    unit_symbol,
    value_grid,
)
from gen_msa.report.evaluation.svg import (
    Axis,
    DotLine,
    PlotDot,
    color_class,
    dot_plot,
    interval_bar,
    linear_axis,
    reliability_diagram,
    system_marker,
)
from gen_msa.report.page import environment, page_assets, read_chunks
from gen_msa.report.summary import AspectGroup, OpinionSummary, group_by_aspect
from gen_msa.results import (
    EvaluationResult,
    MetricDefinition,
    MetricValue,
    PairedComparison,
    RunCost,
    SelectedRow,
    SliceMetrics,
    SystemResult,
)
from gen_msa.types import Example, Polarity

# The other sections of the page: slices, comparisons, confusion, probes and the cost of the run.

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


SelectionKind = Literal["disagreements", "best", "worst"]
SELECTION_KINDS: tuple[SelectionKind, ...] = ("disagreements", "best", "worst")

MAX_ROWS_PER_KIND = 200
"""Rows of one kind on the page; `results.json` has all, and the page says how many are left out."""

RenderCard = Callable[[PostCard], str]
"""Renders a card to HTML."""


@dataclass
class RenderedRow:
    """One selected row of the result."""

    post: str
    aspect: str
    reason: str
    card: str = ""
    """Empty when the examples have no such row."""


class RowSelection:
    """The selected rows of a result, rendered while examples stream past.

    Args:
        result: The evaluation.
        thumbnails: Draws images.
        render: Renders a card.
    """

    def __init__(
        self, result: EvaluationResult, thumbnails: ThumbnailStore, render: RenderCard
    ) -> None:
        self._reference = result.reference
        self._thumbnails = thumbnails
        self._render = render
        self._n_rendered = 0
        self._rows_by_post: dict[str, list[tuple[SelectedRow, RenderedRow]]] = {}
        self._rows_by_kind: dict[SelectionKind, list[RenderedRow]] = {}
        self.n_omitted: dict[SelectionKind, int] = {}
        for kind in SELECTION_KINDS:
            selected: tuple[SelectedRow, ...] = getattr(result, kind)
            self.n_omitted[kind] = max(0, len(selected) - MAX_ROWS_PER_KIND)
            self._rows_by_kind[kind] = [self._register(row) for row in selected[:MAX_ROWS_PER_KIND]]

    def _register(self, selected_row: SelectedRow) -> RenderedRow:
        rendered = RenderedRow(selected_row.post, selected_row.aspect, selected_row.reason)
        self._rows_by_post.setdefault(selected_row.post, []).append((selected_row, rendered))
        return rendered

    def rows_of(self, kind: SelectionKind) -> list[RenderedRow]:
        """Return the rows of one kind, in the order of the result."""
        return self._rows_by_kind[kind]

    def add(self, example: Example) -> None:
        """Render the selected rows of this example."""
        for selected_row, rendered in self._rows_by_post.get(example.post.id, ()):
            single_aspect = None if rendered.card else self._matching_example(example, selected_row)
            if single_aspect:
                self._n_rendered += 1
                # Negative numbers: the anchors of all other cards count up from one.
                card = build_card(
                    single_aspect, -self._n_rendered, self._thumbnails, self._reference
                )
                rendered.card = self._render(card)

    def _matching_example(self, example: Example, selected_row: SelectedRow) -> Example | None:
        """Return the post with only the selected aspect and its opinions."""
        for group in group_by_aspect(example, self._reference):
            if _matches_group(group, selected_row):
                post = example.post.model_copy(update={"aspects": (group.aspect,)})
                return Example(post=post, opinions=(*group.gold, *group.predictions))
        return None


def _matches_group(group: AspectGroup, selected_row: SelectedRow) -> bool:
    same_start = selected_row.start is None or group.aspect.start in (selected_row.start, None)
    return group.aspect.term == selected_row.aspect and same_start


LIVE_CARDS, CARDS_PER_TEMPLATE = 100, 50
"""Cards that a browser builds at once; the others are in templates of `CARDS_PER_TEMPLATE` and are
built while the page is idle or when a filter needs them. Building 5,000 at once takes two seconds.
"""

STYLES = ("page.css", "card.css", "evaluation.css", "metrics.css")


def write_evaluation(
    result: EvaluationResult,
    examples: Iterable[Example],
    path: Path,
    media_root: Path,
    limit: int = 5000,
    draw: DrawThumbnail | None = None,
) -> int:
    """Write the page.

    Selected rows of the result are shown even beyond `limit`. The file appears under its name only
    when it is complete.

    Args:
        result: The evaluation.
        examples: Each post with the opinions of `result.reference` and of every system, whose
            `annotator` is its `SystemResult.name`; read once.
        path: The file.
        media_root: Folder that relative media paths start from.
        limit: Maximum number of posts shown as cards.
        draw: Makes a data URL of an image below `media_root`; None: a JPEG thumbnail.

    Returns:
        The number of posts shown as cards.
    """
    env, thumbnails, summary = environment(), ThumbnailStore(media_root, draw), OpinionSummary()
    card = env.get_template("card.html.jinja")
    selection = RowSelection(result, thumbnails, lambda c: card.render(card=c))
    with TemporaryFile("w+", encoding="utf-8", errors="replace", newline="") as cards:
        for example in examples:
            summary.add(example)
            selection.add(example)
            if summary.posts <= limit:
                post_card = build_card(example, summary.posts, thumbnails, result.reference)
                cards.write(_template_boundary(summary.posts) + card.render(card=post_card))
        n_cards = min(summary.posts, limit)
        cards.write("</template>" if n_cards > LIVE_CARDS else "")
        cards.seek(0)
        _write_page(result, path, cards, selection, summary, n_cards)
    return n_cards


def _template_boundary(number: int) -> str:
    """Return the markup before a card: cards after the first `LIVE_CARDS` are in templates."""
    index = number - LIVE_CARDS - 1
    if index < 0 or index % CARDS_PER_TEMPLATE:
        return ""
    return "</template><template>" if index else "<template>"


def _write_page(
    result: EvaluationResult,
    path: Path,
    cards: IO[str],
    selection: RowSelection,
    summary: OpinionSummary,
    n_cards: int,
) -> None:
    page = environment().get_template("evaluation.html.jinja")
    view = {
        "result": result,
        "cards": read_chunks(cards),
        "summary": summary,
        "gold": result.reference,
        "n_cards": n_cards,
        "picks": {kind: selection.rows_of(kind) for kind in SELECTION_KINDS},
        "n_omitted": selection.n_omitted,
        "live": LIVE_CARDS,
    }
    with atomic_write(path) as out:
        for piece in page.generate(
            **view, **_page_sections(result), **page_assets(*STYLES, script="page.js")
        ):
            out.write(piece.encode("utf-8", "replace"))


def _page_sections(result: EvaluationResult) -> dict[str, object]:
    """Return the variables of everything above the rows."""
    indexed_systems = list(enumerate(result.systems))
    return {
        "headline": system_grid(result, headline_definitions(result)),
        "families": [
            (name, definitions, system_grid(result, definitions))
            for name, definitions in definitions_by_family(result).items()
        ],
        "comparisons": comparison_rows(result),
        "confusions": confusion_matrices(result),
        "curves": [
            (
                r.name,
                index,
                r.calibration,
                reliability_diagram(r.calibration, _curve_title(r.name), color_class(index)),
            )
            for index, r in indexed_systems
            if r.calibration
        ],
        "classes": class_panels(result),
        "slices": slice_panels(result),
        "probes": probe_grids(result),
        "costs": cost_rows(result),
        "cost_heads": tuple(COST_COLUMNS.values()),
        "quality": quality_metric(result),
        "frontier": _pareto_plot(result),
        "run_costs": run_costs(result),
        "run_cost_heads": RUN_COST_COLUMNS,
        "unparsed": [
            (r, index, Counter(u.status for u in r.unparsed)) for index, r in indexed_systems
        ],
        "marker": system_marker,
    }


def _pareto_plot(result: EvaluationResult) -> Markup | None:
    """Draw quality against throughput; None where no system has both."""
    points, d = pareto_points(result), quality_metric(result)
    if not points or d is None:
        return None
    return draw_pareto_plot(points, pareto_frontier(points), d.name.replace("_", " "), d.unit)


def _curve_title(name: str) -> str:
    return f"Reliability of {name}: confidence across, accuracy up"
