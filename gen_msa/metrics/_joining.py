"""Joins what a reader said of a post with what gold says, aspect by aspect, into `Pair`s.

An aspect is joined by its place, then by its words (NFC and casefold) where one of the two has no
place and only one candidate is left. Nothing is dropped: what finds no partner is a pair of its
own. Knows nothing of files.

    pair_up(example, "builtin")        # one Pair a gold opinion, then what was said besides
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from gen_msa.metrics._pairs import Pair
from gen_msa.spans import fold
from gen_msa.types import Aspect, Example, Opinion, Status

CONFLICT = "conflict"
"""Key of `Opinion.how` where a reader gave one aspect two polarities."""


def pair_up(
    example: Example,
    by: str,
    against: str = "gold",
    *,
    cluster: str = "",
    shown: Mapping[str, str] | None = None,
) -> list[Pair]:
    """One pair for each aspect that `against` speaks of, in its order, then one for each other
    aspect that `by` speaks of.

    A reader that says two different things of one aspect has said nothing that can be read: its
    opinion stands as unparsed, with both answers in `raw`. The same said twice counts once. Gold
    that contradicts itself has no polarity, so that its row is in no figure.
    """
    gold, said = _one_an_aspect(example, against), _one_an_aspect(example, by)
    partner = _partners(gold, said)
    unit, extra = cluster or example.post.id, shown or {}
    joined = [
        Pair(example.post, g, said.get(partner[a]) if a in partner else None, unit, extra)
        for a, g in gold.items()
    ]
    taken = set(partner.values())
    beside = [Pair(example.post, None, o, unit, extra) for a, o in said.items() if a not in taken]
    return joined + beside


def _one_an_aspect(example: Example, by: str) -> dict[Aspect, Opinion]:
    found: dict[Aspect, Opinion] = {}
    for opinion in example.said_by(by):
        first = found.setdefault(opinion.aspect, opinion)
        if (first.polarity, first.score) != (opinion.polarity, opinion.score):
            found[opinion.aspect] = _contradicted(first, opinion)
    return found


def _contradicted(first: Opinion, second: Opinion) -> Opinion:
    raw = " / ".join(o.raw or str(o.polarity) for o in (first, second))
    said = first.how.get(CONFLICT, str(first.polarity))  # all of them, where they are three
    how = {**first.how, CONFLICT: f"{said} and {second.polarity}"}
    changed = {"polarity": None, "score": None, "probs": None, "status": Status.UNPARSED}
    return first.model_copy(update={**changed, "raw": raw, "how": how})


def _partners(gold: Iterable[Aspect], said: Iterable[Aspect]) -> dict[Aspect, Aspect]:
    """Which aspect that was said stands for which of gold's."""
    wanted, left = list(gold), dict.fromkeys(said)
    found = {a: a for a in wanted if a in left}
    for same in found.values():
        del left[same]
    alike: defaultdict[str, tuple[list[Aspect], list[Aspect]]] = defaultdict(lambda: ([], []))
    for aspect in left:
        alike[fold(aspect.term)][0].append(aspect)
    for aspect in wanted:
        if aspect not in found:
            alike[fold(aspect.term)][1].append(aspect)
    for several, asked in alike.values():
        for aspect in asked:
            fitting = [a for a in several if _may_be(a, aspect)]
            rivals = [a for a in asked if a not in found and any(_may_be(f, a) for f in fitting)]
            if len(fitting) == 1 and len(rivals) == 1:
                found[aspect] = fitting[0]
                several.remove(fitting[0])
    return found


def _may_be(said: Aspect, gold: Aspect) -> bool:
    """Whether two aspects of the same words have not two different places."""
    return said.start is None or gold.start is None
