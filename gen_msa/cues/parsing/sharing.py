"""Which aspect a word stands nearest to: one walk over the tree from all aspects at once.

Knows nothing of sentiment. What a word is worth comes in as `weights`.

    neighbours(tree, [(1, 2), (6, 7)], weights, k=2, rival_cut=True)    # a map of keys for each
"""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise

from gen_msa.cues.parsing.tree import DependencyTree

TokenSpan = tuple[int, int]
"""Tokens `[first, last)`."""


def assign_nearest_tokens(
    tree: DependencyTree, spans: Sequence[TokenSpan], word_classes: list[int], k: int, *, rival_cut: bool
) -> list[dict[int, int]]:
    """For each span its tokens within `k` with their keys, without small and rivals' words.

    A key is 2 x the distance, plus 1 when the span does not govern the token. `weights` are those
    of `words.weight`; the span's own words are there whatever they weigh.
    """
    if not rival_cut or len(spans) < 2:
        return [_token_shares(tree, [span], word_classes, k)[0] for span in spans]
    ordered_spans = sorted(spans)
    if all(a[1] <= b[0] for a, b in pairwise(ordered_spans)):
        rank_by_span = {span: rank for rank, span in enumerate(ordered_spans)}
        shares = _token_shares(tree, ordered_spans, word_classes, k)
        return [shares[rank_by_span[span]] for span in spans]
    return [_share_without_overlaps(tree, span, ordered_spans, word_classes, k) for span in spans]


def _share_without_overlaps(
    tree: DependencyTree, span: TokenSpan, ordered_spans: list[TokenSpan], word_classes: list[int], k: int
) -> dict[int, int]:
    """The share of one span among those it does not overlap."""
    first, last = span
    other_spans = [(a, b) for a, b in ordered_spans if not (first < b and a < last)]
    rank = bisect_left(other_spans, span)
    other_spans.insert(rank, span)
    return _token_shares(tree, other_spans, word_classes, k)[rank]


def _token_shares(tree: DependencyTree, ordered_spans: list[TokenSpan], word_classes: list[int], k: int) -> list[dict[int, int]]:
    """The tokens within `k` of spans in order, each for the nearest; small words for none."""
    n = len(ordered_spans)
    heads, children = tree.heads, tree.children
    rank_by_token = {t: rank for rank in range(n - 1, -1, -1) for t in range(*ordered_spans[rank])}
    shares: list[dict[int, int]] = [{} for _ in ordered_spans]
    for t, code in propagate_codes(tree, rank_by_token.copy(), k, n).items():
        if code < n or not word_classes[t]:
            shares[code % n][t] = code // n
    if n == 1:
        return shares
    for share, (first, last) in zip(shares, ordered_spans, strict=True):
        for t in range(first, last):  # one edge away nothing is cut but a rival's own words
            for c in children[t]:
                if c not in rank_by_token and not word_classes[c]:
                    share[c] = 2
            h = heads[t]
            if h >= 0 and h not in rank_by_token and not word_classes[h]:
                share.setdefault(h, 3)
    return shares


def propagate_codes(tree: DependencyTree, codes: dict[int, int], k: int, n: int) -> dict[int, int]:
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
                existing = codes.get(c)
                if existing is None:
                    codes[c] = code
                    outer.append(c)
                elif code < existing:
                    codes[c] = code
            h = heads[i]
            if h >= 0:
                if not code // n & 1:
                    code += n
                existing = codes.get(h)
                if existing is None:
                    codes[h] = code
                    outer.append(h)
                elif code < existing:
                    codes[h] = code
        if not outer:
            break
        ring = outer
    return codes
