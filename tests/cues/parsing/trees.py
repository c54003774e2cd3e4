"""Trees for tests of the cues: random ones, and hand-made ones in both label schemes."""

from hypothesis import strategies as st

from gen_msa.cues.parsing.lexicon import word_set
from gen_msa.cues.parsing.tree import DependencyTree, build_tree
from gen_msa.types import Aspect, Parse, Post, Token

WORDS = sorted(
    word_set(
        "screen battery food waiter great awful slow is was the a and but very not never n't would"
        " loves , ! :) 😀 @joe http://t.co/x RT thing of with place don't"
    )
)
CLEARNLP = sorted(
    word_set("nsubj dobj amod neg det punct cc conj prep pobj pcomp acomp attr advmod expl aux")
)
UNIVERSAL = sorted(
    word_set("nsubj obj obl amod advmod det punct cc conj case cop nmod:poss acl:relcl expl")
)
TAGS = ("NN", "VBZ", "JJ", "RB", "IN", "", "NOUN", "VERB", "ADJ")


@st.composite
def trees(draw: st.DrawFn, max_words: int = 14) -> DependencyTree:
    """Draw forests of a limited number of words in either scheme."""
    n = draw(st.integers(1, max_words))
    words = draw(st.lists(st.sampled_from(WORDS), min_size=n, max_size=n))
    rels = st.sampled_from(draw(st.sampled_from([CLEARNLP, UNIVERSAL])))
    order = draw(st.permutations(range(n)))
    heads = [-1] * n
    for position, i in enumerate(order):
        if position and draw(st.integers(0, 9)):
            heads[i] = order[draw(st.integers(0, position - 1))]
    labels = [draw(rels) if h >= 0 else "root" for h in heads]
    return tree_of(words, heads, labels, [draw(st.sampled_from(TAGS)) for _ in words])


@st.composite
def trees_with_spans(draw: st.DrawFn) -> tuple[DependencyTree, list[tuple[int, int]]]:
    """Draw a tree and one to four spans in it, which may overlap."""
    tree = draw(trees())
    n = len(tree.heads)
    first = st.integers(0, n - 1)
    spans = st.tuples(first, st.integers(1, 3)).map(lambda s: (s[0], min(n, s[0] + s[1])))
    return tree, draw(st.lists(spans, min_size=1, max_size=4, unique=True))


def tree_of(words: list[str], heads: list[int], rels: list[str], tags: list[str]) -> DependencyTree:
    """Return the tree of words separated by single spaces."""
    ends, end = [], -1
    for word in words:
        end += len(word) + 1
        ends.append(end)
    starts = [e - len(w) for w, e in zip(words, ends, strict=True)]
    return build_tree(" ".join(words), starts, ends, list(heads), list(rels), list(tags))


def post_of(rows: str, *terms: str, id: str = "1") -> Post:
    """Return a post with its parse; rows are `word head relation tag`, heads from 1, 0 a root."""
    cells = [row.split() for row in rows.strip().splitlines()]
    text = " ".join(word for word, *_ in cells)
    offset, tokens = 0, []
    for word, head, rel, tag in cells:
        tokens.append(Token(text=word, start=offset, head=int(head) - 1, rel=rel, pos=tag))
        offset += len(word) + 1
    aspects = tuple(Aspect(term=t, start=text.index(t)) for t in terms)
    return Post(id=id, text=text, aspects=aspects, parse=Parse(tokens=tuple(tokens), parser="hand"))


SCREEN_UNIVERSAL = """
The 2 det DT
screen 4 nsubj NN
is 4 cop VBZ
great 0 root JJ
but 9 cc CC
the 7 det DT
battery 9 nsubj NN
is 9 cop VBZ
awful 4 conj JJ
"""
SCREEN_CLEARNLP = """
The 2 det DT
screen 3 nsubj NN
is 0 ROOT VBZ
great 3 acomp JJ
but 3 cc CC
the 7 det DT
battery 8 nsubj NN
is 3 conj VBZ
awful 8 acomp JJ
"""
NOT_WORTH = """
The 2 det DT
menu 8 nsubj NN
of 5 case IN
the 5 det DT
restaurant 2 nmod NN
is 8 cop VBZ
not 8 advmod RB
worth 0 root JJ
any 10 det DT
money 8 obj NN
"""
