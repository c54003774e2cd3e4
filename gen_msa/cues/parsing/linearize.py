"""Write the words of a pruned tree as text, in three forms.

    phrase   battery is awful ... lasts an hour
    triples  battery -nsubj-> awful ; is -cop-> awful
    paths    awful (subject: battery, also: lasts); lasts (how long: hour)

Triples and paths are ordered by distance from the aspect, then by position; a phrase keeps the
order of the text. Equal subtrees give equal text.

    FORMS["phrase"](tree, subtree, "battery", 60)
"""

from collections.abc import Callable

from gen_msa.cues.parsing.lexicon import JUNK_WORD, LONGEST_WORD, MODALS, NEGATORS, word_set
from gen_msa.cues.parsing.pruning import AspectSubtree
from gen_msa.cues.parsing.tree import DependencyTree

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
