"""Which words of a sentence belong to which aspect: aspect-centred pruning of a dependency tree.

Knows nothing of how the kept words are written. For an aspect `a` with its span as one root:

* a word is kept when it stands at most `k` edges from the span, is no small word (`drop`), and no
  rival aspect is nearer. Ties go to the aspect that governs the word, then to the leftmost.
* The words one edge away are shared: only a rival's own words are cut there. So the kept words
  always hold the first ring, and "nearest" decides from the second ring on.
* The governors from the aspect up to its main predicate (the first verb, adjective or nominal
  predicate) are always kept, whoever owns them: "food and service were great" says it of both.
* So is every negator of a kept word.

Aspects whose spans overlap ("battery", "battery life") are not rivals.

    kept = prune(tree, [(1, 2), (6, 7)], Pruning(k=2))      # one `Kept` an aspect
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from gen_msa.cues.parsing import words
from gen_msa.cues.parsing.sharing import Span, neighbours, spread
from gen_msa.cues.parsing.tree import Tree


@dataclass(frozen=True)
class Pruning:
    """How much of a tree is kept."""

    k: int = 2
    """Edges from the aspect; at least 1."""
    rival_cut: bool = True
    drop: frozenset[str] = words.DROP


class Kept(NamedTuple):
    """What is kept for one aspect."""

    span: Span
    near: dict[int, int]
    """Token -> 2 x its distance to the span, plus 1 when the span does not govern it."""
    weights: list[int]
    """Every token's `words.weight`, shared by all aspects of the post."""


def prune(tree: Tree, spans: Sequence[Span], rules: Pruning) -> list[Kept]:
    """What is kept for each span, in order. A span `(i, i)` holds no token and keeps nothing."""
    weights = weigh(tree, rules.drop)
    negators = _negators(tree, weights)
    copied = _copied(tree)
    found = []
    shares = neighbours(tree, spans, weights, rules.k, rival_cut=rules.rival_cut)
    for span, near in zip(spans, shares, strict=True):
        _add_governors(tree, span, near, weights, copied)
        if negators:
            _add_negators(tree, negators, near)
        found.append(Kept(span, near, weights))
    return found


def predicates(tree: Tree, rules: Pruning) -> Kept:
    """What is kept for a post as a whole: its main predicates and all within `k` of one of them."""
    weights = weigh(tree, rules.drop)
    roots = {r: 0 for r in tree.roots() if not weights[r]}
    near = spread(tree, roots, rules.k, 1)
    near = {t: key for t, key in near.items() if not weights[t]}
    _add_negators(tree, _negators(tree, weights), near)
    return Kept((0, 0), near, weights)


def weigh(tree: Tree, drop: frozenset[str]) -> list[int]:
    """Each token's `words.weight`; in a text without junk only dropped relations are looked at."""
    lower, rels = tree.lower, tree.rels
    if words.may_hold_junk(tree.text, lower):
        weights = [words.weight(w, r, drop) for w, r in zip(lower, rels, strict=True)]
        _spread_mentions(lower, weights)
    else:
        weights = [0] * len(lower)
        for i, rel in enumerate(rels):
            if rel in drop or (":" in rel and rel.partition(":")[0] in drop):
                weights[i] = words.KEPT if words.is_loaded(lower[i]) else words.SMALL
    if tree.text.count("!") > 1:
        _keep_shouts(lower, weights)
    return weights


def _spread_mentions(lower: list[str], weights: list[int]) -> None:
    """Junk in tokenised tweets: what follows a bare `@` is the name of the mention."""
    for i in range(1, len(lower)):
        if lower[i - 1] == "@":
            weights[i] = words.JUNK


def _keep_shouts(lower: list[str], weights: list[int]) -> None:
    """Keep `!` `!` `!`: a run that the tokeniser took apart."""
    for i in range(1, len(lower)):
        if lower[i] == "!" and lower[i - 1] == "!":
            weights[i - 1] = weights[i] = words.KEPT


def _add_governors(
    tree: Tree, span: Span, near: dict[int, int], weights: list[int], copied: set[int]
) -> None:
    """Keep the way up from the span to its main predicate; nothing when there is none."""
    heads, tags = tree.heads, tree.tags
    key = 1
    chain: list[tuple[int, int]] = []
    i = top(tree, span, weights)
    while i >= 0:
        if tags[i] in _PREDICATES or i in copied:
            for token, at in chain:
                near.setdefault(token, at)
            return
        i = heads[i]
        key += 2
        if i >= 0 and weights[i] != words.JUNK:
            chain.append((i, key))


def top(tree: Tree, span: Span, weights: list[int]) -> int:
    """The first token of the span governed from outside it, rather no small word; -1 if empty."""
    first, last = span
    found = -1
    for i in range(first, last):
        if not first <= tree.heads[i] < last:
            if not weights[i]:
                return i
            if found < 0:
                found = i
    return found


def _copied(tree: Tree) -> set[int]:
    """Tokens that are predicates whatever their tag: those with a copula, clauses without a tag."""
    heads, rels = tree.heads, tree.rels
    found = {heads[i] for i, rel in enumerate(rels) if rel == "cop"} if "cop" in rels else set()
    if "" in tree.tags:
        tags = tree.tags
        found |= {i for i, r in enumerate(rels) if not tags[i] and r.partition(":")[0] in _CLAUSES}
    return found


_PREDICATES = words.word_set("VB VBD VBG VBN VBP VBZ JJ JJR JJS VERB AUX ADJ")
_CLAUSES = words.word_set("root ROOT conj ccomp xcomp advcl acl relcl parataxis")


def _negators(tree: Tree, weights: list[int]) -> set[int]:
    known, rels = words.NEGATORS, tree.rels
    found = {i for i, w in enumerate(tree.lower) if w in known or rels[i] == "neg"}
    return {i for i in found if weights[i] != words.JUNK} if found else found


def _add_negators(tree: Tree, negators: set[int], near: dict[int, int]) -> None:
    """Keep the negators of kept words, and theirs in turn."""
    todo = list(near)
    for i in todo:  # grows as it goes
        for c in tree.children[i]:
            if c in negators and c not in near:
                near[c] = near[i] | 1
                todo.append(c)
