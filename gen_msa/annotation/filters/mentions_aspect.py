"""The explanation names its aspect before any other aspect of the post.

Names are matched as in the metric `aspect_mention`: whole words, not within a longer name, so that
the name of another aspect does not count; spaces and signs of tokenizers are ignored. An opinion on
the whole post has nothing to name. A paraphrase ("the handset") is not recognized and is rejected.

    filters={mentions_aspect: {}}
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
    """What counts as naming the aspect."""

    allow_rival_first: bool = False
    """Accept an explanation that names another aspect of the post before its own."""


@filters.register
class MentionsAspectFilter:
    """Applies the metric `aspect_mention` to each explanation."""

    Options: ClassVar[type[Settings]] = MentionsAspectOptions
    stage: ClassVar[Stage] = "text"

    def __init__(self, options: MentionsAspectOptions, context: FilterContext) -> None:
        self._options = options
        self._metric = Metric()

    def check(self, rows: Sequence[Candidate]) -> list[str | None]:
        """Reject an explanation that does not name its aspect, or names another one first."""
        return [self._verdict(row) for row in rows]

    def fingerprint(self) -> JsonValue:
        """Return the signature of the metric."""
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
            return f"it names another aspect before {row.opinion.aspect.term!r}"
        return None
