"""What pruning promises, on thousands of random trees and on sentences parsed by hand."""

import random
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gen_msa.cues.parsing import from_parse
from gen_msa.cues.parsing.pruning import Kept, Pruning, predicates, prune, weigh
from gen_msa.cues.parsing.tree import Tree
from gen_msa.cues.parsing.words import DROP, JUNK, NEGATORS
from gen_msa.types import Post
from tests.cues.parsing.trees import (
    NOT_WORTH,
    SCREEN_CLEARNLP,
    SCREEN_UNIVERSAL,
    post_of,
    trees,
    trees_with_spans,
)

FAR = 100


def distances(tree: Tree, first: int, last: int) -> dict[int, int]:
    """Edges from the span to every token it reaches, the plain way."""
    far = dict.fromkeys(range(first, last), 0)
    queue = deque(far)
    while queue:
        i = queue.popleft()
        for j in (*tree.children[i], tree.heads[i]):
            if j >= 0 and j not in far:
                far[j] = far[i] + 1
                queue.append(j)
    return far


def words_of(tree: Tree, kept: Kept) -> set[str]:
    return {tree.lower[i] for i in kept.near}


def kept_of(post: Post, **rules: object) -> tuple[Tree, list[Kept]]:
    assert post.parse is not None
    tree = from_parse(post.text, post.parse)
    spans = [tree.span(a.start or 0, a.end or 0) for a in post.aspects]
    return tree, prune(tree, spans, Pruning(**rules))  # type: ignore[arg-type]


@pytest.mark.parametrize("rows", [SCREEN_UNIVERSAL, SCREEN_CLEARNLP])
def test_opposite_opinions_are_kept_apart_only_by_the_rival_cut(rows: str) -> None:
    opinions = {"great", "awful"}
    tree, cut = kept_of(post_of(rows, "screen", "battery"))
    assert [words_of(tree, k) & opinions for k in cut] == [{"great"}, {"awful"}]
    tree, uncut = kept_of(post_of(rows, "screen", "battery"), rival_cut=False)
    assert [words_of(tree, k) & opinions for k in uncut] == [opinions, opinions]


@given(trees_with_spans(), st.integers(1, 4), st.booleans())
def test_the_first_ring_is_kept_but_for_small_and_rivals_words(
    given: tuple[Tree, list[tuple[int, int]]], k: int, cut: bool
) -> None:
    tree, spans = given
    weights = weigh(tree, DROP)
    for (first, last), kept in zip(spans, prune(tree, spans, Pruning(k, cut)), strict=True):
        rivals = {i for a, b in spans if b <= first or last <= a for i in range(a, b)}
        ring = {i for i, d in distances(tree, first, last).items() if d == 1}
        assert {i for i in ring if not weights[i]} - (rivals if cut else set()) <= set(kept.near)
        assert set(range(first, last)) <= set(kept.near)


@given(trees_with_spans(), st.integers(1, 4), st.booleans())
def test_a_larger_k_never_keeps_less(
    given: tuple[Tree, list[tuple[int, int]]], k: int, cut: bool
) -> None:
    tree, spans = given
    near, far = (prune(tree, spans, Pruning(k + more, cut)) for more in (0, 1))
    assert all(set(a.near) <= set(b.near) for a, b in zip(near, far, strict=True))


@given(trees_with_spans())
def test_one_aspect_and_any_distance_keep_its_whole_sentence_but_small_words(
    given: tuple[Tree, list[tuple[int, int]]],
) -> None:
    tree, spans = given
    weights = weigh(tree, DROP)
    (first, last), near = spans[0], prune(tree, spans[:1], Pruning(FAR))[0].near
    reached = distances(tree, first, last)
    wanted = {i for i in reached if not weights[i] or first <= i < last}
    climbed = {i for i in set(near) - wanted if weights[i] != JUNK}  # small words on the way up
    assert wanted <= set(near)
    assert set(near) - wanted == climbed


def test_a_whole_sentence_is_kept_but_for_its_articles() -> None:
    tree, (kept,) = kept_of(post_of(NOT_WORTH, "menu"), k=FAR)
    words = " ".join(tree.word(i) for i in sorted(kept.near))
    assert words == "menu of restaurant is not worth money"


@given(trees_with_spans(), st.integers(1, 4), st.randoms(use_true_random=False))
def test_the_order_of_the_rivals_changes_nothing(
    given: tuple[Tree, list[tuple[int, int]]], k: int, rng: random.Random
) -> None:
    tree, spans = given
    before = dict(zip(spans, prune(tree, spans, Pruning(k)), strict=True))
    shuffled = rng.sample(spans, len(spans))
    assert dict(zip(shuffled, prune(tree, shuffled, Pruning(k)), strict=True)) == before


@given(trees_with_spans(), st.integers(1, 4), st.booleans())
def test_the_negators_of_kept_words_are_kept(
    given: tuple[Tree, list[tuple[int, int]]], k: int, cut: bool
) -> None:
    tree, spans = given
    weights = weigh(tree, DROP)
    for kept in (*prune(tree, spans, Pruning(k, cut)), predicates(tree, Pruning(k))):
        for i, (word, rel) in enumerate(zip(tree.lower, tree.rels, strict=True)):
            negates = (word in NEGATORS or rel == "neg") and weights[i] != JUNK
            assert not (negates and tree.heads[i] in kept.near) or i in kept.near


@given(trees_with_spans(), st.integers(1, 4))
def test_what_the_cut_takes_away_stands_nearer_to_a_rival(
    given: tuple[Tree, list[tuple[int, int]]], k: int
) -> None:
    tree, spans = given
    whole = prune(tree, spans, Pruning(k, rival_cut=False))
    for span, cut, all_ in zip(spans, prune(tree, spans, Pruning(k)), whole, strict=True):
        rivals = [distances(tree, *r) for r in spans if r[1] <= span[0] or span[1] <= r[0]]
        far = distances(tree, *span)
        for i in set(all_.near) - set(cut.near):
            if tree.lower[i] not in NEGATORS and tree.rels[i] != "neg":
                assert min(r.get(i, FAR) for r in rivals) <= far[i]


@given(trees_with_spans(), st.integers(1, 4))
def test_keys_are_twice_the_distance_but_for_negators(
    given: tuple[Tree, list[tuple[int, int]]], k: int
) -> None:
    tree, spans = given
    for span, kept in zip(spans, prune(tree, spans, Pruning(k)), strict=True):
        far = distances(tree, *span)
        for i, key in kept.near.items():
            if tree.lower[i] not in NEGATORS and tree.rels[i] != "neg":
                assert key // 2 == far[i] or key & 1  # the way up may be longer than the way round


@given(trees(), st.integers(1, 4))
def test_no_junk_is_kept_outside_the_aspect(tree: Tree, k: int) -> None:
    weights = weigh(tree, DROP)
    kept = prune(tree, [(0, 1)], Pruning(k))[0]
    assert [i for i in kept.near if weights[i] == JUNK and i] == []


def test_coordinated_aspects_share_their_predicate() -> None:
    rows = """
    food 5 nsubj NN
    and 3 cc CC
    service 1 conj NN
    were 5 cop VBD
    great 0 root JJ
    """
    tree, (food, service) = kept_of(post_of(rows, "food", "service"))
    assert "great" in words_of(tree, food)
    assert "great" in words_of(tree, service)


def test_a_tie_goes_to_the_aspect_that_governs_the_word() -> None:
    rows = """
    soup 3 nsubj NN
    cold 1 amod JJ
    met 0 root VBD
    bread 3 obj NN
    in 6 case IN
    basket 4 nmod NN
    red 6 amod JJ
    """
    tree, (soup, bread) = kept_of(post_of(rows, "soup", "bread"), k=3)
    assert {"cold", "met"} <= words_of(tree, soup)
    assert {"in", "basket", "red", "met"} <= words_of(tree, bread)
    assert "cold" not in words_of(tree, bread)


def test_overlapping_aspects_are_not_rivals() -> None:
    rows = """
    great 3 amod JJ
    battery 3 compound NN
    life 0 root NN
    """
    tree, kept = kept_of(post_of(rows, "battery", "battery life"))
    assert all("great" in words_of(tree, k) for k in kept)


def test_the_main_predicates_of_a_post_are_kept_with_their_negators() -> None:
    post = post_of(NOT_WORTH, "menu")
    assert post.parse is not None
    tree = from_parse(post.text, post.parse)
    kept = predicates(tree, Pruning(k=1))
    assert {"worth", "not", "menu", "money"} <= words_of(tree, kept)


def test_a_word_that_carries_sentiment_is_kept_whatever_its_relation() -> None:
    rows = """
    no 2 det DT
    taste 0 root NN
    😀 2 punct .
    ! 2 punct .
    ! 2 punct .
    . 2 punct .
    """
    tree, (kept,) = kept_of(post_of(rows, "taste"))
    assert words_of(tree, kept) == {"no", "taste", "😀", "!"}


def test_twenty_thousand_words_in_one_tree_are_pruned_in_bounded_time() -> None:
    n = 20_000
    tree = Tree(
        "x " * n, list(range(0, 2 * n, 2)), list(range(1, 2 * n, 2)),
        [-1, *[0] * (n - 1)], ["root"] + ["conj"] * (n - 1), ["NN"] * n, ["x"] * n,
        [list(range(1, n)), *[[] for _ in range(n - 1)]],
    )  # fmt: skip
    kept = prune(tree, [(i, i + 1) for i in range(0, 40)], Pruning(k=2))
    assert len(kept) == 40
    assert sum(len(k.near) for k in kept) < 2 * n
