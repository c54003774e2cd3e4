"""Whether an explanation names its aspect, and whether it speaks of another one in its place.

An aspect is named where its term stands as whole words after NFC and casefold, and not within the
longer name of another aspect of the post. An explanation credits a rival when the first aspect it
names in its own words, outside quotation marks, is another one of the post: it then speaks of the
rival alone, or of the rival first. Knows nothing of whether what is said is true; a paraphrase of
the aspect ("the handset") is not seen.

    metrics["naming"]().rows(pairs)
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from gen_msa.metrics._pairs import Pair
from gen_msa.metrics.base import Figure, Undefined, metrics
from gen_msa.metrics.explained import claim, explanation, ratio, table, take_none, terms
from gen_msa.spans import Spans

if TYPE_CHECKING:
    from gen_msa.metrics.base import Array


@metrics.register
class Naming:
    """Aspects named and rivals credited, of explanations about an aspect."""

    figures: tuple[Figure, ...] = (
        Figure("named", "explanations about an aspect that name it, as whole words"),
        Figure(
            "rival",
            "explanations of posts with several aspects in which the first aspect named outside"
            " quotation marks is another one",
            better="low",
        ),
    )
    signature = "whole words after NFC and casefold; longest name first"

    def __init__(self, **options: Any) -> None:
        take_none("naming", options)

    def rows(self, pairs: Sequence[Pair]) -> "Array":
        """Columns: explains an aspect, names it, has rivals, credits one."""
        found = [_row(p) for p in pairs]
        if not any(r[0] for r in found):
            raise Undefined("no row has an explanation about an aspect")
        return table(found)

    def values(self, sums: "Array") -> "dict[str, Array]":
        """`named` over explanations, `rival` over those of posts with several aspects."""
        return {
            "named": ratio(sums[..., 1], sums[..., 0]),
            "rival": ratio(sums[..., 3], sums[..., 2]),
        }


def _row(pair: Pair) -> tuple[float, ...]:
    own, rivals = terms(pair)
    if not own or not pair.explanation:
        return (0, 0, 0, 0)
    names = {own, *rivals}
    named = own in (term for _, _, term in _mentions(explanation(pair), names))
    if not rivals:
        return (1, named, 0, 0)
    first = next(iter(_mentions(claim(explanation(pair), names), names)), None)
    return (1, named, 1, first is not None and first[2] != own)


def _mentions(text: str, names: Iterable[str]) -> list[tuple[int, int, str]]:
    """Start, end and name of every aspect that `text` names, in order; none within another."""
    spans = Spans(text)
    found = [(*span, name) for name in names for span in spans.whole(name)]
    found.sort(key=lambda m: (m[0], -m[1]))
    outer: list[tuple[int, int, str]] = []
    for mention in found:
        if not outer or mention[1] > outer[-1][1]:
            outer.append(mention)
    return outer
