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

from gen_msa.report.album import Album
from gen_msa.report.cards import Card, card_of
from gen_msa.report.groups import Group, by_aspect
from gen_msa.results import Result, Shown
from gen_msa.types import Example

Kind = Literal["disagreements", "best", "worst"]
KINDS: tuple[Kind, ...] = ("disagreements", "best", "worst")

MOST = 200
"""Rows of one kind that are drawn; the rest stay in `results.json`, and the page says how many."""

Draw = Callable[[Card], str]
"""Renders a card."""


@dataclass
class Pick:
    """One row that the result points at."""

    post: str
    aspect: str
    why: str
    card: str = ""
    """Empty when the examples hold no such row."""


class Picks:
    """The rows that a result points at, filled in as examples go by."""

    def __init__(self, result: Result, album: Album, draw: Draw) -> None:
        self._against = result.against
        self._album = album
        self._draw = draw
        self._drawn = 0
        self._wanted: dict[str, list[tuple[Shown, Pick]]] = {}
        self._all: dict[Kind, list[Pick]] = {}
        self.left_out: dict[Kind, int] = {}
        for kind in KINDS:
            shown: tuple[Shown, ...] = getattr(result, kind)
            self.left_out[kind] = max(0, len(shown) - MOST)
            self._all[kind] = [self._want(s) for s in shown[:MOST]]

    def _want(self, shown: Shown) -> Pick:
        pick = Pick(shown.post, shown.aspect, shown.why)
        self._wanted.setdefault(shown.post, []).append((shown, pick))
        return pick

    def of(self, kind: Kind) -> list[Pick]:
        """The rows of one kind, in the order of the result."""
        return self._all[kind]

    def look(self, example: Example) -> None:
        """Draw what the result wants of this example."""
        for shown, pick in self._wanted.get(example.post.id, ()):
            alone = None if pick.card else self._row(example, shown)
            if alone:
                self._drawn += 1
                # Below zero: the anchors of all other cards count up from one.
                card = card_of(alone, -self._drawn, self._album, self._against)
                pick.card = self._draw(card)

    def _row(self, example: Example, shown: Shown) -> Example | None:
        """The post with the one aspect that is shown, and what was said of it."""
        for group in by_aspect(example, self._against):
            if _fits(group, shown):
                post = example.post.model_copy(update={"aspects": (group.aspect,)})
                return Example(post=post, opinions=(*group.gold, *group.said))
        return None


def _fits(group: Group, shown: Shown) -> bool:
    placed = shown.start is None or group.aspect.start in (shown.start, None)
    return group.aspect.term == shown.aspect and placed
