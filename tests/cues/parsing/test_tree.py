"""Test light trees: token offsets, unusable parses, function words below content words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gen_msa.cues.parsing.tree import DependencyTree, is_usable, tree_from_parse
from gen_msa.types import Parse, Token
from tests.cues.parsing.trees import SCREEN_CLEARNLP, SCREEN_UNIVERSAL, post_of, tree_of, trees


def heads_of(tree: DependencyTree) -> dict[str, str]:
    return {
        f"{w}{i}": f"{tree.lower[h]}{h}" if h >= 0 else ""
        for i, (w, h) in enumerate(zip(tree.lower, tree.heads, strict=True))
    }


@given(trees())
def test_promoting_content_heads_keeps_forest(tree: DependencyTree) -> None:
    for i in range(len(tree.heads)):
        steps = 0
        while i >= 0:
            i = tree.heads[i]
            steps += 1
            assert steps <= len(tree.heads)
    below = [c for cs in tree.children for c in cs]
    assert sorted(below + tree.roots()) == list(range(len(tree.heads)))


def test_label_schemes_give_content_words_same_heads() -> None:
    clearnlp_post, universal_post = (post_of(r) for r in (SCREEN_CLEARNLP, SCREEN_UNIVERSAL))
    assert clearnlp_post.parse is not None
    assert universal_post.parse is not None
    clearnlp = tree_from_parse(clearnlp_post.text, clearnlp_post.parse)
    universal = tree_from_parse(universal_post.text, universal_post.parse)
    changed = [i for i in range(9) if clearnlp.heads[i] != universal.heads[i]]
    assert [clearnlp.lower[i] for i in changed] == ["but"]  # a conjunction is dropped anyway


def test_preposition_attaches_to_its_object() -> None:
    words, heads = ["menu", "of", "the", "place"], [-1, 0, 3, 1]
    tree = tree_of(words, heads, ["ROOT", "prep", "det", "pobj"], ["NN", "IN", "DT", "NN"])
    assert tree.heads == [-1, 3, 3, 0]
    assert tree.rels == ["ROOT", "case", "det", "pobj"]


def test_preposition_before_copular_clause_attaches_to_predicate() -> None:
    words = ["talk", "about", "being", "late"]
    tree = tree_of(
        words, [-1, 0, 1, 2], ["ROOT", "prep", "pcomp", "acomp"], ["VB", "IN", "VBG", "JJ"]
    )
    assert tree.heads == [-1, 3, 3, 0]
    assert tree.rels == ["ROOT", "mark", "cop", "pcomp"]


@pytest.mark.parametrize(
    ("char_span", "tokens"),
    [((0, 3), (0, 1)), ((4, 10), (1, 2)), ((2, 6), (0, 2)), ((3, 4), (1, 1)), ((0, 10), (0, 2)),
     ((50, 60), (2, 2))],
)  # fmt: skip
def test_token_span_covers_character_span(
    char_span: tuple[int, int], tokens: tuple[int, int]
) -> None:
    tree = tree_of(["The", "screen"], [1, -1], ["det", "root"], ["DT", "NN"])
    assert tree.token_span(*char_span) == tokens


@given(st.lists(st.integers(-1, 6), min_size=1, max_size=6))
def test_parse_is_usable_only_if_heads_form_a_forest(heads: list[int]) -> None:
    tokens = tuple(Token(text="x", start=2 * i, head=h, rel="dep") for i, h in enumerate(heads))

    def reaches_a_root(i: int) -> bool:
        for _ in heads:
            if i >= len(heads):
                return False
            if i >= 0:
                i = heads[i]
        return i == -1

    is_forest = all(reaches_a_root(i) for i in range(len(heads)))
    assert is_usable("x " * len(heads), Parse(tokens=tokens, parser="hand")) == is_forest


def test_parse_of_other_text_is_not_usable() -> None:
    parse = Parse(tokens=(Token(text="screen", start=4, head=-1, rel="root"),), parser="hand")
    assert is_usable("The screen", parse)
    assert not is_usable("The phone!", parse)
    assert not is_usable("The screen", Parse(tokens=(), parser="hand"))
