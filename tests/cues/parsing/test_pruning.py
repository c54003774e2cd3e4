"""Test the guarantees of pruning on thousands of random trees and on hand-parsed sentences."""

import random
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gen_msa.cues.parsing import tree_from_parse
from gen_msa.cues.parsing.lexicon import DROPPED_RELATIONS, JUNK_WORD, NEGATORS
from gen_msa.cues.parsing.linearize import (
    AspectSubtree,
    PruningRules,
    classify_words,
    predicate_subtree,
    prune,
)
from gen_msa.cues.parsing.tree import DependencyTree
from gen_msa.types import Post
from tests.cues.parsing.trees import (
    NOT_WORTH,
    SCREEN_CLEARNLP,
    SCREEN_UNIVERSAL,
    post_of,
    trees,
    trees_with_spans,
)

MAX_DISTANCE = 100


def distances(tree: DependencyTree, first: int, last: int) -> dict[int, int]:
    """Return the edges from the span to every reachable token, computed directly."""
    distance = dict.fromkeys(range(first, last), 0)
    queue = deque(distance)
    while queue:
        i = queue.popleft()
        for j in (*tree.children[i], tree.heads[i]):
            if j >= 0 and j not in distance:
                distance[j] = distance[i] + 1
                queue.append(j)
    return distance


def words_of(tree: DependencyTree, subtree: AspectSubtree) -> set[str]:
    return {tree.lower[i] for i in subtree.distance_keys}


def prune_post(post: Post, **rules: object) -> tuple[DependencyTree, list[AspectSubtree]]:
    assert post.parse is not None
    tree = tree_from_parse(post.text, post.parse)
    spans = [tree.token_span(a.start or 0, a.end or 0) for a in post.aspects]
    return tree, prune(tree, spans, PruningRules(**rules))  # type: ignore[arg-type]


@pytest.mark.parametrize("rows", [SCREEN_UNIVERSAL, SCREEN_CLEARNLP])
def test_rival_cut_separates_opposite_opinions(rows: str) -> None:
    opinions = {"great", "awful"}
    tree, cut_subtrees = prune_post(post_of(rows, "screen", "battery"))
    assert [words_of(tree, k) & opinions for k in cut_subtrees] == [{"great"}, {"awful"}]
    tree, uncut_subtrees = prune_post(post_of(rows, "screen", "battery"), rival_cut=False)
    assert [words_of(tree, k) & opinions for k in uncut_subtrees] == [opinions, opinions]


@given(trees_with_spans(), st.integers(1, 4), st.booleans())
def test_direct_neighbours_remain_except_function_and_rival_words(
    tree_and_spans: tuple[DependencyTree, list[tuple[int, int]]], k: int, rival_cut: bool
) -> None:
    tree, spans = tree_and_spans
    weights = classify_words(tree, DROPPED_RELATIONS)
    for (first, last), subtree in zip(
        spans, prune(tree, spans, PruningRules(k, rival_cut)), strict=True
    ):
        rivals = {i for a, b in spans if b <= first or last <= a for i in range(a, b)}
        ring = {i for i, d in distances(tree, first, last).items() if d == 1}
        assert {i for i in ring if not weights[i]} - (rivals if rival_cut else set()) <= set(
            subtree.distance_keys
        )
        assert set(range(first, last)) <= set(subtree.distance_keys)


@given(trees_with_spans(), st.integers(1, 4), st.booleans())
def test_larger_k_keeps_superset(
    tree_and_spans: tuple[DependencyTree, list[tuple[int, int]]], k: int, cut: bool
) -> None:
    tree, spans = tree_and_spans
    smaller, larger = (prune(tree, spans, PruningRules(k + extra_k, cut)) for extra_k in (0, 1))
    assert all(
        set(a.distance_keys) <= set(b.distance_keys) for a, b in zip(smaller, larger, strict=True)
    )


@given(trees_with_spans())
def test_single_aspect_with_large_k_keeps_content_of_sentence(
    tree_and_spans: tuple[DependencyTree, list[tuple[int, int]]],
) -> None:
    tree, spans = tree_and_spans
    weights = classify_words(tree, DROPPED_RELATIONS)
    (first, last), near = (
        spans[0],
        prune(tree, spans[:1], PruningRules(MAX_DISTANCE))[0].distance_keys,
    )
    reached = distances(tree, first, last)
    expected = {i for i in reached if not weights[i] or first <= i < last}
    climbed = {
        i for i in set(near) - expected if weights[i] != JUNK_WORD
    }  # small words on the way up
    assert expected <= set(near)
    assert set(near) - expected == climbed


def test_whole_sentence_remains_except_articles() -> None:
    tree, (subtree,) = prune_post(post_of(NOT_WORTH, "menu"), k=MAX_DISTANCE)
    words = " ".join(tree.token_text(i) for i in sorted(subtree.distance_keys))
    assert words == "menu of restaurant is not worth money"


@given(trees_with_spans(), st.integers(1, 4), st.randoms(use_true_random=False))
def test_order_of_aspects_does_not_matter(
    tree_and_spans: tuple[DependencyTree, list[tuple[int, int]]], k: int, rng: random.Random
) -> None:
    tree, spans = tree_and_spans
    before = dict(zip(spans, prune(tree, spans, PruningRules(k)), strict=True))
    shuffled = rng.sample(spans, len(spans))
    assert dict(zip(shuffled, prune(tree, shuffled, PruningRules(k)), strict=True)) == before


@given(trees_with_spans(), st.integers(1, 4), st.booleans())
def test_negators_of_remaining_words_remain(
    tree_and_spans: tuple[DependencyTree, list[tuple[int, int]]], k: int, rival_cut: bool
) -> None:
    tree, spans = tree_and_spans
    weights = classify_words(tree, DROPPED_RELATIONS)
    for subtree in (
        *prune(tree, spans, PruningRules(k, rival_cut)),
        predicate_subtree(tree, PruningRules(k)),
    ):
        for i, (word, rel) in enumerate(zip(tree.lower, tree.rels, strict=True)):
            negates = (word in NEGATORS or rel == "neg") and weights[i] != JUNK_WORD
            assert (
                not (negates and tree.heads[i] in subtree.distance_keys)
                or i in subtree.distance_keys
            )


@given(trees_with_spans(), st.integers(1, 4))
def test_rival_cut_removes_only_words_nearer_to_a_rival(
    tree_and_spans: tuple[DependencyTree, list[tuple[int, int]]], k: int
) -> None:
    tree, spans = tree_and_spans
    uncut_subtrees = prune(tree, spans, PruningRules(k, rival_cut=False))
    for span, cut, uncut in zip(
        spans, prune(tree, spans, PruningRules(k)), uncut_subtrees, strict=True
    ):
        rivals = [distances(tree, *r) for r in spans if r[1] <= span[0] or span[1] <= r[0]]
        distance = distances(tree, *span)
        for i in set(uncut.distance_keys) - set(cut.distance_keys):
            if tree.lower[i] not in NEGATORS and tree.rels[i] != "neg":
                assert min(r.get(i, MAX_DISTANCE) for r in rivals) <= distance[i]


@given(trees_with_spans(), st.integers(1, 4))
def test_distance_keys_are_twice_the_distance_except_for_negators(
    tree_and_spans: tuple[DependencyTree, list[tuple[int, int]]], k: int
) -> None:
    tree, spans = tree_and_spans
    for span, subtree in zip(spans, prune(tree, spans, PruningRules(k)), strict=True):
        distance = distances(tree, *span)
        for i, key in subtree.distance_keys.items():
            if tree.lower[i] not in NEGATORS and tree.rels[i] != "neg":
                assert (
                    key // 2 == distance[i] or key & 1
                )  # the way up may be longer than the way round


@given(trees(), st.integers(1, 4))
def test_no_junk_remains_outside_aspect(tree: DependencyTree, k: int) -> None:
    weights = classify_words(tree, DROPPED_RELATIONS)
    subtree = prune(tree, [(0, 1)], PruningRules(k))[0]
    assert [i for i in subtree.distance_keys if weights[i] == JUNK_WORD and i] == []


def test_coordinated_aspects_share_predicate() -> None:
    rows = """
    food 5 nsubj NN
    and 3 cc CC
    service 1 conj NN
    were 5 cop VBD
    great 0 root JJ
    """
    tree, (food, service) = prune_post(post_of(rows, "food", "service"))
    assert "great" in words_of(tree, food)
    assert "great" in words_of(tree, service)


def test_tie_goes_to_aspect_governing_the_word() -> None:
    rows = """
    soup 3 nsubj NN
    cold 1 amod JJ
    met 0 root VBD
    bread 3 obj NN
    in 6 case IN
    basket 4 nmod NN
    red 6 amod JJ
    """
    tree, (soup, bread) = prune_post(post_of(rows, "soup", "bread"), k=3)
    assert {"cold", "met"} <= words_of(tree, soup)
    assert {"in", "basket", "red", "met"} <= words_of(tree, bread)
    assert "cold" not in words_of(tree, bread)


def test_overlapping_aspects_are_not_rivals() -> None:
    rows = """
    great 3 amod JJ
    battery 3 compound NN
    life 0 root NN
    """
    tree, subtrees = prune_post(post_of(rows, "battery", "battery life"))
    assert all("great" in words_of(tree, k) for k in subtrees)


def test_predicate_subtree_keeps_main_predicates_and_negators() -> None:
    post = post_of(NOT_WORTH, "menu")
    assert post.parse is not None
    tree = tree_from_parse(post.text, post.parse)
    subtree = predicate_subtree(tree, PruningRules(k=1))
    assert {"worth", "not", "menu", "money"} <= words_of(tree, subtree)


def test_sentiment_word_remains_whatever_its_relation() -> None:
    rows = """
    no 2 det DT
    taste 0 root NN
    😀 2 punct .
    ! 2 punct .
    ! 2 punct .
    . 2 punct .
    """
    tree, (subtree,) = prune_post(post_of(rows, "taste"))
    assert words_of(tree, subtree) == {"no", "taste", "😀", "!"}


def test_pruning_20000_token_tree_keeps_bounded_total() -> None:
    n = 20_000
    tree = DependencyTree(
        "x " * n, list(range(0, 2 * n, 2)), list(range(1, 2 * n, 2)),
        [-1, *[0] * (n - 1)], ["root"] + ["conj"] * (n - 1), ["NN"] * n, ["x"] * n,
        [list(range(1, n)), *[[] for _ in range(n - 1)]],
    )  # fmt: skip
    subtrees = prune(tree, [(i, i + 1) for i in range(0, 40)], PruningRules(k=2))
    assert len(subtrees) == 40
    assert sum(len(k.distance_keys) for k in subtrees) < 2 * n
