"""A light dependency tree made of plain lists, independent of the parser.

Labels may be ClearNLP's (spaCy: dobj, neg, pobj) or Universal Dependencies' (stanza: obj, obl,
advmod); `promote_content_heads` makes both agree on which words are heads.

    tree = tree_from_parse(post.text, post.parse)
    tree.token_span(4, 10)              # (1, 2): the tokens of characters 4 to 10
"""

from bisect import bisect_left, bisect_right
from typing import NamedTuple

from gen_msa.cues.parsing.lexicon import word_set
from gen_msa.types import Parse


class DependencyTree(NamedTuple):
    """The tokens of one text in order, one entry per token in every list; possibly a forest.

    A named tuple, because one is created for every post and it costs a third of a pydantic model.
    """

    text: str
    starts: list[int]
    """Character offset of each token, ascending."""
    ends: list[int]
    heads: list[int]
    """Index of each token's governor; -1 for a root."""
    rels: list[str]
    tags: list[str]
    """Penn (VBZ) or universal (VERB) part of speech; "" if the parser has none."""
    lower: list[str]
    """Each token in lower case."""
    children: list[list[int]]
    """Each token's dependents, in order."""

    def token_text(self, i: int) -> str:
        """Return token `i` as it is in the text."""
        return self.text[self.starts[i] : self.ends[i]]

    def token_span(self, start: int, end: int) -> tuple[int, int]:
        """Return the tokens `[first, last)` that overlap characters `[start, end)`.

        Args:
            start: The first character.
            end: The character after the last one.
        """
        first = max(bisect_right(self.starts, start) - 1, 0)
        if first < len(self.ends) and self.ends[first] <= start:
            first += 1
        return first, max(bisect_left(self.starts, end), first)

    def roots(self) -> list[int]:
        """Return every root, in order."""
        return [i for i, h in enumerate(self.heads) if h < 0]


def build_tree(
    text: str,
    starts: list[int],
    ends: list[int],
    heads: list[int],
    rels: list[str],
    tags: list[str],
) -> DependencyTree:
    """Build a tree with ClearNLP's function words below their content words, in place.

    Args:
        text: The text.
        starts: Character offset of each token.
        ends: Character after each token.
        heads: Index of each token's governor, -1 for a root; in range (see `is_usable`).
        rels: Dependency relation of each token.
        tags: Part of speech of each token.

    Returns:
        The tree, which holds the given lists; `heads` and `rels` may have been changed.
    """
    if text.isascii():  # lower case keeps every offset
        lowered_text = text.lower()
        lower = [lowered_text[s:e] for s, e in zip(starts, ends, strict=True)]
    else:
        lower = [text[s:e].lower() for s, e in zip(starts, ends, strict=True)]
    promote_content_heads(heads, rels, lower)
    children: list[list[int]] = [[] for _ in heads]
    for i, h in enumerate(heads):
        if h >= 0:
            children[h].append(i)
    return DependencyTree(text, starts, ends, heads, rels, tags, lower, children)


def tree_from_parse(text: str, parse: Parse) -> DependencyTree:
    """Build the tree of a post's own parse.

    Args:
        text: The text.
        parse: The parse, which must be usable (see `is_usable`).

    Returns:
        The tree, in which function words are below their content words.
    """
    tokens = parse.tokens
    starts = [t.start for t in tokens]
    ends = [t.start + len(t.text) for t in tokens]
    heads = [t.head for t in tokens]
    return build_tree(text, starts, ends, heads, [t.rel for t in tokens], [t.pos for t in tokens])


def is_usable(text: str, parse: Parse) -> bool:
    """Return whether a parse fits its text: tokens in order and in place, heads in range, no cycle.

    Args:
        text: The text.
        parse: The parse.
    """
    tokens = parse.tokens
    n, end = len(tokens), 0
    for i, t in enumerate(tokens):
        if t.start < end or t.head >= n or t.head == i or not text.startswith(t.text, t.start):
            return False
        end = t.start + len(t.text)
    return n > 0 and not _has_cycle([t.head for t in tokens])


def _has_cycle(heads: list[int]) -> bool:
    """Return whether a token is its own ancestor. Linear: every token is visited once."""
    visited_in = [-1] * len(heads)
    for walk in range(len(heads)):
        i = walk
        while i >= 0 and visited_in[i] < 0:
            visited_in[i] = walk
            i = heads[i]
        if i >= 0 and visited_in[i] == walk:
            return True
    return False


def promote_content_heads(heads: list[int], rels: list[str], lower: list[str]) -> None:
    """Make content words govern function words, in place, as in Universal Dependencies.

    ClearNLP attaches "screen" and "great" to "is", and "menu" to "of". With "great" and "menu" as
    the heads, what describes an aspect is one edge from it, and equally far in both schemes.

    Args:
        heads: Index of each token's governor.
        rels: Dependency relation of each token.
        lower: Each token in lower case.
    """
    promoted: dict[int, int] = {}
    for i, rel in enumerate(rels):
        if rel in _PROMOTED_RELATIONS:
            h = heads[i]
            if (
                h >= 0
                and h not in promoted
                and (_PROMOTED_RELATIONS[rel] != "cop" or lower[h] in _BE_FORMS)
            ):
                promoted[h] = i
    if not promoted:
        return
    for function_word in _top_down(promoted, heads):
        content_word = promoted[function_word]
        new_relation = _PROMOTED_RELATIONS[rels[content_word]]
        if new_relation == "cop":
            rels[content_word] = rels[function_word]
        heads[content_word] = heads[function_word]
        heads[function_word], rels[function_word] = content_word, new_relation
    for i, h in enumerate(heads):
        if h in promoted and promoted[h] != i:
            heads[i] = promoted[h]


def _top_down(promoted: dict[int, int], heads: list[int]) -> list[int]:
    """Return the function words in order of depth: "about being late" is lifted twice."""

    def depth(i: int) -> int:
        steps = 0
        while (i := heads[i]) in promoted:
            steps += 1
        return steps

    return sorted(promoted, key=depth) if len(promoted) > 1 else list(promoted)


_PROMOTED_RELATIONS = {"acomp": "cop", "attr": "cop", "pobj": "case", "pcomp": "mark"}
"""Relation of the content word -> new relation of its function word."""
_BE_FORMS = word_set("be is are was were been being am 's 're 'm ’s ’re ’m s")
