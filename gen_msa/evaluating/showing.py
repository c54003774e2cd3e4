"""Chooses the rows a report shows: where readers part, and the best and worst explanations.

Chosen by the figures, never by hand; ties are broken by the order of the data. Knows nothing of
pages.

    disagreements({"builtin": pairs, "majority": pairs}, limit=100)
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from gen_msa.metrics import Pair
from gen_msa.results import Shown

PER_READER = 10
MOST = 200
SIGNS = ("naming", "quoting", "grounding", "chrf")
"""Families whose headline speaks for an explanation, row by row."""

Marks = Mapping[str, NDArray[np.float64]]
"""Family -> its headline figure of every row, NaN where the row is in no figure."""


def disagreements(said: Mapping[str, Sequence[Pair]], limit: int = MOST) -> tuple[Shown, ...]:
    """Gold's rows that readers give different polarities, most divided first.

    Every reader's pairs begin with gold's rows in the same order; what it said besides is left out.
    """
    if len(said) < 2:
        return ()
    rows = [[p for p in pairs if p.gold is not None] for pairs in said.values()]
    found: list[tuple[int, Shown]] = []
    for together in zip(*rows, strict=True):
        answers = [p.answer for p in together]
        if len(set(answers)) > 1:
            wrong = sum(a != together[0].truth for a in answers)
            told = ", ".join(f"{n}: {a or 'unread'}" for n, a in zip(said, answers, strict=True))
            # Half right and half wrong says more than one reader alone in error.
            even = abs(2 * wrong - len(answers))
            found.append((even, _row(together[0], told)))
    found.sort(key=lambda item: item[0])
    return tuple(row for _, row in found[:limit])


def explanations(
    name: str, pairs: Sequence[Pair], marks: Marks
) -> tuple[tuple[Shown, ...], tuple[Shown, ...]]:
    """One reader's best and worst explanations: right or wrong, then what the families say.

    Each is scored by the mean of its marks (0..1) plus 1 for the right polarity; among equals the
    more confident one is the better when right and the worse when wrong.
    """
    used = [f for f in SIGNS if f in marks]
    scored: list[tuple[float, float, Shown]] = []
    for i, pair in enumerate(pairs):
        if not pair.explanation or pair.truth is None:
            continue
        signs = {f: float(marks[f][i]) for f in used if not np.isnan(marks[f][i])}
        right = pair.answer == pair.truth
        sure = (pair.said.probability if pair.said else None) or 0.0
        mark = float(np.mean(list(signs.values()))) if signs else 0.0
        told = [f"{name}: {'right' if right else f'wrong, gold is {pair.truth}'}"]
        told += [f"{f} {v:.2f}" for f, v in signs.items()] + [f"probability {sure:.2f}"]
        scored.append((right + mark, sure if right else -sure, _row(pair, ", ".join(told))))
    scored.sort(key=lambda item: item[:2])
    worst = tuple(row for _, _, row in scored[:PER_READER])
    best = tuple(row for _, _, row in reversed(scored[-PER_READER:]))
    return best, worst if len(scored) >= 2 * PER_READER else worst[: len(scored) // 2]


def _row(pair: Pair, why: str) -> Shown:
    opinion = pair.gold or pair.said
    assert opinion is not None  # noqa: S101  a pair has one of the two
    aspect = opinion.aspect
    return Shown(post=pair.post.id, aspect=aspect.term, start=aspect.start, why=why)
