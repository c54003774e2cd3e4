"""Decide which requests are decoded together and which prefix they share, from token ids alone.

A `RequestGroup` holds neighbours that begin alike (the aspects of one post); a batch holds groups
of
similar length. A poor choice costs time, never exactness: shared prefixes are compared token by
token.

    group_requests([row_a, row_b], shared=120, max_rows=16)  # [RequestGroup(rows=(row_a, row_b))]
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from gen_msa.chat import ImageInput

MIN_SHARED_TOKENS = 8
"""Tokens that two neighbours must share beyond the instruction to be encoded together."""


@dataclass(frozen=True)
class TokenizedSlot:
    """A slot in tokens; `option_tokens[i]` holds the option and the suffix after it."""

    option_tokens: tuple[tuple[int, ...], ...]
    n_scored: tuple[int, ...]
    """How many of `option_tokens[i]` count for the option's log-probability."""


@dataclass(frozen=True)
class TokenizedRequest:
    """A request in tokens up to the first that the model chooses; images not expanded."""

    index: int
    ids: tuple[int, ...]
    text: str
    images: tuple[ImageInput, ...]
    slot: TokenizedSlot | None
    max_new_tokens: int
    """Limit on the tokens that the model chooses; the slot's suffix does not count."""
    notes: dict[str, str]
    quotes: str = ""
    """Text that everything in double quotes must occur in; "" for no constraint."""


@dataclass(frozen=True)
class RequestGroup:
    """Neighbouring requests with the same images and a common prefix."""

    rows: tuple[TokenizedRequest, ...]

    @property
    def length(self) -> int:
        """Return the tokens of the longest request, images not expanded."""
        return max(len(r.ids) for r in self.rows)


def common_prefix_length(a: Sequence[int], b: Sequence[int]) -> int:
    """Count the leading tokens that two sequences have in common.

    Args:
        a: Token ids.
        b: Token ids.

    Returns:
        Length of the common prefix.
    """
    end = min(len(a), len(b))
    if tuple(a[:end]) == tuple(b[:end]):
        return end
    return next(i for i in range(end) if a[i] != b[i])


def instruction_prefix(
    rows: Sequence[TokenizedRequest], placeholders: Collection[int]
) -> tuple[int, ...]:
    """Find the common prefix of all requests, up to the first image.

    Args:
        rows: Requests.
        placeholders: Token ids that stand for an image.

    Returns:
        Token ids; never a complete request. Empty for fewer than two requests.
    """
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
    """Group neighbours that have a common prefix beyond the instruction.

    A group ends where the next request would shorten the common prefix by more than half.

    Args:
        rows: Requests, those about one post side by side.
        shared: Leading tokens that all requests share.
        max_rows: Largest number of requests in a group.

    Returns:
        The groups, in order.
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
    """Put groups of similar length together.

    Args:
        groups: Groups of requests.
        size: Largest number of requests in a batch.

    Returns:
        Batches, longest requests first.
    """
    out: list[list[RequestGroup]] = []
    free_rows = 0
    for group in sorted(groups, key=lambda g: (-g.length, g.rows[0].index)):
        if len(group.rows) > free_rows:
            out.append([])
            free_rows = size
        out[-1].append(group)
        free_rows -= len(group.rows)
    return out
