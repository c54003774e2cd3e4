"""Which aspect a word stands nearest to: one walk over the tree from all aspects at once.

Knows nothing of sentiment. What a word is worth comes in as `weights`.

    neighbours(tree, [(1, 2), (6, 7)], weights, k=2, rival_cut=True)    # a map of keys for each
"""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise

from gen_msa.cues.parsing.tree import Tree

Span = tuple[int, int]
"""Tokens `[first, last)`."""


def neighbours(
    tree: Tree, spans: Sequence[Span], weights: list[int], k: int, *, rival_cut: bool
) -> list[dict[int, int]]:
    """For each span its tokens within `k` with their keys, without small and rivals' words.

    A key is 2 x the distance, plus 1 when the span does not govern the token. `weights` are those
    of `words.weight`; the span's own words are there whatever they weigh.
    """
    if not rival_cut or len(spans) < 2:
        return [_shares(tree, [span], weights, k)[0] for span in spans]
    order = sorted(spans)
    if all(a[1] <= b[0] for a, b in pairwise(order)):
        at = {span: rank for rank, span in enumerate(order)}
        shares = _shares(tree, order, weights, k)
        return [shares[at[span]] for span in spans]
    return [_share_among(tree, span, order, weights, k) for span in spans]


def _share_among(
    tree: Tree, span: Span, order: list[Span], weights: list[int], k: int
) -> dict[int, int]:
    """The share of one span among those it does not overlap."""
    first, last = span
    others = [(a, b) for a, b in order if not (first < b and a < last)]
    rank = bisect_left(others, span)
    others.insert(rank, span)
    return _shares(tree, others, weights, k)[rank]


def _shares(tree: Tree, order: list[Span], weights: list[int], k: int) -> list[dict[int, int]]:
    """The tokens within `k` of spans in order, each for the nearest; small words for none."""
    n = len(order)
    heads, children = tree.heads, tree.children
    own = {t: rank for rank in range(n - 1, -1, -1) for t in range(*order[rank])}
    shares: list[dict[int, int]] = [{} for _ in order]
    for t, code in spread(tree, own.copy(), k, n).items():
        if code < n or not weights[t]:
            shares[code % n][t] = code // n
    if n == 1:
        return shares
    for share, (first, last) in zip(shares, order, strict=True):
        for t in range(first, last):  # one edge away nothing is cut but a rival's own words
            for c in children[t]:
                if c not in own and not weights[c]:
                    share[c] = 2
            h = heads[t]
            if h >= 0 and h not in own and not weights[h]:
                share.setdefault(h, 3)
    return shares


def spread(tree: Tree, codes: dict[int, int], k: int, n: int) -> dict[int, int]:
    """Spread the codes of some tokens to all within `k` edges; the least code wins.

    A code is `key * n + rank`: rank tells `n` spans apart, and key is 2 x distance, plus 1 once
    the way has gone upwards. So the nearest span wins, then the one that governs, then the first.
    """
    heads, children = tree.heads, tree.children
    step = 2 * n
    ring = list(codes)
    for _ in range(k):
        outer: list[int] = []
        for i in ring:
            code = codes[i] + step
            for c in children[i]:
                known = codes.get(c)
                if known is None:
                    codes[c] = code
                    outer.append(c)
                elif code < known:
                    codes[c] = code
            h = heads[i]
            if h >= 0:
                if not code // n & 1:
                    code += n
                known = codes.get(h)
                if known is None:
                    codes[h] = code
                    outer.append(h)
                elif code < known:
                    codes[h] = code
        if not outer:
            break
        ring = outer
    return codes
