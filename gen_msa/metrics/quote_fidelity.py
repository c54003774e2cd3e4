"""Whether explanations quote, and whether what they quote stands in the post.

A quote is verbatim when it stands in the post's text as whole words after NFC and casefold; a stop
at its ends is let go. A quote of nothing but an aspect's name only says what is judged and does not
count. Knows nothing of pictures, nor of which of the post's aspects the quoted words are about.

    metrics["quoting"]().rows(pairs)
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gen_msa.metrics._pairs import Pair
from gen_msa.metrics.base import MetricSpec, UndefinedMetric, metrics
from gen_msa.metrics.text.explanations import (
    aspect_terms,
    extract_quotes,
    nan_divide,
    occurs_in,
    reject_options,
    statistics_matrix,
    truncated_explanation,
)
from gen_msa.spans import SearchableText

if TYPE_CHECKING:
    from gen_msa.metrics.base import Array


@metrics.register
class QuoteFidelity:
    """Quotes of explanations, and how many of them are the post's own words."""

    specs: tuple[MetricSpec, ...] = (
        MetricSpec("verbatim", "quotes that stand in the post's text, of all quotes"),
        MetricSpec("quoting", "explanations with at least one quote"),
        MetricSpec("quotes", "quotes of an explanation, mean", unit="count", better=""),
    )
    signature = "whole words after NFC and casefold; names of aspects are no quotes"

    def __init__(self, **options: Any) -> None:
        reject_options("quoting", options)

    def row_statistics(self, pairs: Sequence[Pair]) -> "Array":
        """Columns: explains, quotes, verbatim quotes, has a quote."""
        rows = [_row_statistics(p) for p in pairs]
        if not any(r[0] for r in rows):
            raise UndefinedMetric("no row has an explanation")
        return statistics_matrix(rows)

    def compute(self, sums: "Array") -> "dict[str, Array]":
        """`verbatim` is NaN where nothing is quoted."""
        return {
            "verbatim": nan_divide(sums[..., 2], sums[..., 1]),
            "quoting": nan_divide(sums[..., 3], sums[..., 0]),
            "quotes": nan_divide(sums[..., 1], sums[..., 0]),
        }


def _row_statistics(pair: Pair) -> tuple[float, ...]:
    if not pair.explanation:
        return (0, 0, 0, 0)
    aspect_term, other_terms = aspect_terms(pair)
    quotes = extract_quotes(truncated_explanation(pair), {aspect_term, *other_terms})
    if not quotes:
        return (1, 0, 0, 0)
    post_spans = SearchableText(pair.post.text)
    return (1, len(quotes), sum(occurs_in(q, post_spans) for q in quotes), 1)
