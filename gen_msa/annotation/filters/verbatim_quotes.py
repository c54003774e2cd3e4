"""Quotes in the explanation occur verbatim in the post.

Matched as in the metric `quote_fidelity`: whole words after NFC and casefold; a quote of an
aspect's name alone does not count.

    filters={verbatim_quotes: {min_quotes: 1}}        # at least one quote, all of them verbatim
"""

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field, JsonValue

from gen_msa.annotation.filters._pairs import as_metric_pair
from gen_msa.annotation.filters.base import NO_EXPLANATION, Candidate, FilterContext, Stage, filters
from gen_msa.metrics.explanation_text import (
    aspect_terms,
    extract_quotes,
    occurs_in,
    truncated_explanation,
)
from gen_msa.settings import Settings
from gen_msa.spans import SearchableText


class VerbatimQuotesOptions(Settings):
    """How much must be quoted."""

    min_quotes: int = Field(default=0, ge=0)
    """Minimum number of quotes."""


@filters.register
class VerbatimQuotesFilter:
    """Looks up every quote in the post."""

    Options: ClassVar[type[Settings]] = VerbatimQuotesOptions
    stage: ClassVar[Stage] = "text"

    def __init__(self, options: VerbatimQuotesOptions, context: FilterContext) -> None:
        self._min_quotes = options.min_quotes

    def check(self, rows: Sequence[Candidate]) -> list[str | None]:
        """Reject an explanation with an invented quote, or with too few quotes."""
        return [self._verdict(row) for row in rows]

    def fingerprint(self) -> JsonValue:
        """Return None: only the options matter."""
        return None

    def _verdict(self, row: Candidate) -> str | None:
        if not row.explanation:
            return NO_EXPLANATION
        pair = as_metric_pair(row)
        aspect_name, rivals = aspect_terms(pair)
        quotes = extract_quotes(truncated_explanation(pair), {aspect_name, *rivals})
        searchable_post = SearchableText(row.post.text)
        invented = [q for q in quotes if not occurs_in(q, searchable_post)]
        if invented:
            return f"{invented[0][:80]!r} is not in the post"
        if len(quotes) < self._min_quotes:
            return f"{len(quotes)} quotes, at least {self._min_quotes}"
        return None
