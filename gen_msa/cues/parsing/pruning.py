"""Aspect-centred pruning of a dependency tree: which words of a sentence belong to which aspect.

For each aspect, with its span as one root:

* a word is kept if it is at most `k` edges from the span, is no function word (`drop`), and no
other
  aspect is nearer. Ties go to the aspect that governs the word, then to the leftmost one.
* Words one edge away are shared: only the words of other aspects are cut there. So the first ring
  is always kept, and the nearest aspect decides from the second ring on.
* The governors from the aspect up to its main predicate (the first verb, adjective or nominal
  predicate) are always kept: "food and service were great" is about both.
* So is every negator of a kept word.

Aspects with overlapping spans ("battery", "battery life") do not compete.

    prune(tree, [(1, 2), (6, 7)], PruningRules(k=2))      # one `AspectSubtree` per aspect
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from gen_msa.cues.parsing import lexicon
from gen_msa.cues.parsing.tree import DependencyTree

TokenSpan = tuple[int, int]
"""Tokens `[first, last)`."""


def assign_nearest_tokens(
    tree: DependencyTree,
    spans: Sequence[TokenSpan],
    word_classes: list[int],
    k: int,
    *,
    rival_cut: bool,
) -> list[dict[int, int]]:
    """Return, for each span, its tokens within `k` edges with their keys.

    A key is 2 x the distance, plus 1 if the span does not govern the token.

    Args:
        tree: The tree.
        spans: Token spans of the aspects.
        word_classes: The class of each token; the span's own tokens count whatever their class.
        k: Maximum number of edges.
        rival_cut: Whether a token belongs only to the nearest span.

    Returns:
        Key by token index, one dict per span, in the order of `spans`.
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
    tree: DependencyTree,
    span: TokenSpan,
    ordered_spans: list[TokenSpan],
    word_classes: list[int],
    k: int,
) -> dict[int, int]:
    """Return the tokens of one span among the spans that it does not overlap."""
    first, last = span
    other_spans = [(a, b) for a, b in ordered_spans if not (first < b and a < last)]
    rank = bisect_left(other_spans, span)
    other_spans.insert(rank, span)
    return _token_shares(tree, other_spans, word_classes, k)[rank]


def _token_shares(
    tree: DependencyTree, ordered_spans: list[TokenSpan], word_classes: list[int], k: int
) -> list[dict[int, int]]:
    """Return the tokens within `k` of each span, each for its nearest span; no function words."""
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
        for t in range(first, last):  # one edge away only the words of other spans are cut
            for c in children[t]:
                if c not in rank_by_token and not word_classes[c]:
                    share[c] = 2
            h = heads[t]
            if h >= 0 and h not in rank_by_token and not word_classes[h]:
                share.setdefault(h, 3)
    return shares


def propagate_codes(tree: DependencyTree, codes: dict[int, int], k: int, n: int) -> dict[int, int]:
    """Spread the codes of some tokens to all tokens within `k` edges; the lowest code wins.

    A code is `key * n + rank`: rank identifies one of `n` spans, and key is 2 x distance, plus 1
    once the path has gone upwards. So the nearest span wins, then the one that governs, then the
    first.

    Args:
        tree: The tree.
        codes: Code by token; extended in place.
        k: Maximum number of edges.
        n: Number of spans.

    Returns:
        `codes`, with the code of every token reached.
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


@dataclass(frozen=True)
class PruningRules:
    """How much of a tree is kept."""

    k: int = 2
    """Edges from the aspect; at least 1."""
    rival_cut: bool = True
    drop: frozenset[str] = lexicon.DROPPED_RELATIONS


class AspectSubtree(NamedTuple):
    """The kept words of one aspect."""

    span: TokenSpan
    distance_keys: dict[int, int]
    """By token: 2 x its distance to the span, plus 1 if the span does not govern it."""
    word_classes: list[int]
    """`lexicon.word_class` of every token, shared by all aspects of the post."""


def prune(
    tree: DependencyTree, spans: Sequence[TokenSpan], rules: PruningRules
) -> list[AspectSubtree]:
    """Return the subtree of each span, in order; an empty span `(i, i)` keeps nothing.

    Args:
        tree: The tree.
        spans: Token spans of the aspects.
        rules: How much is kept.
    """
    word_classes = classify_words(tree, rules.drop)
    negators = _negators(tree, word_classes)
    predicate_tokens = _predicate_tokens(tree)
    subtrees = []
    token_shares = assign_nearest_tokens(
        tree, spans, word_classes, rules.k, rival_cut=rules.rival_cut
    )
    for span, distance_keys in zip(spans, token_shares, strict=True):
        _add_governors(tree, span, distance_keys, word_classes, predicate_tokens)
        if negators:
            _add_negators(tree, negators, distance_keys)
        subtrees.append(AspectSubtree(span, distance_keys, word_classes))
    return subtrees


def predicate_subtree(tree: DependencyTree, rules: PruningRules) -> AspectSubtree:
    """Return the subtree of a whole post: its main predicates and all words within `k` of them.

    Args:
        tree: The tree.
        rules: How much is kept.
    """
    word_classes = classify_words(tree, rules.drop)
    roots = {r: 0 for r in tree.roots() if not word_classes[r]}
    distance_keys = propagate_codes(tree, roots, rules.k, 1)
    distance_keys = {t: key for t, key in distance_keys.items() if not word_classes[t]}
    _add_negators(tree, _negators(tree, word_classes), distance_keys)
    return AspectSubtree((0, 0), distance_keys, word_classes)


def classify_words(tree: DependencyTree, drop: frozenset[str]) -> list[int]:
    """Return the class of each token; without junk, only dropped relations are checked.

    Args:
        tree: The tree.
        drop: Relations of function words.
    """
    lower, rels = tree.lower, tree.rels
    if lexicon.may_hold_junk(tree.text, lower):
        word_classes = [lexicon.word_class(w, r, drop) for w, r in zip(lower, rels, strict=True)]
        _mark_mention_names(lower, word_classes)
    else:
        word_classes = [0] * len(lower)
        for i, rel in enumerate(rels):
            if rel in drop or (":" in rel and rel.partition(":")[0] in drop):
                word_classes[i] = (
                    lexicon.CONTENT_WORD
                    if lexicon.carries_sentiment(lower[i])
                    else lexicon.FUNCTION_WORD
                )
    if tree.text.count("!") > 1:
        _keep_exclamations(lower, word_classes)
    return word_classes


def _mark_mention_names(lower: list[str], word_classes: list[int]) -> None:
    """Junk in tokenised tweets: what follows a bare `@` is the name of the mention."""
    for i in range(1, len(lower)):
        if lower[i - 1] == "@":
            word_classes[i] = lexicon.JUNK_WORD


def _keep_exclamations(lower: list[str], word_classes: list[int]) -> None:
    """Keep a run of `!` that the tokenizer split."""
    for i in range(1, len(lower)):
        if lower[i] == "!" and lower[i - 1] == "!":
            word_classes[i - 1] = word_classes[i] = lexicon.CONTENT_WORD


def _add_governors(
    tree: DependencyTree,
    span: TokenSpan,
    distance_keys: dict[int, int],
    word_classes: list[int],
    predicate_tokens: set[int],
) -> None:
    """Keep the path from the span up to its main predicate; nothing if there is none."""
    heads, tags = tree.heads, tree.tags
    key = 1
    chain: list[tuple[int, int]] = []
    i = span_head(tree, span, word_classes)
    while i >= 0:
        if tags[i] in _PREDICATE_TAGS or i in predicate_tokens:
            for token, distance_key in chain:
                distance_keys.setdefault(token, distance_key)
            return
        i = heads[i]
        key += 2
        if i >= 0 and word_classes[i] != lexicon.JUNK_WORD:
            chain.append((i, key))


def span_head(tree: DependencyTree, span: TokenSpan, word_classes: list[int]) -> int:
    """Return the first token governed from outside the span, content words first; -1 if empty.

    Args:
        tree: The tree.
        span: The span.
        word_classes: The class of each token.
    """
    first, last = span
    fallback = -1
    for i in range(first, last):
        if not first <= tree.heads[i] < last:
            if not word_classes[i]:
                return i
            if fallback < 0:
                fallback = i
    return fallback


def _predicate_tokens(tree: DependencyTree) -> set[int]:
    """Return tokens that are predicates whatever their tag: with a copula, or untagged clauses."""
    heads, rels = tree.heads, tree.rels
    indices = {heads[i] for i, rel in enumerate(rels) if rel == "cop"} if "cop" in rels else set()
    if "" in tree.tags:
        tags = tree.tags
        indices |= {
            i
            for i, r in enumerate(rels)
            if not tags[i] and r.partition(":")[0] in _CLAUSE_RELATIONS
        }
    return indices


_PREDICATE_TAGS = lexicon.word_set("VB VBD VBG VBN VBP VBZ JJ JJR JJS VERB AUX ADJ")
_CLAUSE_RELATIONS = lexicon.word_set("root ROOT conj ccomp xcomp advcl acl relcl parataxis")


def _negators(tree: DependencyTree, word_classes: list[int]) -> set[int]:
    negator_words, rels = lexicon.NEGATORS, tree.rels
    indices = {i for i, w in enumerate(tree.lower) if w in negator_words or rels[i] == "neg"}
    return {i for i in indices if word_classes[i] != lexicon.JUNK_WORD} if indices else indices


def _add_negators(tree: DependencyTree, negators: set[int], distance_keys: dict[int, int]) -> None:
    """Keep the negators of kept words, recursively."""
    pending = list(distance_keys)
    for i in pending:  # grows during iteration
        for c in tree.children[i]:
            if c in negators and c not in distance_keys:
                distance_keys[c] = distance_keys[i] | 1
                pending.append(c)
