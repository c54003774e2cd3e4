"""Whether an explanation names its aspect, and whether it is about another aspect instead.

An aspect is named if its term occurs as whole words after NFC and case folding, and not inside the
longer name of another aspect of the post. An explanation prefers a rival if the first aspect that
it names outside quotation marks is another one of the post. A paraphrase of the aspect ("the
handset") is not recognized.

    metrics["aspect_mention"]().row_statistics(pairs)
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from gen_msa.metrics._pairs import Pair
from gen_msa.metrics.base import MetricSpec, UndefinedMetric, metrics
from gen_msa.metrics.explanation_text import (
    aspect_terms,
    nan_divide,
    reject_options,
    statistics_matrix,
    truncated_explanation,
    without_quotes,
)
from gen_msa.spans import SearchableText

if TYPE_CHECKING:
    from gen_msa.metrics.base import Array


@metrics.register
class AspectMention:
    """Aspects named, and rivals named first, of explanations about an aspect."""

    specs: tuple[MetricSpec, ...] = (
        MetricSpec("named", "share of explanations about an aspect that name it, as whole words"),
        MetricSpec(
            "rival",
            "share of explanations of posts with several aspects in which the first aspect named"
            " outside quotation marks is another one",
            better="low",
        ),
    )
    signature = "whole words after NFC and casefold; longest name first"

    def __init__(self, **options: Any) -> None:
        reject_options("aspect_mention", options)

    def row_statistics(self, pairs: Sequence[Pair]) -> "Array":
        """Return the columns: explains an aspect, names it, has rivals, names a rival first."""
        rows = [_row_statistics(p) for p in pairs]
        if not any(r[0] for r in rows):
            raise UndefinedMetric("no row has an explanation about an aspect")
        return statistics_matrix(rows)

    def compute(self, sums: "Array") -> "dict[str, Array]":
        """Return `named` over explanations, `rival` over those of posts with several aspects.

        Args:
            sums: Sums of `row_statistics`, `(..., 4)`; each metric is `(...,)`.
        """
        return {
            "named": nan_divide(sums[..., 1], sums[..., 0]),
            "rival": nan_divide(sums[..., 3], sums[..., 2]),
        }


def _row_statistics(pair: Pair) -> tuple[float, ...]:
    aspect_term, other_terms = aspect_terms(pair)
    if not aspect_term or not pair.explanation:
        return (0, 0, 0, 0)
    names = {aspect_term, *other_terms}
    is_named = aspect_term in (
        term for _, _, term in _find_mentions(truncated_explanation(pair), names)
    )
    if not other_terms:
        return (1, is_named, 0, 0)
    first_mention = next(
        iter(_find_mentions(without_quotes(truncated_explanation(pair), names), names)), None
    )
    return (1, is_named, 1, first_mention is not None and first_mention[2] != aspect_term)


def _find_mentions(text: str, names: Iterable[str]) -> list[tuple[int, int, str]]:
    """Return (start, end, name) of every aspect named in `text`, in order, without nested ones."""
    spans = SearchableText(text)
    mentions = [(*span, name) for name in names for span in spans.find_whole_words(name)]
    mentions.sort(key=lambda m: (m[0], -m[1]))
    outermost: list[tuple[int, int, str]] = []
    for mention in mentions:
        if not outermost or mention[1] > outermost[-1][1]:
            outermost.append(mention)
    return outermost
