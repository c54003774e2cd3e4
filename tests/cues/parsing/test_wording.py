"""The three forms: what they say of sentences parsed by hand, and that they say it the same way."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gen_msa.cues.parsing import FORMS, from_parse, read_triples
from gen_msa.cues.parsing.pruning import Kept, Pruning, prune
from gen_msa.cues.parsing.tree import Tree
from gen_msa.cues.parsing.wording import edges, one_word
from tests.cues.parsing.trees import NOT_WORTH, SCREEN_UNIVERSAL, post_of, trees_with_spans

PLENTY = 10_000
TRIPLES = (
    "menu -nsubj-> worth ; restaurant -nmod-> menu ; of -case-> restaurant ; "
    "is -cop-> worth ; not -advmod-> worth ; money -obj-> worth"
)


def written(rows: str, term: str, form: str, most: int = 60, **rules: int) -> str:
    post = post_of(rows, term)
    assert post.parse is not None
    tree = from_parse(post.text, post.parse)
    start = post.text.index(term)
    (kept,) = prune(tree, [tree.span(start, start + len(term))], Pruning(**rules))
    return FORMS[form](tree, kept, term, most)


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("phrase", "menu of the restaurant is not worth any money"),
        ("triples", TRIPLES),
        ("paths", "menu (of: restaurant); worth (subject: menu, negated by: not, object: money)"),
    ],
)
def test_each_form_reads_as_its_name_says(form: str, text: str) -> None:
    assert written(NOT_WORTH, "menu", form) == text


def test_small_words_are_written_only_between_kept_ones() -> None:
    assert written(SCREEN_UNIVERSAL, "screen", "phrase", k=1) == "screen ... great"
    assert written(NOT_WORTH, "money", "phrase", k=1) == "not worth any money"


def test_a_word_comes_with_its_negator_or_not_at_all() -> None:
    assert written(NOT_WORTH, "menu", "phrase", most=3) == "menu ... restaurant"
    assert written(NOT_WORTH, "menu", "phrase", most=4) == "menu ... restaurant ... not worth"


def test_words_left_out_for_want_of_room_are_the_farthest() -> None:
    assert written(NOT_WORTH, "menu", "phrase", most=2) == "menu ... restaurant"
    two = "menu -nsubj-> worth ; restaurant -nmod-> menu"
    assert written(NOT_WORTH, "menu", "triples", most=4) == two


@given(trees_with_spans(), st.integers(1, 4))
def test_triples_read_back_to_the_edges_they_were_made_from(
    given: tuple[Tree, list[tuple[int, int]]], k: int
) -> None:
    tree, spans = given
    for (first, last), kept in zip(spans, prune(tree, spans, Pruning(k)), strict=True):
        term = tree.text[tree.starts[first] : tree.ends[last - 1]]
        text = FORMS["triples"](tree, kept, term, PLENTY)
        assert read_triples(text) == edges(tree, kept, term)
        assert {(d, g) for d, _, g in read_triples(text)} == plain_edges(tree, kept, term)


def plain_edges(tree: Tree, kept: Kept, term: str) -> set[tuple[str, str]]:
    """The pairs of kept words with an edge between them, the plain way."""
    first, last = kept.span

    def name(i: int) -> str:
        return one_word(term if first <= i < last else tree.word(i))

    found = set()
    for i, h in enumerate(tree.heads):
        inside = first <= i < last
        within = inside and (first <= h < last or kept.weights[i])
        if i in kept.near and h in kept.near and not within:
            found.add((name(i), name(h)))
    return found


@given(st.text(max_size=60))
def test_no_word_can_be_taken_for_a_part_of_a_triple(text: str) -> None:
    word = one_word(text)
    assert " ; " not in f" {word} "
    assert "->" not in word
    assert " -" not in word
    assert word == " ".join(word.split())


@given(trees_with_spans(), st.integers(1, 12), st.sampled_from(sorted(FORMS)))
def test_a_cue_has_at_most_as_many_words_as_allowed(
    given: tuple[Tree, list[tuple[int, int]]], most: int, form: str
) -> None:
    tree, spans = given
    for kept in prune(tree, spans, Pruning(3)):
        text = FORMS[form](tree, kept, "x", most)
        arrows = text.count("->") + text.count(" ; ") + text.split().count("...")
        assert len(text.split()) - arrows <= most


def test_the_same_parse_gives_the_same_bytes_in_every_process() -> None:
    code = (
        "from tests.cues.parsing.trees import *; from gen_msa.cues.syntax import *\n"
        "posts = [post_of(SCREEN_UNIVERSAL, 'screen', 'battery'), post_of(NOT_WORTH, 'menu')]\n"
        "for f in ('phrase', 'paths', 'triples'):\n"
        "    print(Syntax(SyntaxOptions(form=f, parser='heads')).cues(posts))\n"
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
