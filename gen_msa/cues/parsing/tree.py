"""A light dependency tree: plain lists, whoever parsed it. Knows nothing of aspects or of cues.

Labels may be ClearNLP's (spaCy: dobj, neg, pobj) or Universal Dependencies' (stanza: obj, obl,
advmod); `lift_content` makes the two agree on which words are heads.

    tree = from_parse(post.text, post.parse)
    tree.span(4, 10)                    # (1, 2): the tokens under characters 4 to 10
"""

from bisect import bisect_left, bisect_right
from typing import NamedTuple

from gen_msa.cues.parsing.lexicon import word_set
from gen_msa.types import Parse


class DependencyTree(NamedTuple):
    """The tokens of one text in order, one entry a token in every list; a forest when it must be.

    A named tuple, because one is made for every post and it costs a third of a model.
    """

    text: str
    starts: list[int]
    """Character offset of each token, never falling."""
    ends: list[int]
    heads: list[int]
    """Index of each token's governor; -1 for a root."""
    rels: list[str]
    tags: list[str]
    """Penn (VBZ) or universal (VERB) part of speech; "" when the parser gave none."""
    lower: list[str]
    """Each token in lower case."""
    children: list[list[int]]
    """Each token's dependents, in order."""

    def token_text(self, i: int) -> str:
        """Token `i` as it stands in the text."""
        return self.text[self.starts[i] : self.ends[i]]

    def token_span(self, start: int, end: int) -> tuple[int, int]:
        """Tokens `[first, last)` that touch characters `[start, end)`; empty when none does."""
        first = max(bisect_right(self.starts, start) - 1, 0)
        if first < len(self.ends) and self.ends[first] <= start:
            first += 1
        return first, max(bisect_left(self.starts, end), first)

    def roots(self) -> list[int]:
        """Every root, in order."""
        return [i for i, h in enumerate(self.heads) if h < 0]


def build_tree(
    text: str,
    starts: list[int],
    ends: list[int],
    heads: list[int],
    rels: list[str],
    tags: list[str],
) -> DependencyTree:
    """The tree of these tokens. `heads` must be in range (see `usable`).

    ClearNLP's function words are put below their words of content, in the lists given.
    """
    if text.isascii():  # lower case keeps every place
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
    """The tree of a parse that came with the data; it must be `usable`."""
    tokens = parse.tokens
    starts = [t.start for t in tokens]
    ends = [t.start + len(t.text) for t in tokens]
    heads = [t.head for t in tokens]
    return build_tree(text, starts, ends, heads, [t.rel for t in tokens], [t.pos for t in tokens])


def is_usable(text: str, parse: Parse) -> bool:
    """Whether a parse fits its text: tokens in order and in place, heads in range, no loop."""
    tokens = parse.tokens
    n, end = len(tokens), 0
    for i, t in enumerate(tokens):
        if t.start < end or t.head >= n or t.head == i or not text.startswith(t.text, t.start):
            return False
        end = t.start + len(t.text)
    return n > 0 and not _has_cycle([t.head for t in tokens])


def _has_cycle(heads: list[int]) -> bool:
    """Whether some token is its own ancestor. Linear: every token is walked over once."""
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
    """Make words of content govern function words, as Universal Dependencies do; in place.

    ClearNLP hangs "screen" and "great" on "is", and "menu" on "of". With "great" and "menu" as the
    heads, what is said of an aspect stands one step from it, and equally far in both schemes.
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
    """The function words, those above others first: "about being late" is lifted twice."""

    def depth(i: int) -> int:
        steps = 0
        while (i := heads[i]) in promoted:
            steps += 1
        return steps

    return sorted(promoted, key=depth) if len(promoted) > 1 else list(promoted)


_PROMOTED_RELATIONS = {"acomp": "cop", "attr": "cop", "pobj": "case", "pcomp": "mark"}
"""Relation of the word of content -> what its function word becomes."""
_BE_FORMS = word_set("be is are was were been being am 's 're 'm ’s ’re ’m s")
