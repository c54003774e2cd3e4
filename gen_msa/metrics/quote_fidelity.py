"""Whether explanations quote, and whether their quotes occur in the post.

A quote is verbatim if it occurs in the post as whole words after NFC and case folding, without
punctuation at its ends. A quote of nothing but an aspect's term does not count: it only names
what is judged. Images, and the aspect that the quoted words are about, are not considered.

    metrics["quote_fidelity"]().row_statistics(pairs)
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gen_msa.metrics._pairs import Pair
from gen_msa.metrics.base import MetricSpec, UndefinedMetric, metrics
from gen_msa.metrics.explanation_text import (
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
    """Quotes of explanations, and how many of them occur in the post."""

    specs: tuple[MetricSpec, ...] = (
        MetricSpec("verbatim", "share of quotes that occur in the post"),
        MetricSpec("quote_rate", "share of explanations with at least one quote"),
        MetricSpec("quotes", "mean quotes of an explanation", unit="count", better=""),
    )
    signature = "whole words after NFC and casefold; terms of aspects are no quotes"

    def __init__(self, **options: Any) -> None:
        reject_options("quote_fidelity", options)

    def row_statistics(self, pairs: Sequence[Pair]) -> "Array":
        """Return the columns: explains, quotes, verbatim quotes, has a quote."""
        rows = [_row_statistics(p) for p in pairs]
        if not any(r[0] for r in rows):
            raise UndefinedMetric("no row has an explanation")
        return statistics_matrix(rows)

    def compute(self, sums: "Array") -> "dict[str, Array]":
        """Return each metric; `verbatim` is NaN if there is no quote.

        Args:
            sums: Sums of `row_statistics`, `(..., 4)`; each metric is `(...,)`.
        """
        return {
            "verbatim": nan_divide(sums[..., 2], sums[..., 1]),
            "quote_rate": nan_divide(sums[..., 3], sums[..., 0]),
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
