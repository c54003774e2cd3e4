"""The cards of the page: every row up to a limit, and the few that the result points at.

Examples stream past once. A picked row is its post with that one aspect; it is held until it is
wanted, and all others go straight to a file. Knows nothing of figures.

    picks = Picks(result, album, card)
    for number, example in enumerate(examples, start=1):
        picks.look(example)
    picks.of("worst")[0].card
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from gen_msa.report.album import ThumbnailStore
from gen_msa.report.cards import PostCard, build_card
from gen_msa.report.groups import AspectGroup, group_by_aspect
from gen_msa.results import EvaluationResult, SelectedRow
from gen_msa.types import Example

SelectionKind = Literal["disagreements", "best", "worst"]
SELECTION_KINDS: tuple[SelectionKind, ...] = ("disagreements", "best", "worst")

MAX_ROWS_PER_KIND = 200
"""Rows of one kind that are drawn; the rest stay in `results.json`, and the page says how many."""

RenderCard = Callable[[PostCard], str]
"""Renders a card."""


@dataclass
class RenderedRow:
    """One row that the result points at."""

    post: str
    aspect: str
    reason: str
    card: str = ""
    """Empty when the examples hold no such row."""


class RowSelection:
    """The rows that a result points at, filled in as examples go by."""

    def __init__(self, result: EvaluationResult, thumbnails: ThumbnailStore, render: RenderCard) -> None:
        self._reference = result.reference
        self._thumbnails = thumbnails
        self._render = render
        self._n_rendered = 0
        self._rows_by_post: dict[str, list[tuple[SelectedRow, RenderedRow]]] = {}
        self._rows_by_kind: dict[SelectionKind, list[RenderedRow]] = {}
        self.n_omitted: dict[SelectionKind, int] = {}
        for kind in SELECTION_KINDS:
            shown_rows: tuple[SelectedRow, ...] = getattr(result, kind)
            self.n_omitted[kind] = max(0, len(shown_rows) - MAX_ROWS_PER_KIND)
            self._rows_by_kind[kind] = [self._register(s) for s in shown_rows[:MAX_ROWS_PER_KIND]]

    def _register(self, shown_row: SelectedRow) -> RenderedRow:
        rendered = RenderedRow(shown_row.post, shown_row.aspect, shown_row.reason)
        self._rows_by_post.setdefault(shown_row.post, []).append((shown_row, rendered))
        return rendered

    def rows_of(self, kind: SelectionKind) -> list[RenderedRow]:
        """The rows of one kind, in the order of the result."""
        return self._rows_by_kind[kind]

    def add(self, example: Example) -> None:
        """Draw what the result wants of this example."""
        for shown_row, rendered in self._rows_by_post.get(example.post.id, ()):
            single_aspect = None if rendered.card else self._matching_example(example, shown_row)
            if single_aspect:
                self._n_rendered += 1
                # Below zero: the anchors of all other cards count up from one.
                card = build_card(single_aspect, -self._n_rendered, self._thumbnails, self._reference)
                rendered.card = self._render(card)

    def _matching_example(self, example: Example, shown_row: SelectedRow) -> Example | None:
        """The post with the one aspect that is shown, and what was said of it."""
        for group in group_by_aspect(example, self._reference):
            if _matches_group(group, shown_row):
                post = example.post.model_copy(update={"aspects": (group.aspect,)})
                return Example(post=post, opinions=(*group.gold, *group.predictions))
        return None


def _matches_group(group: AspectGroup, shown_row: SelectedRow) -> bool:
    same_start = shown_row.start is None or group.aspect.start in (shown_row.start, None)
    return group.aspect.term == shown_row.aspect and same_start
