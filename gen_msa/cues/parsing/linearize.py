"""Kept words written out as text, in three interchangeable forms. Knows nothing of parsers.

    phrase   battery is awful ... lasts an hour
    triples  battery -nsubj-> awful ; is -cop-> awful
    paths    awful (subject: battery, also: lasts); lasts (how long: hour)

The order of triples and paths is by distance from the aspect, then by position; a phrase keeps the
order of the text. The same kept words give the same bytes.

    FORMS["phrase"](tree, kept, "battery", 60)
"""

from collections.abc import Callable

from gen_msa.cues.parsing.lexicon import JUNK_WORD, LONGEST_WORD, MODALS, NEGATORS, word_set
from gen_msa.cues.parsing.pruning import AspectSubtree
from gen_msa.cues.parsing.tree import DependencyTree

# Names of dependency relations in plain words, seen from the governor.

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
"""Relations that go unsaid in words."""

UNMARKED_RELATIONS = word_set("ccomp xcomp poss nsubj nsubjpass conj")
"""Relations named by themselves though the dependent may have a preposition or a conjunction."""


def relation_name(rel: str) -> str:
    """The relation's name, or that of its general kind, or the label itself when unknown."""
    return _RELATION_NAMES.get(rel) or _RELATION_NAMES.get(rel.partition(":")[0], rel)


Linearizer = Callable[[DependencyTree, AspectSubtree, str, int], str]
"""Tree, what is kept of it, the aspect's term, and the most words to write."""

Edge = tuple[str, str, str]
"""Dependent, relation, governor: as words, the aspect's span as one word."""


def write_phrase(tree: DependencyTree, subtree: AspectSubtree, term: str, max_words: int) -> str:
    """The kept words as they stand in the text, with ` ... ` where others were left out.

    Small words between two kept ones are written ("not the best"), as long as there is room.
    """
    order = sorted(subtree.distance_keys)
    if len(order) > max_words:
        order = sorted(_nearest_tokens(tree, subtree, max_words))
    text = _text_slices(tree, subtree.word_classes, order, bridge_function_words=True)
    if text.count(" ") - text.count(" ... ") >= max_words:
        text = _text_slices(tree, subtree.word_classes, order, bridge_function_words=False)
    return text


def _nearest_tokens(tree: DependencyTree, subtree: AspectSubtree, max_words: int) -> set[int]:
    """The nearest `most` words; a word comes with its negators or not at all."""
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
    """Pieces of the text that hold the tokens in `order`, bridged over small words or by `...`."""
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
    """Where a piece that begins with token `i` is cut: before "ca" where "n't" is kept alone."""
    is_split_contraction = (
        tree.lower[i] in _ENDINGS and i > 0 and tree.starts[i] == tree.ends[i - 1]
    )
    return i - 1 if is_split_contraction else i


_ENDINGS = frozenset({"n't", "n’t", "nt"})


def subtree_edges(tree: DependencyTree, subtree: AspectSubtree, term: str) -> list[Edge]:
    """Every edge between two kept words, once; by distance of its farther end, then by position."""
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
    """`good -amod-> phone ; not -neg-> works`: one triple an edge. `read_triples` reads it back."""
    parts: list[str] = []
    remaining_words = max_words
    for dependent, rel, governor in subtree_edges(tree, subtree, term):
        remaining_words -= len(dependent.split()) + len(governor.split())
        if remaining_words < 0:
            break
        parts.append(f"{dependent} -{rel}-> {governor}")
    return " ; ".join(parts)


def parse_triples(text: str) -> list[Edge]:
    """The edges that `triples` wrote, in its order."""
    parsed_edges = []
    for piece in text.split(" ; ") if text else []:
        dependent, _, tail = piece.partition(" -")
        rel, _, governor = tail.partition("-> ")
        parsed_edges.append((dependent, rel, governor))
    return parsed_edges


def single_token(text: str) -> str:
    """A token or term that cannot be taken for a part of a triple: no `;`, arrow or long blank."""
    if len(text) > LONGEST_WORD:
        text = text[:LONGEST_WORD] + "…"
    return " ".join(text.split()).replace(";", ",").replace(" -", " –").replace("->", "→")


def _relation_label(rel: str) -> str:
    return "".join(rel.split()).replace(">", "") or "dep"


def write_paths(tree: DependencyTree, subtree: AspectSubtree, term: str, max_words: int) -> str:
    """`works (subject: phone, negated by: not)`: each kept governor with what hangs on it."""
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
        text = f"{single_token(term if first <= h < last else tree.token_text(h))} ({', '.join(dependents[h])})"
        remaining_words -= len(text.split())
        if remaining_words < 0:
            break
        parts.append(text)
    return "; ".join(parts)


def _relation_phrase(tree: DependencyTree, i: int) -> str:
    """How token `i` hangs on its governor, in words; "" when it goes unsaid."""
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
