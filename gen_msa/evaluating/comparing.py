"""Reader against reader on the same rows: difference, interval, test, and p adjusted for all tests.

Accuracy is tested by McNemar's exact test over rows when no two rows share a cluster; every other
figure, and accuracy where they do, by exchanging the two readers in whole clusters. Knows nothing
of how rows were had.

    compare({"builtin": board, "majority": other}, ["labels.accuracy"], draws, "holm")
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from math import isnan

from gen_msa.evaluating.measuring import Board
from gen_msa.metrics.statistics.adjusting import benjamini_hochberg, holm
from gen_msa.metrics.statistics.bootstrap import Draws
from gen_msa.metrics.statistics.mcnemar import discordant, mcnemar
from gen_msa.metrics.statistics.paired import paired
from gen_msa.metrics.statistics.permutation import permutation
from gen_msa.metrics.statistics.power import detectable
from gen_msa.results import Comparison

ACCURACY = "labels.accuracy"
NAMES = {"holm": "Holm", "bh": "Benjamini-Hochberg"}


def compare(
    boards: Mapping[str, Board],
    headline: Sequence[str],
    draws: Draws,
    correction: str = "holm",
) -> tuple[Comparison, ...]:
    """Every pair of readers by every headline figure (`family.figure`) that both have."""
    found = [
        one
        for title in headline
        for a, b in combinations(boards, 2)
        if (one := _compared(boards, a, b, title, draws)) is not None
    ]
    adjust = holm if correction == "holm" else benjamini_hochberg
    adjusted = adjust([c.p for c in found])
    over = f"{NAMES[correction]} over {len(found)}"
    return tuple(
        c.model_copy(update={"p_adjusted": p, "adjustment": over})
        for c, p in zip(found, adjusted, strict=True)
    )


def power_notes(boards: Mapping[str, Board]) -> list[str]:
    """How small a difference of accuracy to the first reader these rows could have shown at all."""
    names = list(boards)
    notes = []
    for other in names[1:]:
        a, b = boards[names[0]].right(), boards[other].right()
        parting = sum(discordant(a, b)) / len(a) if a else 0.0
        if parting:
            least = detectable(len(a), parting)
            notes.append(
                f"{names[0]} and {other} part in {parting:.1%} of {len(a):,} rows: a difference of "
                f"accuracy below {100 * least:.1f} points would be missed more often than one time "
                "in five, rows taken as independent"
            )
    return notes


def _compared(
    boards: Mapping[str, Board], a: str, b: str, title: str, draws: Draws
) -> Comparison | None:
    """The comparison, its p not yet adjusted; None where one of the two has no such figure."""
    family, _, figure = title.partition(".")
    one, other = boards[a], boards[b]
    if family not in one.rows or family not in other.rows:
        return None
    values = one.metric(family).values
    rows = one.rows[family], other.rows[family]
    apart = paired(*rows, one.clusters, values, clusters_b=other.clusters, draws=draws)[figure]
    test, p = _test(one, other, title, draws)
    if isnan(apart.value) or isnan(apart.low) or isnan(p):
        return None
    return Comparison(
        a=a,
        b=b,
        family=family,
        figure=figure,
        difference=apart.value,
        low=apart.low,
        high=apart.high,
        how=f"paired {draws.how}",
        test=test,
        p=p,
        p_adjusted=p,
        adjustment="none",
    )


def _test(one: Board, other: Board, title: str, draws: Draws) -> tuple[str, float]:
    family, _, figure = title.partition(".")
    if title == ACCURACY and one.alone and other.alone:
        return "McNemar, exact", mcnemar(*discordant(one.right(), other.right()))
    tested = permutation(
        one.rows[family],
        other.rows[family],
        one.clusters,
        one.metric(family).values,
        clusters_b=other.clusters,
        replicates=draws.replicates,
        seed=draws.seed,
    )
    return tested.how, tested.p[figure]
