"""Prune a dependency tree around an aspect, and write its words as text in three forms.

    phrase   battery is awful ... lasts an hour
    triples  battery -nsubj-> awful ; is -cop-> awful
    paths    awful (subject: battery, also: lasts); lasts (how long: hour)

Triples and paths are ordered by distance from the aspect, then by position; a phrase keeps the
order of the text. Equal subtrees give equal text.

    FORMS["phrase"](tree, subtree, "battery", 60)
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from gen_msa.cues.parsing import lexicon
from gen_msa.cues.parsing.lexicon import JUNK_WORD, LONGEST_WORD, MODALS, NEGATORS, word_set
from gen_msa.cues.parsing.tree import DependencyTree

# Aspect-centred pruning of a dependency tree: which words of a sentence belong to which aspect.

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


# Names of dependency relations in plain words, from the governor's view.
_RELATION_NAMES = {
    "acl": "which",
    "acomp": "complement",
    "advcl": "with clause",
    "advmod": "how",
    "agent": "by",
    "amod": "described by",
    "appos": "also called",
    "attr": "complement",
    "ccomp": "that",
    "compound": "kind",
    "compound:prt": "particle",
    "conj": "together with",
    "csubj": "subject",
    "csubjpass": "undergoer",
    "dative": "to",
    "dobj": "object",
    "flat": "name",
    "iobj": "to",
    "nmod": "kind",
    "nmod:poss": "whose",
    "npadvmod": "how",
    "nsubj": "subject",
    "nsubj:pass": "undergoer",
    "nsubjpass": "undergoer",
    "nummod": "number",
    "obj": "object",
    "obl": "with",
    "obl:npmod": "how",
    "obl:tmod": "when",
    "pcomp": "with",
    "pobj": "with",
    "oprd": "complement",
    "parataxis": "also",
    "poss": "whose",
    "prep": "with",
    "prt": "particle",
    "quantmod": "how",
    "relcl": "which",
    "xcomp": "complement",
}

SILENT_RELATIONS = word_set("aux auxpass case cc cop dep det expl mark meta preconj predet punct")
"""Relations that are not written in words."""

UNMARKED_RELATIONS = word_set("ccomp xcomp poss nsubj nsubjpass conj")
"""Relations written by name even if the dependent has a preposition or a conjunction."""


def relation_name(rel: str) -> str:
    """Return the relation's name, or that of its general kind, or the label if unknown."""
    return _RELATION_NAMES.get(rel) or _RELATION_NAMES.get(rel.partition(":")[0], rel)


Linearizer = Callable[[DependencyTree, AspectSubtree, str, int], str]
"""Arguments: tree, kept words, the aspect's term, and the maximum number of words."""

Edge = tuple[str, str, str]
"""Dependent, relation and governor as text; the aspect's span is one word."""


def write_phrase(tree: DependencyTree, subtree: AspectSubtree, term: str, max_words: int) -> str:
    """Write the words of a subtree as they are in the text, with ` ... ` for gaps.

    Function words between two kept words are included ("not the best") while there is room.

    Args:
        tree: The tree.
        subtree: The kept words.
        term: The aspect's term; not used by this form.
        max_words: Maximum number of words.

    Returns:
        Slices of the text, in its order; empty if no word is kept.
    """
    order = sorted(subtree.distance_keys)
    if len(order) > max_words:
        order = sorted(_nearest_tokens(tree, subtree, max_words))
    text = _text_slices(tree, subtree.word_classes, order, bridge_function_words=True)
    if text.count(" ") - text.count(" ... ") >= max_words:
        text = _text_slices(tree, subtree.word_classes, order, bridge_function_words=False)
    return text


def _nearest_tokens(tree: DependencyTree, subtree: AspectSubtree, max_words: int) -> set[int]:
    """Return the nearest `max_words` words; a word is included with its negators or not at all."""
    distance_keys, first, last = subtree.distance_keys, *subtree.span
    selected: set[int] = set()
    for i in sorted(distance_keys, key=lambda t: (distance_keys[t] // 2, t)):
        token_group = {
            i,
            *(c for c in tree.children[i] if c in distance_keys and tree.lower[c] in NEGATORS),
        }
        if len(selected | token_group) > max_words:
            break
        selected |= token_group
    return selected or set(range(first, min(last, first + max_words)))


def _text_slices(
    tree: DependencyTree, word_classes: list[int], order: list[int], *, bridge_function_words: bool
) -> str:
    """Join the text slices of the tokens in `order`, bridged over function words or by `...`."""
    text, starts, ends = tree.text, tree.starts, tree.ends
    pieces: list[str] = []
    begin = last = -1
    for i in order:
        if begin < 0:
            begin = _slice_start(tree, i)
        elif i > last + 1:
            gap = word_classes[last + 1 : i]
            if not bridge_function_words or 0 in gap or JUNK_WORD in gap:
                pieces += (text[starts[begin] : ends[last]], " ... " if 0 in gap else " ")
                begin = _slice_start(tree, i)
        last = i
    if begin >= 0:
        pieces.append(text[starts[begin] : ends[last]])
    return " ".join("".join(pieces).split())


def _slice_start(tree: DependencyTree, i: int) -> int:
    """Return where a slice with token `i` starts: before "ca" if "n't" is kept alone."""
    is_split_contraction = (
        tree.lower[i] in _ENDINGS and i > 0 and tree.starts[i] == tree.ends[i - 1]
    )
    return i - 1 if is_split_contraction else i


_ENDINGS = frozenset({"n't", "n’t", "nt"})


def subtree_edges(tree: DependencyTree, subtree: AspectSubtree, term: str) -> list[Edge]:
    """Return every edge between two kept words, by distance of its far end, then position.

    Args:
        tree: The tree.
        subtree: The kept words.
        term: The aspect's term, which replaces the words of its span.
    """
    distance_keys, (first, last) = subtree.distance_keys, subtree.span
    aspect = single_token(term)
    sortable_edges: list[tuple[int, int, Edge]] = []
    for i in distance_keys:
        h = tree.heads[i]
        dependent_in_span, governor_in_span = first <= i < last, first <= h < last
        if h in distance_keys and not (
            dependent_in_span and (governor_in_span or subtree.word_classes[i])
        ):
            dependent = aspect if dependent_in_span else single_token(tree.token_text(i))
            governor = aspect if governor_in_span else single_token(tree.token_text(h))
            key = max(distance_keys[i], distance_keys[h]) // 2
            sortable_edges.append((key, i, (dependent, _relation_label(tree.rels[i]), governor)))
    return list(dict.fromkeys(edge for _, _, edge in sorted(sortable_edges)))


def write_triples(tree: DependencyTree, subtree: AspectSubtree, term: str, max_words: int) -> str:
    """Write one triple per edge: `good -amod-> phone ; not -neg-> works`; see `parse_triples`.

    Args:
        tree: The tree.
        subtree: The kept words.
        term: The aspect's term, which replaces the words of its span.
        max_words: Maximum number of words.

    Returns:
        The triples, separated by ` ; `; the first that would exceed `max_words` and all after it
        are left out. Empty if there is no edge.
    """
    parts: list[str] = []
    remaining_words = max_words
    for dependent, rel, governor in subtree_edges(tree, subtree, term):
        remaining_words -= len(dependent.split()) + len(governor.split())
        if remaining_words < 0:
            break
        parts.append(f"{dependent} -{rel}-> {governor}")
    return " ; ".join(parts)


def parse_triples(text: str) -> list[Edge]:
    """Parse the edges that `write_triples` wrote, in order."""
    parsed_edges = []
    for piece in text.split(" ; ") if text else []:
        dependent, _, tail = piece.partition(" -")
        rel, _, governor = tail.partition("-> ")
        parsed_edges.append((dependent, rel, governor))
    return parsed_edges


def single_token(text: str) -> str:
    """Return a token or term without characters that have a meaning in triples."""
    if len(text) > LONGEST_WORD:
        text = text[:LONGEST_WORD] + "…"
    return " ".join(text.split()).replace(";", ",").replace(" -", " –").replace("->", "→")


def _relation_label(rel: str) -> str:
    return "".join(rel.split()).replace(">", "") or "dep"


def write_paths(tree: DependencyTree, subtree: AspectSubtree, term: str, max_words: int) -> str:
    """Write each kept governor with its dependents: `works (subject: phone, negated by: not)`.

    Args:
        tree: The tree.
        subtree: The kept words.
        term: The aspect's term, which replaces the words of its span.
        max_words: Maximum number of words.

    Returns:
        The governors with their dependents, separated by `; `, nearest first; the first that would
        exceed `max_words` and all after it are left out. Empty if no dependent has a relation.
    """
    distance_keys, (first, last) = subtree.distance_keys, subtree.span
    dependents: dict[int, list[str]] = {}
    for i in sorted(distance_keys, key=lambda t: (distance_keys[t] // 2, t)):
        h = tree.heads[i]
        dependent_in_span, governor_in_span = first <= i < last, first <= h < last
        is_internal = dependent_in_span and (governor_in_span or subtree.word_classes[i])
        name = "" if h not in distance_keys or is_internal else _relation_phrase(tree, i)
        if name:
            token = single_token(term if dependent_in_span else tree.token_text(i))
            dependents.setdefault(first if governor_in_span else h, []).append(f"{name}: {token}")
    parts: list[str] = []
    remaining_words = max_words
    for h in sorted(dependents, key=lambda t: (distance_keys[t] // 2, t)):
        governor = single_token(term if first <= h < last else tree.token_text(h))
        text = f"{governor} ({', '.join(dependents[h])})"
        remaining_words -= len(text.split())
        if remaining_words < 0:
            break
        parts.append(text)
    return "; ".join(parts)


def _relation_phrase(tree: DependencyTree, i: int) -> str:
    """Return the relation of token `i` to its governor in words; "" if it is not written."""
    rel = tree.rels[i].partition(":")[0]
    if rel == "neg" or tree.lower[i] in NEGATORS:
        return "negated by"
    if rel.startswith("aux") and (tree.tags[i] == "MD" or tree.lower[i] in MODALS):
        return "modal"
    if rel in SILENT_RELATIONS:
        return ""
    if rel not in UNMARKED_RELATIONS:
        for c in tree.children[i]:
            if tree.rels[c] in ("case", "mark"):
                return tree.lower[c]
    return relation_name(tree.rels[i])


FORMS: dict[str, Linearizer] = {
    "phrase": write_phrase,
    "triples": write_triples,
    "paths": write_paths,
}
