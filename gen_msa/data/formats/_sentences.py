"""Telling the sentences of a parsed record apart when only heads are given.

Heads count from 1 in each sentence. A sentence is a stretch of tokens whose heads form one tree.
Several cuts may be possible: the one with the fewest crossing arcs wins, then the one with the
longest first sentence, because a full stop hangs on what goes before. Knows nothing of words.

    sentences_of([2, 0, 2, 0])      # [3, 1]: heads of the first three stay within them
"""

from collections.abc import Sequence
from functools import cache

MAX_TOKENS = 120
"""Tokens. A record of several sentences longer than this must say where they end."""


def split_sentences(heads: Sequence[int]) -> list[int]:
    """Number of tokens in each sentence. `heads` count from 1 in their own sentence; 0 is a root.

    Raises `ValueError` when no cut makes every sentence a tree, or when there are too many to try.
    """
    if not heads:
        return []
    if heads.count(0) == 1 and _is_tree(heads):
        return [len(heads)]
    if len(heads) > MAX_TOKENS:
        raise ValueError(f"head: no single tree, and over {MAX_TOKENS} tokens to tell sentences apart")

    @cache
    def best_split_from(begin: int) -> tuple[int, list[int]] | None:
        if begin == len(heads):
            return 0, []
        best_split: tuple[int, list[int]] | None = None
        for end in range(len(heads), begin, -1):
            segment = heads[begin:end]
            remainder = best_split_from(end) if _is_tree(segment) else None
            if remainder and (best_split is None or _crossings(segment) + remainder[0] < best_split[0]):
                best_split = _crossings(segment) + remainder[0], [end - begin, *remainder[1]]
        return best_split

    split = best_split_from(0)
    if split is None:
        raise ValueError("head: the heads form no trees")
    return split[1]


def _is_tree(heads: Sequence[int]) -> bool:
    if heads.count(0) != 1 or not all(0 <= h <= len(heads) for h in heads):
        return False
    reaches_root = {heads.index(0)}
    for token in range(len(heads)):
        path: set[int] = set()
        while token not in reaches_root and token not in path:
            path.add(token)
            token = heads[token] - 1
        if token not in reaches_root:
            return False
        reaches_root |= path
    return True


def _crossings(heads: Sequence[int]) -> int:
    arcs = [(min(i, h - 1), max(i, h - 1)) for i, h in enumerate(heads) if h]
    return sum(a < c < b < d for a, b in arcs for c, d in arcs)


def to_record_heads(heads: Sequence[int], sizes: Sequence[int]) -> list[int]:
    """0-based heads in the whole record, -1 for a root, from heads counted in each sentence.

    Raises `ValueError` when `sizes` do not add up or a head points outside its sentence.
    """
    if sum(sizes) != len(heads):
        raise ValueError(f"sentences: {sum(sizes)} tokens, but {len(heads)} heads")
    out: list[int] = []
    for size in sizes:
        begin = len(out)
        sentence_heads = heads[begin : begin + size]
        if not all(0 <= h <= size for h in sentence_heads):
            raise ValueError("head: a head outside its sentence")
        out += [begin + h - 1 if h else -1 for h in sentence_heads]
    return out


def to_sentence_heads(heads: Sequence[int]) -> tuple[list[int], list[int]]:
    """The sizes of the sentences, and heads as a record writes them, from 0-based heads.

    Cuts wherever no arc crosses and both sides have a root, so each sentence is as short as can be.
    """
    count = len(heads)
    lowest, roots = [count] * (count + 1), [0] * (count + 1)
    for i in range(count - 1, -1, -1):
        lowest[i] = min(lowest[i + 1], heads[i]) if heads[i] >= 0 else lowest[i + 1]
        roots[i] = roots[i + 1] + (heads[i] < 0)
    sizes, sentence_heads, begin, highest = [], [], 0, -1
    for end in range(1, count + 1):
        highest = max(highest, heads[end - 1])
        can_split = highest < end <= lowest[end] and 0 < roots[end] < roots[begin]
        if can_split or end == count:
            sentence_heads += [h - begin + 1 if h >= 0 else 0 for h in heads[begin:end]]
            sizes.append(end - begin)
            begin = end
    return sizes, sentence_heads


def needs_sentence_sizes(sizes: Sequence[int], heads: Sequence[int]) -> bool:
    """Whether a record has to name its sentences, because its heads would be cut otherwise."""
    try:
        return split_sentences(heads) != list(sizes)
    except ValueError:
        return True
