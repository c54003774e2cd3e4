"""Quoting: what a reason puts in quotation marks stands in the post, word for word.

Matched as the metric `quoting` matches: whole words after NFC and casefold; a quote of nothing but
an aspect's name is no quote.

    gates={quoting: {least: 1}}        # at least one quote, all of them verbatim
"""

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field, JsonValue

from gen_msa.annotation.filters._pairs import as_metric_pair
from gen_msa.annotation.filters.base import NO_EXPLANATION, Candidate, FilterContext, Stage, filters
from gen_msa.metrics.text.explanations import (
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
    """Quotes a reason must have."""


@filters.register
class VerbatimQuotesFilter:
    """Looks every quote up in the post."""

    Options: ClassVar[type[Settings]] = VerbatimQuotesOptions
    stage: ClassVar[Stage] = "text"

    def __init__(self, options: VerbatimQuotesOptions, context: FilterContext) -> None:
        self._min_quotes = options.min_quotes

    def check(self, rows: Sequence[Candidate]) -> list[str | None]:
        """Refuses a reason with an invented quote, or with too few."""
        return [self._verdict(row) for row in rows]

    def fingerprint(self) -> JsonValue:
        """Nothing besides the options."""
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
            return f"{invented[0][:80]!r} does not stand in the post"
        if len(quotes) < self._min_quotes:
            return f"{len(quotes)} quotes, at least {self._min_quotes}"
        return None
