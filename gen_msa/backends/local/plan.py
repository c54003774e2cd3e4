"""Which rows are decoded together and what they have in common: plain lists of token ids.

Knows no model and no tensor. A `Group` holds neighbours that begin alike (the aspects of one post);
a batch holds groups of like length. A wrong guess here costs time, never exactness: what is shared
is always compared token by token.

    groups([row_a, row_b], instruction=120)     # [Group(rows=(row_a, row_b), ...)]
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from gen_msa.chat import Picture

MIN_GAIN = 8
"""Tokens two neighbours must share beyond the instruction to be worth a prefix of their own."""


@dataclass(frozen=True)
class Slot:
    """A choice in tokens; `forced[i]` is what option i adds: the option and what follows it."""

    forced: tuple[tuple[int, ...], ...]
    scored: tuple[int, ...]
    """How many tokens of `forced[i]` carry the option's log-probability."""


@dataclass(frozen=True)
class Row:
    """One request as the model sees it up to its first open token; pictures not yet expanded."""

    index: int
    ids: tuple[int, ...]
    text: str
    pictures: tuple[Picture, ...]
    slot: Slot | None
    budget: int
    """Most tokens the model may add itself; the words after a slot's option are not counted."""
    notes: dict[str, str]
    quotes: str = ""
    """A text that whatever the answer quotes must stand in; "" for any."""


@dataclass(frozen=True)
class Group:
    """Neighbouring rows that show the same pictures and begin alike."""

    rows: tuple[Row, ...]

    @property
    def length(self) -> int:
        """Tokens of the longest row, pictures not expanded."""
        return max(len(r.ids) for r in self.rows)


def common(a: Sequence[int], b: Sequence[int]) -> int:
    """How many tokens two sequences begin with alike."""
    end = min(len(a), len(b))
    if tuple(a[:end]) == tuple(b[:end]):
        return end
    return next(i for i in range(end) if a[i] != b[i])


def instruction(rows: Sequence[Row], placeholders: Collection[int]) -> tuple[int, ...]:
    """What all rows begin with, up to the first picture; never a whole row. Empty for one row."""
    if len(rows) < 2:
        return ()
    first = rows[0].ids
    end = min(len(r.ids) for r in rows) - 1
    for row in rows[1:]:
        end = min(end, common(first, row.ids))
    stop = next((i for i, t in enumerate(first[:end]) if t in placeholders), end)
    return tuple(first[:stop])


def groups(rows: Sequence[Row], shared: int, most: int) -> list[Group]:
    """Runs of at most `most` neighbours that begin alike beyond the first `shared` tokens.

    A run ends where the next row would give up more than half of what the run has in common.
    """
    out: list[list[Row]] = []
    reach = 0
    for row in rows:
        last = out[-1] if out else []
        if last and last[-1].pictures == row.pictures and len(last) < most:
            alike = common(last[0].ids, row.ids) - shared
            if alike >= MIN_GAIN and 2 * alike >= reach:
                reach = alike if len(last) == 1 else min(reach, alike)
                last.append(row)
                continue
        out.append([row])
        reach = 0
    return [Group(tuple(g)) for g in out]


def batches(found: Sequence[Group], size: int) -> list[list[Group]]:
    """Groups of like length together, longest first, at most `size` rows a batch."""
    out: list[list[Group]] = []
    room = 0
    for group in sorted(found, key=lambda g: (-g.length, g.rows[0].index)):
        if len(group.rows) > room:
            out.append([])
            room = size
        out[-1].append(group)
        room -= len(group.rows)
    return out
