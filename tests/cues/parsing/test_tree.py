"""Light trees: places of tokens, parses that cannot be used, function words put below content."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gen_msa.cues.parsing.tree import Tree, from_parse, usable
from gen_msa.types import Parse, Token
from tests.cues.parsing.trees import SCREEN_CLEARNLP, SCREEN_UNIVERSAL, post_of, tree_of, trees


def heads_of(tree: Tree) -> dict[str, str]:
    return {
        f"{w}{i}": f"{tree.lower[h]}{h}" if h >= 0 else ""
        for i, (w, h) in enumerate(zip(tree.lower, tree.heads, strict=True))
    }


@given(trees())
def test_a_tree_stays_a_forest_whatever_is_lifted(tree: Tree) -> None:
    for i in range(len(tree.heads)):
        steps = 0
        while i >= 0:
            i = tree.heads[i]
            steps += 1
            assert steps <= len(tree.heads)
    below = [c for cs in tree.children for c in cs]
    assert sorted(below + tree.roots()) == list(range(len(tree.heads)))


def test_both_label_schemes_give_words_of_content_the_same_heads() -> None:
    one, other = (post_of(r) for r in (SCREEN_CLEARNLP, SCREEN_UNIVERSAL))
    assert one.parse is not None
    assert other.parse is not None
    clearnlp = from_parse(one.text, one.parse)
    universal = from_parse(other.text, other.parse)
    changed = [i for i in range(9) if clearnlp.heads[i] != universal.heads[i]]
    assert [clearnlp.lower[i] for i in changed] == ["but"]  # a conjunction is dropped anyway


def test_a_preposition_is_put_below_its_object() -> None:
    words, heads = ["menu", "of", "the", "place"], [-1, 0, 3, 1]
    tree = tree_of(words, heads, ["ROOT", "prep", "det", "pobj"], ["NN", "IN", "DT", "NN"])
    assert tree.heads == [-1, 3, 3, 0]
    assert tree.rels == ["ROOT", "case", "det", "pobj"]


def test_a_preposition_before_a_clause_with_a_copula_is_put_below_its_predicate() -> None:
    words = ["talk", "about", "being", "late"]
    tree = tree_of(
        words, [-1, 0, 1, 2], ["ROOT", "prep", "pcomp", "acomp"], ["VB", "IN", "VBG", "JJ"]
    )
    assert tree.heads == [-1, 3, 3, 0]
    assert tree.rels == ["ROOT", "mark", "cop", "pcomp"]


@pytest.mark.parametrize(
    ("place", "tokens"),
    [((0, 3), (0, 1)), ((4, 10), (1, 2)), ((2, 6), (0, 2)), ((3, 4), (1, 1)), ((0, 10), (0, 2)),
     ((50, 60), (2, 2))],
)  # fmt: skip
def test_a_span_is_the_tokens_under_its_characters(
    place: tuple[int, int], tokens: tuple[int, int]
) -> None:
    tree = tree_of(["The", "screen"], [1, -1], ["det", "root"], ["DT", "NN"])
    assert tree.span(*place) == tokens


@given(st.lists(st.integers(-1, 6), min_size=1, max_size=6))
def test_a_parse_is_usable_only_when_its_heads_make_a_forest(heads: list[int]) -> None:
    tokens = tuple(Token(text="x", start=2 * i, head=h, rel="dep") for i, h in enumerate(heads))

    def reaches_a_root(i: int) -> bool:
        for _ in heads:
            if i >= len(heads):
                return False
            if i >= 0:
                i = heads[i]
        return i == -1

    good = all(reaches_a_root(i) for i in range(len(heads)))
    assert usable("x " * len(heads), Parse(tokens=tokens, by="hand")) == good


def test_a_parse_of_another_text_is_not_usable() -> None:
    parse = Parse(tokens=(Token(text="screen", start=4, head=-1, rel="root"),), by="hand")
    assert usable("The screen", parse)
    assert not usable("The phone!", parse)
    assert not usable("The screen", Parse(tokens=(), by="hand"))
