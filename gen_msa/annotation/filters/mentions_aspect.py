"""Naming: a reason must name its aspect, and speak of it before it speaks of another one.

Names are matched as the metric `naming` matches them: whole words, not within a longer name, so
that a rival's name is no credit; blanks and signs of tokenisers make no difference. An opinion on
the whole post has nothing to name. A paraphrase ("the handset") is not seen, and refused.

    gates={naming: {}}
"""

from collections.abc import Sequence
from typing import ClassVar

from pydantic import JsonValue

from gen_msa.annotation.filters._pairs import as_detokenized_pair
from gen_msa.annotation.filters.base import NO_EXPLANATION, Candidate, FilterContext, Stage, filters
from gen_msa.metrics import UndefinedMetric
from gen_msa.metrics.aspect_mention import AspectMention as Metric
from gen_msa.settings import Settings


class MentionsAspectOptions(Settings):
    """What counts as speaking of the aspect."""

    allow_rival_first: bool = False
    """Let a reason pass that names its aspect, but another aspect of the post before it."""


@filters.register
class MentionsAspectFilter:
    """Asks the metric about each reason."""

    Options: ClassVar[type[Settings]] = MentionsAspectOptions
    stage: ClassVar[Stage] = "text"

    def __init__(self, options: MentionsAspectOptions, context: FilterContext) -> None:
        self._options = options
        self._metric = Metric()

    def check(self, rows: Sequence[Candidate]) -> list[str | None]:
        """Refuses a reason that does not name its aspect, or a rival first."""
        return [self._verdict(row) for row in rows]

    def fingerprint(self) -> JsonValue:
        """The metric's signature."""
        return self._metric.signature

    def _verdict(self, row: Candidate) -> str | None:
        if not row.explanation:
            return NO_EXPLANATION
        try:
            _, is_mentioned, _, rival_is_first = self._metric.row_statistics(
                [as_detokenized_pair(row)]
            )[0]
        except UndefinedMetric:  # about the whole post
            return None
        if not is_mentioned:
            return f"it does not name {row.opinion.aspect.term!r}"
        if rival_is_first and not self._options.allow_rival_first:
            return f"it speaks of another aspect before {row.opinion.aspect.term!r}"
        return None
