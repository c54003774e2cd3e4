"""Counts over a stream of examples: by annotator, polarity and status.

These are counts only; intervals and tests belong to `metrics`. Memory does not grow with the
stream.

    summary = OpinionSummary()
    for example in examples:
        summary.add(example)
    rich.print(summary)
"""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Literal

from rich.table import Table
from rich.text import Text

from gen_msa.report.style import TONE_STYLES, TONE_SYMBOLS, pluralize, printable
from gen_msa.types import Aspect, Example, Opinion, Polarity, Status

GOLD = "gold"
PARSED_STATUSES = frozenset({Status.OK, Status.REPARSED})
"""The statuses of an answer that was parsed; any other one counts as unparsed."""

Verdict = Literal["agrees", "disagrees"]


@dataclass
class AspectGroup:
    """All opinions about one aspect of one post, in the order given."""

    aspect: Aspect
    reference: str = GOLD
    """The annotator that the others are compared with."""
    gold: list[Opinion] = field(default_factory=list)
    predictions: list[Opinion] = field(default_factory=list)
    """By every annotator except the reference."""

    @property
    def reference_label(self) -> Polarity | None:
        """The reference's polarity; None when there is none or it contradicts itself."""
        labels = {o.polarity for o in self.gold}
        return labels.pop() if len(labels) == 1 else None

    def verdict(self, opinion: Opinion) -> Verdict | None:
        """Compare an opinion with the reference's polarity; None when there is nothing to compare.

        An unparsed answer disagrees. An answer with only a score is not compared.
        """
        scored = opinion.polarity is None and opinion.status in PARSED_STATUSES
        if opinion.annotator == self.reference or self.reference_label is None or scored:
            return None
        return "agrees" if opinion.polarity == self.reference_label else "disagrees"


def group_by_aspect(example: Example, reference: str = GOLD) -> list[AspectGroup]:
    """Group the opinions of an example by aspect.

    An aspect without an offset joins the located aspect of the same term, when there is exactly
    one.

    Args:
        example: The post with its opinions.
        reference: The annotator that the others are compared with.

    Returns:
        The post's own aspects first, then further ones in order of appearance.
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


@dataclass
class AnnotatorCounts:
    """The opinions of one annotator in numbers."""

    opinions: int = 0
    polarity: Counter[Polarity] = field(default_factory=Counter)
    status: Counter[Status] = field(default_factory=Counter)
    compared: int = 0
    """Opinions about an aspect for which gold has one polarity."""
    agree: int = 0

    def add(self, opinion: Opinion) -> None:
        """Count one opinion."""
        self.opinions += 1
        self.status[opinion.status] += 1
        if opinion.polarity is not None:
            self.polarity[opinion.polarity] += 1

    @property
    def unparsed(self) -> int:
        """Answers that could not be parsed; each counts as wrong."""
        return sum(n for status, n in self.status.items() if status not in PARSED_STATUSES)

    @property
    def unparsed_rate(self) -> float:
        """`unparsed` as a share of all opinions, 0..1; 0 when there are none."""
        return self.unparsed / self.opinions if self.opinions else 0.0


class OpinionSummary:
    """Counts over a stream of examples; rich can print it."""

    def __init__(self) -> None:
        self.posts = 0
        self.without_opinion = 0
        self.annotators: dict[str, AnnotatorCounts] = {}

    def add(self, example: Example) -> None:
        """Count one example."""
        self.posts += 1
        self.without_opinion += not example.opinions
        for opinion in example.opinions:
            self.annotators.setdefault(opinion.annotator, AnnotatorCounts()).add(opinion)
        for group in group_by_aspect(example):
            for opinion in group.predictions:
                verdict = group.verdict(opinion)
                self.annotators[opinion.annotator].compared += verdict is not None
                self.annotators[opinion.annotator].agree += verdict == "agrees"

    @property
    def opinions(self) -> int:
        """Number of opinions of all annotators, gold included."""
        return sum(t.opinions for t in self.annotators.values())

    @property
    def status(self) -> Counter[Status]:
        """Statuses over all annotators."""
        return sum((t.status for t in self.annotators.values()), Counter())

    @property
    def polarity(self) -> Counter[Polarity]:
        """Polarities over all annotators except gold; gold's own when there is no other."""
        others = [t for annotator, t in self.annotators.items() if annotator != GOLD]
        return sum((t.polarity for t in others or self.annotators.values()), Counter())

    def __rich__(self) -> Table:
        """Return a table with one row per annotator; columns without content are left out."""
        compared = any(t.compared for t in self.annotators.values())
        has_other_status = any(s is not Status.OK for s in self.status)
        out = Table(box=None, pad_edge=False, title_justify="left", title=self._title())
        out.add_column("annotator", overflow="fold")
        out.add_column("opinions", justify="right")
        for p in Polarity:
            out.add_column(f"{TONE_SYMBOLS[p]} {p[:3]}", justify="right", style=TONE_STYLES[p])
        out.add_column("unparsed", justify="right")
        if compared:
            out.add_column("as gold", justify="right", no_wrap=True)
        if has_other_status:
            out.add_column("other than ok", style="dim")
        for annotator, counts in self.annotators.items():
            cells = [counts.opinions, *(counts.polarity[p] for p in Polarity), counts.unparsed]
            agree = [f"{counts.agree} of {counts.compared}" if counts.compared else "–"]
            other = ", ".join(f"{n} {s}" for s, n in counts.status.items() if s is not Status.OK)
            row = [f"{n:,}" for n in cells] + agree * compared + [other] * has_other_status
            out.add_row(Text(printable(annotator)), *row)
        return out

    def _title(self) -> Text:
        text = f"{pluralize(self.posts, 'post')}, {pluralize(self.opinions, 'opinion')}"
        if self.without_opinion:
            text += f", {pluralize(self.without_opinion, 'post')} without any"
        return Text(text, style="bold")
