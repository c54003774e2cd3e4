"""Which rows are decoded together and what they have in common: plain lists of token ids.

Knows no model and no tensor. A `Group` holds neighbours that begin alike (the aspects of one post);
a batch holds groups of like length. A wrong guess here costs time, never exactness: what is shared
is always compared token by token.

    groups([row_a, row_b], instruction=120)     # [Group(rows=(row_a, row_b), ...)]
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from gen_msa.chat import ImageInput

MIN_SHARED_TOKENS = 8
"""Tokens two neighbours must share beyond the instruction to be worth a prefix of their own."""


@dataclass(frozen=True)
class TokenizedSlot:
    """A choice in tokens; `forced[i]` is what option i adds: the option and what follows it."""

    option_tokens: tuple[tuple[int, ...], ...]
    n_scored: tuple[int, ...]
    """How many tokens of `forced[i]` carry the option's log-probability."""


@dataclass(frozen=True)
class TokenizedRequest:
    """One request as the model sees it up to its first open token; pictures not yet expanded."""

    index: int
    ids: tuple[int, ...]
    text: str
    images: tuple[ImageInput, ...]
    slot: TokenizedSlot | None
    max_new_tokens: int
    """Most tokens the model may add itself; the words after a slot's option are not counted."""
    notes: dict[str, str]
    quotes: str = ""
    """A text that whatever the answer quotes must stand in; "" for any."""


@dataclass(frozen=True)
class RequestGroup:
    """Neighbouring rows that show the same pictures and begin alike."""

    rows: tuple[TokenizedRequest, ...]

    @property
    def length(self) -> int:
        """Tokens of the longest row, pictures not expanded."""
        return max(len(r.ids) for r in self.rows)


def common_prefix_length(a: Sequence[int], b: Sequence[int]) -> int:
    """How many tokens two sequences begin with alike."""
    end = min(len(a), len(b))
    if tuple(a[:end]) == tuple(b[:end]):
        return end
    return next(i for i in range(end) if a[i] != b[i])


def instruction_prefix(
    rows: Sequence[TokenizedRequest], placeholders: Collection[int]
) -> tuple[int, ...]:
    """What all rows begin with, up to the first picture; never a whole row. Empty for one row."""
    if len(rows) < 2:
        return ()
    first = rows[0].ids
    end = min(len(r.ids) for r in rows) - 1
    for row in rows[1:]:
        end = min(end, common_prefix_length(first, row.ids))
    stop = next((i for i, t in enumerate(first[:end]) if t in placeholders), end)
    return tuple(first[:stop])


def group_requests(
    rows: Sequence[TokenizedRequest], shared: int, max_rows: int
) -> list[RequestGroup]:
    """Runs of at most `most` neighbours that begin alike beyond the first `shared` tokens.

    A run ends where the next row would give up more than half of what the run has in common.
    """
    out: list[list[TokenizedRequest]] = []
    shared_length = 0
    for row in rows:
        last = out[-1] if out else []
        if last and last[-1].images == row.images and len(last) < max_rows:
            n_shared = common_prefix_length(last[0].ids, row.ids) - shared
            if n_shared >= MIN_SHARED_TOKENS and 2 * n_shared >= shared_length:
                shared_length = n_shared if len(last) == 1 else min(shared_length, n_shared)
                last.append(row)
                continue
        out.append([row])
        shared_length = 0
    return [RequestGroup(tuple(g)) for g in out]


def batch_groups(groups: Sequence[RequestGroup], size: int) -> list[list[RequestGroup]]:
    """Groups of like length together, longest first, at most `size` rows a batch."""
    out: list[list[RequestGroup]] = []
    free_rows = 0
    for group in sorted(groups, key=lambda g: (-g.length, g.rows[0].index)):
        if len(group.rows) > free_rows:
            out.append([])
            free_rows = size
        out[-1].append(group)
        free_rows -= len(group.rows)
    return out
