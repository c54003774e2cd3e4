"""An evaluation as one HTML file: metrics, tests, plots, and the rows behind them.

Every table and plot is drawn from the `EvaluationResult`; the examples are only shown as cards. The
file works offline under the same content security policy as the report of posts: its own style and
script by hash, images as data URLs, every value escaped.

    write_evaluation(result, examples, Path("evaluation.html"), Path("images"))
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Literal

from markupsafe import Markup

from gen_msa.jsonl import atomic_write
from gen_msa.report.cards import PostCard, build_card
from gen_msa.report.evaluation.costs import (
    COST_COLUMNS,
    cost_rows,
    draw_pareto_plot,
    pareto_frontier,
    pareto_points,
    quality_metric,
)
from gen_msa.report.evaluation.format import definitions_by_family, headline_definitions
from gen_msa.report.evaluation.grids import system_grid
from gen_msa.report.evaluation.sections import (
    RUN_COST_COLUMNS,
    class_panels,
    comparison_rows,
    confusion_matrices,
    probe_grids,
    run_costs,
    slice_panels,
)
from gen_msa.report.evaluation.svg import color_class, reliability_diagram, system_marker
from gen_msa.report.page import environment, page_assets, read_chunks
from gen_msa.report.summary import AspectGroup, OpinionSummary, group_by_aspect
from gen_msa.report.thumbnails import DrawThumbnail, ThumbnailStore
from gen_msa.results import EvaluationResult, SelectedRow
from gen_msa.types import Example

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
