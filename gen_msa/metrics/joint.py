"""Joint extraction: which aspects a reader finds in a post, and what it says of them.

Sets within a post, duplicates collapsed first: (span, polarity) for JMASA, spans for MATE, and the
polarity of found spans for MASC. An answer that could not be read is an element that is never
right. A gold aspect without a polarity is set aside, with whatever the reader said of it. Knows
nothing of how aspects were found.

    metrics["joint"]().rows(pairs)
    metrics["joint"](legacy_sc_f=True)              # adds VLP-MABSA's own figure, under that name
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from gen_msa.metrics._aligning import Match, Span, align, place, spans
from gen_msa.metrics._confusion import CLASSES, CODE, Array, share
from gen_msa.metrics._pairs import Pair
from gen_msa.metrics.base import Figure, Undefined, metrics
from gen_msa.settings import Settings, build

SCORED, GOLD, SAID, TRUE, SPANS_GOLD, SPANS_SAID, SPANS_TRUE, RIGHT, FOLDED = range(9)
LEGACY = 9
WIDTH = LEGACY + 3 * CLASSES


class JointOptions(Settings):
    """What is printed beside the field's figures."""

    legacy_sc_f: bool = False
    """VLP-MABSA's `sc_f`: harmonic mean of macro precision and macro recall over found spans."""


def _figures() -> tuple[Figure, ...]:
    joint, span = "(span, polarity)", "spans"
    return (
        Figure("jmasa_f1", f"2PR / (P + R) of {joint}, summed over posts; 0 where nothing is true"),
        Figure("jmasa_precision", f"{joint} of both / of the reader; 0 where it says none"),
        Figure("jmasa_recall", f"{joint} of both / of gold; 0 where gold has none"),
        Figure("mate_f1", f"2PR / (P + R) of {span}, summed over posts; 0 where nothing is true"),
        Figure("mate_precision", f"{span} of both / of the reader; 0 where it names none"),
        Figure("mate_recall", f"{span} of both / of gold; 0 where gold has none"),
        Figure("masc_accuracy", "right polarity / spans of both; undefined where none is found"),
        Figure("folded", "spans matched by their folded words, not by place", "count", ""),
    )


@metrics.register
class Joint:
    """JMASA, MATE and MASC over sets of aspects."""

    signature = "sets per post|exact span, then casefold+NFC words without a place of their own"

    def __init__(self, **options: Any) -> None:
        self.options = build(JointOptions, options, "metric joint")
        legacy = Figure(
            "legacy_sc_f",
            "VLP-MABSA's sc_f: harmonic mean of macro P and macro R over found spans, classes that "
            "never occur left out; undefined where none is found",
        )
        self.figures = (*_figures(), *([legacy] if self.options.legacy_sc_f else []))

    def rows(self, pairs: Sequence[Pair]) -> Array:
        """Columns: scored; elements of gold, said, both; spans likewise; found spans that are
        right; fallbacks; then TP, FP and FN of each class on found spans. A count of a post stands
        in the row that named the aspect first.

        Raises `Undefined` when gold names no aspect, or the reader was given all it speaks of.
        """
        _check(pairs)
        posts: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
        for i, pair in enumerate(pairs):
            posts[pair.post.id, pair.post.text].append(i)
        rows = np.zeros((len(pairs), WIDTH))
        for of_post in posts.values():
            _count(rows, of_post, pairs)
        return rows

    def values(self, sums: Array) -> dict[str, Array]:
        """Every figure of sums of rows, (..., 18); NaN as well where no row is scored."""
        n = sums[..., SCORED]
        any_row = share(n, n, empty=float("nan"))
        found: dict[str, Array] = {}
        for name, at in (("jmasa", GOLD), ("mate", SPANS_GOLD)):
            gold, said, true = (sums[..., at + i] for i in range(3))
            found[f"{name}_f1"] = share(2 * true, gold + said, empty=0.0) * any_row
            found[f"{name}_precision"] = share(true, said, empty=0.0) * any_row
            found[f"{name}_recall"] = share(true, gold, empty=0.0) * any_row
        found["masc_accuracy"] = share(sums[..., RIGHT], sums[..., SPANS_TRUE], empty=float("nan"))
        found["folded"] = sums[..., FOLDED] * any_row
        if self.options.legacy_sc_f:
            found["legacy_sc_f"] = _legacy(sums)
        return found


def _check(pairs: Sequence[Pair]) -> None:
    if not any(p.truth and p.gold and p.gold.aspect.term for p in pairs):
        raise Undefined("gold names no aspect" if len(pairs) else "there are no rows")
    said = [p.said for p in pairs if p.said and p.said.aspect.term]
    if said and all(o.how.get("aspect_source") == "given" for o in said):
        raise Undefined("the reader was given the aspects: it extracted nothing")


def _count(rows: Array, of_post: Sequence[int], pairs: Sequence[Pair]) -> None:
    """Fill in the rows of one post."""
    gold = spans((i, g) for i in of_post if (g := pairs[i].gold))
    said = spans((i, s) for i in of_post if (s := pairs[i].said))
    matches = align(gold, said)
    aside = {g.place for g in gold if not g.polarities - {None}}
    unasked = {m.said.place for m in matches if m.gold.place in aside}
    for i in of_post:
        g, s = pairs[i].gold, pairs[i].said
        labelled = g is not None and g.aspect.term != "" and place(g.aspect) not in aside
        counted = s is not None and s.aspect.term != "" and place(s.aspect) not in unasked
        rows[i, SCORED] = labelled or counted
    for span in gold:
        if span.place not in aside:
            rows[span.row, GOLD] += len(span.polarities - {None})
            rows[span.row, SPANS_GOLD] += 1
    for span in said:
        if span.place not in unasked:
            rows[span.row, SAID] += len(span.polarities)
            rows[span.row, SPANS_SAID] += 1
    for match in matches:
        if match.gold.place not in aside:
            _add(rows[match.gold.row], match)


def _add(row: Array, match: Match) -> None:
    """What a found span counts, in the row of gold's."""
    gold, said = _labelled(match.gold), _labelled(match.said)
    right = gold == match.said.polarities  # whoever says two things of one span is not right
    row[SPANS_TRUE] += 1
    row[TRUE] += len(gold & said)
    row[RIGHT] += right
    row[FOLDED] += match.folded
    for polarity in gold:
        row[LEGACY + CODE[polarity] + (0 if right else 2 * CLASSES)] += 1
    for polarity in () if right else said:
        row[LEGACY + CODE[polarity] + CLASSES] += 1


def _labelled(span: Span) -> frozenset[Any]:
    return span.polarities - {None}


def _legacy(sums: Array) -> Array:
    true, wrong, missed = (
        sums[..., LEGACY + i * CLASSES : LEGACY + (i + 1) * CLASSES] for i in range(3)
    )
    seen = (true + wrong + missed > 0).sum(axis=-1)
    precision = share(share(true, true + wrong, empty=0.0).sum(axis=-1), seen, empty=float("nan"))
    recall = share(share(true, true + missed, empty=0.0).sum(axis=-1), seen, empty=float("nan"))
    mean = share(2 * precision * recall, precision + recall, empty=0.0)
    return np.where(seen > 0, mean, np.nan)
