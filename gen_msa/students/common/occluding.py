"""Which words of a post carry a student's answer, found by taking them away.

A word counts by what the chosen class's probability loses without it (occlusion: Zeiler and Fergus
2014; erasure of words: Li, Monroe and Jurafsky 2016). One word's loss says little where others say
the same, so the strongest words are also taken away together; kept are the fewest of them that
cost nearly as much as all. What is not words (a picture, a context) is taken away whole. The words
of the aspect itself stay: without them there is no question. Knows nothing of models: `ask` gives
probabilities of rows.

    found = carriers(rows, said, ask)[0]
    [rows[0].text[a:b] for a, b in found.words]          # ["great"]
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from gen_msa.spans import Spans
from gen_msa.students.base import Row

Span = tuple[int, int]
Ask = Callable[[Sequence[Row]], Sequence[Sequence[float]]]
"""Rows -> the probability of each class."""

_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff"
_MARKS = "\u0300-\u036f\u0591-\u05c7\u064b-\u065f\u0900-\u0dff"
_LETTERS = rf"(?:[^\W{_UNSPACED}]|[{_MARKS}])+"
_WORD = re.compile(
    rf"{_LETTERS}(?:['’-]{_LETTERS})*|[{_UNSPACED}]|[\u2600-\u27bf\U0001f000-\U0001faff]"
    r"|(?<!\w)(?:[:;=]['-]?[()DPp|*/]+|<3+)(?!\w)"
)
"""A word with its apostrophes and hyphens, one character of a script without blanks, an emoji or a
face made of signs."""
_LONGEST_WORD = 60
"""Characters. What is longer is a key or an address, and no reason."""


@dataclass(frozen=True)
class Limits:
    """How much is asked, and what is too little to be named."""

    least: float = 0.1
    """Probability that must be lost."""
    most: int = 4
    """Words that are named at most."""
    nearly: float = 0.8
    """Share of the largest loss at which fewer words are enough."""
    words: int = 48
    """Texts of more words are first searched by stretches, of which the strongest half is kept.

    At least 8.
    """


@dataclass(frozen=True)
class Carried:
    """What carries one answer."""

    words: tuple[Span, ...] = ()
    """Places in the text, the strongest first; none where taking words away changes little."""
    drop: float = 0.0
    """Probability of the chosen class that is lost without those words."""
    others: dict[str, float] = field(default_factory=dict)
    """Modality, or `context`, -> what is lost without it; only where that is `Limits.least`."""


def carriers(
    rows: Sequence[Row], said: Sequence[Sequence[float]], ask: Ask, limits: Limits = Limits()
) -> list[Carried]:
    """For each row what carries the class that is likeliest in `said`, its probabilities.

    Asks about all rows together, two or three times for texts of up to `limits.words` words: at
    most that many rows and a few more for each. A row whose probabilities are not finite has none.
    """
    trial = _Trial(rows, said, ask)
    words = [words_of(r) if trial.fit[i] else [] for i, r in enumerate(rows)]
    words = _narrowed(trial, words, limits.words)
    singles = [(i, (w,)) for i, some in enumerate(words) for w in some]
    parts = [(i, name) for i, r in enumerate(rows) if trial.fit[i] for name in _parts(r)]
    lost = trial.drops([*singles, *parts])
    ranked: list[list[tuple[float, Span]]] = [[] for _ in rows]
    for (i, (word,)), drop in zip(singles, lost, strict=False):
        if drop > 0:
            ranked[i].append((drop, word))
    others: list[dict[str, float]] = [{} for _ in rows]
    for (i, name), drop in zip(parts, lost[len(singles) :], strict=True):
        if drop >= limits.least:
            others[i][name] = drop
    top = [sorted(some, key=lambda x: (-x[0], x[1]))[: limits.most] for some in ranked]
    chosen = _fewest(trial, top, limits)
    return [Carried(*best, others=o) for best, o in zip(chosen, others, strict=True)]


def words_of(row: Row) -> list[Span]:
    """Places of the words that may carry an answer: none of the aspect's, no monsters."""
    spans = Spans(row.text)
    stay = list(spans.whole(row.aspect.term)) if row.aspect.term else []
    if row.aspect.start is not None and row.aspect.end is not None and row.aspect.term:
        stay.append((row.aspect.start, row.aspect.end))
    found = (m.span() for m in _WORD.finditer(row.text) if len(m[0]) <= _LONGEST_WORD)
    return [w for w in found if not any(w[0] < end and begin < w[1] for begin, end in stay)]


def without(row: Row, spans: Sequence[Span]) -> Row:
    """The row with stretches of its text taken out, and its aspect where it then stands."""
    gone = sorted(spans)
    pieces, last, before = [], 0, 0
    start = row.aspect.start
    for begin, end in gone:
        # One of the two blanks that would meet goes too.
        if row.text[end : end + 1].isspace() and (begin == 0 or row.text[begin - 1].isspace()):
            end += 1
        pieces.append(row.text[last:begin])
        last = end
        before += (end - begin) if start is not None and begin < start else 0
    moved = row.aspect if start is None else row.aspect.model_copy(update={"start": start - before})
    return replace(row, text="".join([*pieces, row.text[last:]]), aspect=moved)


class _Trial:
    """Rows, what was said of them, and a way to ask what is said without some of what they hold."""

    def __init__(self, rows: Sequence[Row], said: Sequence[Sequence[float]], ask: Ask) -> None:
        self._rows, self._ask = rows, ask
        self.fit = [all(map(math.isfinite, shares)) for shares in said]
        self._class = [max(range(len(s)), key=s.__getitem__) for s in said]
        self._share = [max(s) for s in said]

    def drops(self, asked: "Sequence[tuple[int, tuple[Span, ...] | str]]") -> list[float]:
        """What row `i`'s class loses without some words, or without a modality; 0 where NaN."""
        if not asked:
            return []
        told = self._ask([_cut(self._rows[i], what) for i, what in asked])
        lost = [
            self._share[i] - shares[self._class[i]]
            for (i, _), shares in zip(asked, told, strict=True)
        ]
        return [d if math.isfinite(d) else 0.0 for d in lost]


def _cut(row: Row, what: "tuple[Span, ...] | str") -> Row:
    if not isinstance(what, str):
        return without(row, what)
    if what == "context":
        return replace(row, context="")
    return replace(row, inputs={k: v for k, v in row.inputs.items() if k != what})


def _parts(row: Row) -> list[str]:
    return [*sorted(row.inputs), *["context"] * bool(row.context.strip())]


def _narrowed(trial: _Trial, words: list[list[Span]], most: int) -> list[list[Span]]:
    """Of a text with more than `most` words the words of its strongest stretches, in their order.

    Each round asks about at most `most` stretches of a text and keeps half of them.
    """
    while long := [i for i, some in enumerate(words) if len(some) > most]:
        asked: list[tuple[int, tuple[Span, ...]]] = []
        for i in long:
            size = max(4, math.ceil(len(words[i]) / most))
            runs = [words[i][at : at + size] for at in range(0, len(words[i]), size)]
            asked += [(i, tuple(run)) for run in runs]
        found: dict[int, list[tuple[float, tuple[Span, ...]]]] = {i: [] for i in long}
        for (i, run), drop in zip(asked, trial.drops(asked), strict=True):
            found[i].append((drop, run))
        for i, some in found.items():
            kept = sorted(some, key=lambda x: (-x[0], x[1]))[: len(some) // 2]
            words[i] = sorted(w for _, run in kept for w in run)
    return words


def _fewest(
    trial: _Trial, top: list[list[tuple[float, Span]]], limits: Limits
) -> list[tuple[tuple[Span, ...], float]]:
    """For each row the fewest of its strongest words that cost nearly what all of them cost."""
    more = [
        (i, tuple(w for _, w in some[:k]))
        for i, some in enumerate(top)
        for k in range(2, len(some) + 1)
    ]
    losses = [[drop for drop, _ in some[:1]] for some in top]
    for (i, _), drop in zip(more, trial.drops(more), strict=True):
        losses[i].append(drop)
    chosen: list[tuple[tuple[Span, ...], float]] = []
    for some, lost in zip(top, losses, strict=True):
        best = max(lost, default=0.0)
        if best < limits.least:
            chosen.append(((), 0.0))
            continue
        k = next(k for k, drop in enumerate(lost) if drop >= limits.nearly * best)
        chosen.append((tuple(w for _, w in some[: k + 1]), lost[k]))
    return chosen
