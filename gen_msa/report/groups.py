"""The opinions of one example, put together by what they are about, with gold set beside them.

Knows nothing of how they are shown. Gold is a reader like any other; it is kept apart here only so
that others can be held against it, and another reader can stand in its place.

    for group in by_aspect(example):
        print(group.aspect.term, [group.verdict(o) for o in group.said])
"""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Literal

from gen_msa.types import Aspect, Example, Opinion, Polarity, Status

GOLD = "gold"
READ_STATUSES = frozenset({Status.OK, Status.REPARSED})
"""The statuses of an answer that could be read; every other one is an unread answer."""

Verdict = Literal["agrees", "disagrees"]


@dataclass
class AspectGroup:
    """Everything said about one aspect of one post, in the order given."""

    aspect: Aspect
    reference: str = GOLD
    """The reader that the others are held against."""
    gold: list[Opinion] = field(default_factory=list)
    predictions: list[Opinion] = field(default_factory=list)
    """By every reader but gold."""

    @property
    def reference_label(self) -> Polarity | None:
        """The polarity gold gives; None when there is no gold or it contradicts itself."""
        labels = {o.polarity for o in self.gold}
        return labels.pop() if len(labels) == 1 else None

    def verdict(self, opinion: Opinion) -> Verdict | None:
        """Whether `opinion` has gold's polarity; None when there is nothing to compare.

        An unread answer disagrees. An answer that only has a score is not compared.
        """
        scored = opinion.polarity is None and opinion.status in READ_STATUSES
        if opinion.annotator == self.reference or self.reference_label is None or scored:
            return None
        return "agrees" if opinion.polarity == self.reference_label else "disagrees"


def group_by_aspect(example: Example, reference: str = GOLD) -> list[AspectGroup]:
    """One group an aspect: the post's own aspects first, then others as they turn up.

    A reader that names an aspect without its place joins the placed aspect of the same words, when
    there is exactly one such.
    """
    aspects = dict.fromkeys((*example.post.aspects, *(o.aspect for o in example.opinions)))
    with_offset: dict[str, list[Aspect]] = defaultdict(list)
    for aspect in aspects:
        if aspect.start is not None:
            with_offset[aspect.term.casefold()].append(aspect)
    groups: dict[Aspect, AspectGroup] = {}
    group_of: dict[Aspect, AspectGroup] = {}
    for aspect in aspects:
        candidates = with_offset[aspect.term.casefold()]
        key = candidates[0] if aspect.start is None and len(candidates) == 1 else aspect
        group_of[aspect] = groups.setdefault(key, AspectGroup(key, reference))
    for opinion in example.opinions:
        group = group_of[opinion.aspect]
        (group.gold if opinion.annotator == reference else group.predictions).append(opinion)
    return list(groups.values())
