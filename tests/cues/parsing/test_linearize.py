"""Test the three forms on hand-parsed sentences."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gen_msa.cues.parsing import FORMS, parse_triples, tree_from_parse
from gen_msa.cues.parsing.linearize import (
    AspectSubtree,
    PruningRules,
    prune,
    single_token,
    subtree_edges,
)
from gen_msa.cues.parsing.tree import DependencyTree
from tests.cues.parsing.trees import NOT_WORTH, SCREEN_UNIVERSAL, post_of, trees_with_spans

NO_LIMIT = 10_000
TRIPLES = (
    "menu -nsubj-> worth ; restaurant -nmod-> menu ; of -case-> restaurant ; "
    "is -cop-> worth ; not -advmod-> worth ; money -obj-> worth"
)


def linearize(rows: str, term: str, form: str, max_words: int = 60, **rules: int) -> str:
    post = post_of(rows, term)
    assert post.parse is not None
    tree = tree_from_parse(post.text, post.parse)
    start = post.text.index(term)
    (subtree,) = prune(tree, [tree.token_span(start, start + len(term))], PruningRules(**rules))
    return FORMS[form](tree, subtree, term, max_words)


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("phrase", "menu of the restaurant is not worth any money"),
        ("triples", TRIPLES),
        ("paths", "menu (of: restaurant); worth (subject: menu, negated by: not, object: money)"),
    ],
)
def test_form_writes_expected_text(form: str, text: str) -> None:
    assert linearize(NOT_WORTH, "menu", form) == text


def test_function_words_are_written_only_between_content_words() -> None:
    assert linearize(SCREEN_UNIVERSAL, "screen", "phrase", k=1) == "screen ... great"
    assert linearize(NOT_WORTH, "money", "phrase", k=1) == "not worth any money"


def test_word_is_written_with_its_negator_or_not_at_all() -> None:
    assert linearize(NOT_WORTH, "menu", "phrase", max_words=3) == "menu ... restaurant"
    assert (
        linearize(NOT_WORTH, "menu", "phrase", max_words=4) == "menu ... restaurant ... not worth"
    )


def test_farthest_words_are_dropped_first() -> None:
    assert linearize(NOT_WORTH, "menu", "phrase", max_words=2) == "menu ... restaurant"
    two_triples = "menu -nsubj-> worth ; restaurant -nmod-> menu"
    assert linearize(NOT_WORTH, "menu", "triples", max_words=4) == two_triples


@given(trees_with_spans(), st.integers(1, 4))
def test_triples_parse_back_to_subtree_edges(
    tree_and_spans: tuple[DependencyTree, list[tuple[int, int]]], k: int
) -> None:
    tree, spans = tree_and_spans
    for (first, last), subtree in zip(spans, prune(tree, spans, PruningRules(k)), strict=True):
        term = tree.text[tree.starts[first] : tree.ends[last - 1]]
        text = FORMS["triples"](tree, subtree, term, NO_LIMIT)
        assert parse_triples(text) == subtree_edges(tree, subtree, term)
        assert {(d, g) for d, _, g in parse_triples(text)} == naive_edges(tree, subtree, term)


def naive_edges(tree: DependencyTree, subtree: AspectSubtree, term: str) -> set[tuple[str, str]]:
    """Return the pairs of kept words with an edge between them, computed directly."""
    first, last = subtree.span

    def name(i: int) -> str:
        return single_token(term if first <= i < last else tree.token_text(i))

    pairs = set()
    for i, h in enumerate(tree.heads):
        in_aspect = first <= i < last
        internal = in_aspect and (first <= h < last or subtree.word_classes[i])
        if i in subtree.distance_keys and h in subtree.distance_keys and not internal:
            pairs.add((name(i), name(h)))
    return pairs


@given(st.text(max_size=60))
def test_single_token_contains_no_triple_delimiter(text: str) -> None:
    word = single_token(text)
    assert " ; " not in f" {word} "
    assert "->" not in word
    assert " -" not in word
    assert word == " ".join(word.split())


@given(trees_with_spans(), st.integers(1, 12), st.sampled_from(sorted(FORMS)))
def test_cue_is_within_max_words(
    tree_and_spans: tuple[DependencyTree, list[tuple[int, int]]], max_words: int, form: str
) -> None:
    tree, spans = tree_and_spans
    for subtree in prune(tree, spans, PruningRules(3)):
        text = FORMS[form](tree, subtree, "x", max_words)
        arrows = text.count("->") + text.count(" ; ") + text.split().count("...")
        assert len(text.split()) - arrows <= max_words


def test_cues_are_identical_across_processes() -> None:
    code = (
        "from tests.cues.parsing.trees import *; from gen_msa.cues.syntax import *\n"
        "posts = [post_of(SCREEN_UNIVERSAL, 'screen', 'battery'), post_of(NOT_WORTH, 'menu')]\n"
        "for f in ('phrase', 'paths', 'triples'):\n"
        "    print(SyntaxCues(SyntaxOptions(form=f, parser='heads')).cues(posts))\n"
    )
    outs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PATH": "", "PYTHONPATH": ":".join(sys.path)},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("0", "1", "77")
    }  # fmt: skip
    assert len(outs) == 1
    assert "awful" in outs.pop()
