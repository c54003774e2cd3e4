"""Whether explanations quote, and whether what they quote stands in the post.

A quote is verbatim when it stands in the post's text as whole words after NFC and casefold; a stop
at its ends is let go. A quote of nothing but an aspect's name only says what is judged and does not
count. Knows nothing of pictures, nor of which of the post's aspects the quoted words are about.

    metrics["quoting"]().rows(pairs)
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gen_msa.metrics._pairs import Pair
from gen_msa.metrics.base import Figure, Undefined, metrics
from gen_msa.metrics.explained import explanation, quoted, ratio, stands, table, take_none, terms
from gen_msa.spans import Spans

if TYPE_CHECKING:
    from gen_msa.metrics.base import Array


@metrics.register
class Quoting:
    """Quotes of explanations, and how many of them are the post's own words."""

    figures: tuple[Figure, ...] = (
        Figure("verbatim", "quotes that stand in the post's text, of all quotes"),
        Figure("quoting", "explanations with at least one quote"),
        Figure("quotes", "quotes of an explanation, mean", unit="count", better=""),
    )
    signature = "whole words after NFC and casefold; names of aspects are no quotes"

    def __init__(self, **options: Any) -> None:
        take_none("quoting", options)

    def rows(self, pairs: Sequence[Pair]) -> "Array":
        """Columns: explains, quotes, verbatim quotes, has a quote."""
        found = [_row(p) for p in pairs]
        if not any(r[0] for r in found):
            raise Undefined("no row has an explanation")
        return table(found)

    def values(self, sums: "Array") -> "dict[str, Array]":
        """`verbatim` is NaN where nothing is quoted."""
        return {
            "verbatim": ratio(sums[..., 2], sums[..., 1]),
            "quoting": ratio(sums[..., 3], sums[..., 0]),
            "quotes": ratio(sums[..., 1], sums[..., 0]),
        }


def _row(pair: Pair) -> tuple[float, ...]:
    if not pair.explanation:
        return (0, 0, 0, 0)
    own, rivals = terms(pair)
    found = quoted(explanation(pair), {own, *rivals})
    if not found:
        return (1, 0, 0, 0)
    post = Spans(pair.post.text)
    return (1, len(found), sum(stands(q, post) for q in found), 1)
