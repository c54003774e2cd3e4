"""Kept words written out as text, in three interchangeable forms. Knows nothing of parsers.

    phrase   battery is awful ... lasts an hour
    triples  battery -nsubj-> awful ; is -cop-> awful
    paths    awful (subject: battery, also: lasts); lasts (how long: hour)

The order of triples and paths is by distance from the aspect, then by position; a phrase keeps the
order of the text. The same kept words give the same bytes.

    FORMS["phrase"](tree, kept, "battery", 60)
"""

from collections.abc import Callable

from gen_msa.cues.parsing.pruning import Kept
from gen_msa.cues.parsing.relations import FUNCTION, UNMARKED, in_words
from gen_msa.cues.parsing.tree import Tree
from gen_msa.cues.parsing.words import JUNK, LONGEST_WORD, MODALS, NEGATORS

Form = Callable[[Tree, Kept, str, int], str]
"""Tree, what is kept of it, the aspect's term, and the most words to write."""

Edge = tuple[str, str, str]
"""Dependent, relation, governor: as words, the aspect's span as one word."""


def phrase(tree: Tree, kept: Kept, term: str, most: int) -> str:
    """The kept words as they stand in the text, with ` ... ` where others were left out.

    Small words between two kept ones are written ("not the best"), as long as there is room.
    """
    order = sorted(kept.near)
    if len(order) > most:
        order = sorted(_nearest(tree, kept, most))
    text = _slices(tree, kept.weights, order, small=True)
    if text.count(" ") - text.count(" ... ") >= most:
        text = _slices(tree, kept.weights, order, small=False)
    return text


def _nearest(tree: Tree, kept: Kept, most: int) -> set[int]:
    """The nearest `most` words; a word comes with its negators or not at all."""
    near, first, last = kept.near, *kept.span
    chosen: set[int] = set()
    for i in sorted(near, key=lambda t: (near[t] // 2, t)):
        unit = {i, *(c for c in tree.children[i] if c in near and tree.lower[c] in NEGATORS)}
        if len(chosen | unit) > most:
            break
        chosen |= unit
    return chosen or set(range(first, min(last, first + most)))


def _slices(tree: Tree, weights: list[int], order: list[int], *, small: bool) -> str:
    """Pieces of the text that hold the tokens in `order`, bridged over small words or by `...`."""
    text, starts, ends = tree.text, tree.starts, tree.ends
    pieces: list[str] = []
    begin = last = -1
    for i in order:
        if begin < 0:
            begin = _from(tree, i)
        elif i > last + 1:
            gap = weights[last + 1 : i]
            if not small or 0 in gap or JUNK in gap:
                pieces += (text[starts[begin] : ends[last]], " ... " if 0 in gap else " ")
                begin = _from(tree, i)
        last = i
    if begin >= 0:
        pieces.append(text[starts[begin] : ends[last]])
    return " ".join("".join(pieces).split())


def _from(tree: Tree, i: int) -> int:
    """Where a piece that begins with token `i` is cut: before "ca" where "n't" is kept alone."""
    halved = tree.lower[i] in _ENDINGS and i > 0 and tree.starts[i] == tree.ends[i - 1]
    return i - 1 if halved else i


_ENDINGS = frozenset({"n't", "n’t", "nt"})


def edges(tree: Tree, kept: Kept, term: str) -> list[Edge]:
    """Every edge between two kept words, once; by distance of its farther end, then by position."""
    near, (first, last) = kept.near, kept.span
    aspect = one_word(term)
    found: list[tuple[int, int, Edge]] = []
    for i in near:
        h = tree.heads[i]
        inside, above = first <= i < last, first <= h < last
        if h in near and not (inside and (above or kept.weights[i])):
            dependent = aspect if inside else one_word(tree.word(i))
            governor = aspect if above else one_word(tree.word(h))
            key = max(near[i], near[h]) // 2
            found.append((key, i, (dependent, _label(tree.rels[i]), governor)))
    return list(dict.fromkeys(edge for _, _, edge in sorted(found)))


def triples(tree: Tree, kept: Kept, term: str, most: int) -> str:
    """`good -amod-> phone ; not -neg-> works`: one triple an edge. `read_triples` reads it back."""
    written: list[str] = []
    room = most
    for dependent, rel, governor in edges(tree, kept, term):
        room -= len(dependent.split()) + len(governor.split())
        if room < 0:
            break
        written.append(f"{dependent} -{rel}-> {governor}")
    return " ; ".join(written)


def read_triples(text: str) -> list[Edge]:
    """The edges that `triples` wrote, in its order."""
    found = []
    for piece in text.split(" ; ") if text else []:
        dependent, _, rest = piece.partition(" -")
        rel, _, governor = rest.partition("-> ")
        found.append((dependent, rel, governor))
    return found


def one_word(text: str) -> str:
    """A token or term that cannot be taken for a part of a triple: no `;`, arrow or long blank."""
    if len(text) > LONGEST_WORD:
        text = text[:LONGEST_WORD] + "…"
    return " ".join(text.split()).replace(";", ",").replace(" -", " –").replace("->", "→")


def _label(rel: str) -> str:
    return "".join(rel.split()).replace(">", "") or "dep"


def paths(tree: Tree, kept: Kept, term: str, most: int) -> str:
    """`works (subject: phone, negated by: not)`: each kept governor with what hangs on it."""
    near, (first, last) = kept.near, kept.span
    said: dict[int, list[str]] = {}
    for i in sorted(near, key=lambda t: (near[t] // 2, t)):
        h = tree.heads[i]
        inside, above = first <= i < last, first <= h < last
        within = inside and (above or kept.weights[i])
        name = "" if h not in near or within else _link(tree, i)
        if name:
            word = one_word(term if inside else tree.word(i))
            said.setdefault(first if above else h, []).append(f"{name}: {word}")
    written: list[str] = []
    room = most
    for h in sorted(said, key=lambda t: (near[t] // 2, t)):
        text = f"{one_word(term if first <= h < last else tree.word(h))} ({', '.join(said[h])})"
        room -= len(text.split())
        if room < 0:
            break
        written.append(text)
    return "; ".join(written)


def _link(tree: Tree, i: int) -> str:
    """How token `i` hangs on its governor, in words; "" when it goes unsaid."""
    rel = tree.rels[i].partition(":")[0]
    if rel == "neg" or tree.lower[i] in NEGATORS:
        return "negated by"
    if rel.startswith("aux") and (tree.tags[i] == "MD" or tree.lower[i] in MODALS):
        return "modal"
    if rel in FUNCTION:
        return ""
    if rel not in UNMARKED:
        for c in tree.children[i]:
            if tree.rels[c] in ("case", "mark"):
                return tree.lower[c]
    return in_words(tree.rels[i])


FORMS: dict[str, Form] = {"phrase": phrase, "triples": triples, "paths": paths}
