"""Joint extraction: sets within a post, and no share above 1."""

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gen_msa.metrics import Pair, Undefined, metrics
from gen_msa.types import Aspect, Opinion, Polarity, Post
from tests.metrics.extracting import NEG, NEU, POS, TEXT, found
from tests.metrics.saying import figures

LIFE, SCREEN, AGAIN = ("battery life", 4), ("screen", 31), ("battery life", 53)
JOINT = metrics["joint"]()
LEGACY = metrics["joint"](legacy_sc_f=True)
SPANS = [(a, b) for a in range(0, 12, 3) for b in (a + 3, a + 6)]


def ours(gold, said, family=JOINT):
    return figures(family, found(gold, said))


def test_a_case_computed_by_hand():
    # Of 3 that are said one is right, one has the wrong polarity, and one is no aspect.
    gold = [(*LIFE, NEG), (*SCREEN, POS), (*AGAIN, POS)]
    got = ours(gold, [(*LIFE, NEG), (*SCREEN, NEU), ("long", 69, POS)])
    assert got["jmasa_precision"] == pytest.approx(1 / 3)
    assert got["jmasa_recall"] == pytest.approx(1 / 3)
    assert got["mate_f1"] == pytest.approx(2 / 3)
    assert got["masc_accuracy"] == 0.5
    assert got["folded"] == 0


def post_sets(rng):
    """A post's elements, at most one polarity a span, as everyone's data has it."""
    chosen = rng.permutation(len(SPANS))[: rng.integers(0, 5)]
    return {SPANS[i]: list(Polarity)[rng.integers(3)] for i in chosen}


def as_opinions(elements):
    return [(TEXT[a:b], a, p) for (a, b), p in elements.items()]


def test_a_thousand_random_cases_agree_with_plain_sets_and_with_the_published_formula_of_sc_f():
    cases = 0
    for seed in range(1100):
        rng = numpy.random.default_rng(seed)
        posts = [(post_sets(rng), post_sets(rng)) for _ in range(rng.integers(1, 6))]
        if not any(g for g, _ in posts):
            continue
        cases += 1
        pairs = [
            pair
            for i, (g, s) in enumerate(posts)
            for pair in found(as_opinions(g), as_opinions(s), i)
        ]
        got = figures(LEGACY, pairs)
        both = sum(len(g.items() & s.items()) for g, s in posts)
        spans = sum(len(g.keys() & s.keys()) for g, s in posts)
        gold, said = sum(len(g) for g, _ in posts), sum(len(s) for _, s in posts)
        assert got["jmasa_f1"] == pytest.approx(2 * both / (gold + said))
        assert got["mate_f1"] == pytest.approx(2 * spans / (gold + said))
        assert got["mate_recall"] == pytest.approx(spans / gold)
        if spans:
            assert got["masc_accuracy"] == pytest.approx(both / spans)
            assert got["legacy_sc_f"] == pytest.approx(published_sc_f(posts), abs=1e-9)
        else:
            assert numpy.isnan(got["masc_accuracy"])
    assert cases >= 1000


def published_sc_f(posts):
    """Over found spans: harmonic mean of the mean precision and the mean recall of classes seen."""
    both = [(g[k], s[k]) for g, s in posts for k in g.keys() & s.keys()]
    classes = {c for pair in both for c in pair}
    precision = recall = 0.0
    for c in classes:
        true = sum(g == s == c for g, s in both)
        precision += true / max(1, sum(s == c for _, s in both)) / len(classes)
        recall += true / max(1, sum(g == c for g, _ in both)) / len(classes)
    return 2 * precision * recall / (precision + recall + 1e-12)


def test_legacy_sc_f_is_printed_only_when_it_is_asked_for():
    assert "legacy_sc_f" not in ours([(*LIFE, NEG)], [])
    assert "VLP-MABSA" in LEGACY.figures[-1].about


def alike(figures):
    """To compare with: NaN is like NaN."""
    return pytest.approx(figures, nan_ok=True)


ELEMENT = st.tuples(st.sampled_from([*SPANS, None]), st.sampled_from([*Polarity, None]))


def loose(elements):
    """Some elements with a place and some without."""
    return [
        ("the bat", None, p) if at is None else (TEXT[slice(*at)], at[0], p) for at, p in elements
    ]


@given(st.lists(ELEMENT, min_size=1, max_size=8), st.lists(ELEMENT, max_size=8))
def test_no_share_is_above_one_whatever_is_said_in_whatever_order(gold, said):
    gold = [*loose(gold), (*LIFE, POS)]
    got = ours(gold, loose(said), LEGACY)
    shares = [v for name, v in got.items() if name != "folded" and not numpy.isnan(v)]
    assert all(0 <= v <= 1 for v in shares)
    assert ours(gold, loose(said)) == alike(ours(gold[::-1], loose(said)[::-1]))


def test_duplicates_are_collapsed_first():
    once = ours([(*LIFE, NEG)], [(*LIFE, NEG)])
    assert ours([(*LIFE, NEG)] * 2, [(*LIFE, NEG)] * 3) == once
    assert once["jmasa_f1"] == once["mate_f1"] == once["masc_accuracy"] == 1


def test_two_polarities_of_one_span_are_two_elements_and_not_right():
    got = ours([(*LIFE, NEG)], [(*LIFE, NEG), (*LIFE, POS)])
    assert (got["jmasa_precision"], got["jmasa_recall"]) == (0.5, 1.0)
    assert (got["mate_f1"], got["masc_accuracy"]) == (1.0, 0.0)


def test_an_unread_answer_is_a_found_span_that_is_not_right():
    got = ours([(*LIFE, NEG)], [(*LIFE, None)])
    assert (got["jmasa_f1"], got["mate_f1"], got["masc_accuracy"]) == (0, 1, 0)


def test_words_without_a_place_match_by_case_and_composition_and_are_counted():
    post = Post(id="1", text="the CAF\u00c9 is good")
    gold = Opinion(by="gold", aspect=Aspect(term="CAF\u00c9", start=4), polarity=POS)
    for term, start in (("cafe\u0301", None), ("cafe\u0301", 4)):
        said = Opinion(by="me", aspect=Aspect(term=term, start=start), polarity=POS)
        got = figures(JOINT, [Pair(post, gold, said, "1")])
        assert (got["jmasa_f1"], got["folded"]) == (1, 1)


def test_two_places_of_the_same_words_are_two_aspects():
    assert ours([(*LIFE, NEG)], [(*AGAIN, NEG)])["mate_f1"] == 0
    # Without a place the words stand for the occurrence of which the same is said.
    got = ours([(*LIFE, NEG), (*AGAIN, POS)], [("Battery Life", None, POS)])
    assert (got["jmasa_precision"], got["jmasa_recall"], got["folded"]) == (1, 0.5, 1)


def test_words_that_have_a_place_on_neither_side_match_without_a_fallback():
    got = ours([("price", None, NEG)], [("price", None, NEG)])
    assert (got["jmasa_f1"], got["folded"]) == (1, 0)


def test_a_gold_aspect_without_a_polarity_is_set_aside_with_what_was_said_of_it():
    plain = found([(*LIFE, NEG)], [(*LIFE, NEG)])
    more = found([(*LIFE, NEG), (*SCREEN, None)], [(*LIFE, NEG), (*SCREEN, POS)])
    assert figures(JOINT, plain) == figures(JOINT, more)
    assert JOINT.rows(more)[:, 0].tolist() == [1, 0, 1, 0]


def test_the_post_as_a_whole_is_no_aspect():
    whole = found([], [("", None, POS)])
    plain = found([(*LIFE, NEG)], [])
    assert figures(JOINT, plain + whole) == alike(figures(JOINT, plain))
    with pytest.raises(Undefined, match="gold names no aspect"):
        JOINT.rows(whole)


def test_a_reader_that_was_given_the_aspects_extracted_nothing():
    with pytest.raises(Undefined, match="was given the aspects"):
        JOINT.rows(found([(*LIFE, NEG)], [(*LIFE, NEG)], aspect_source="given"))
    assert JOINT.rows(found([(*LIFE, NEG)], [(*LIFE, NEG)], aspect_source="reader")).any()


def test_posts_that_share_an_id_but_not_a_text_are_two_posts():
    other = Post(id="0", text="another " + TEXT)
    beside = Pair(other, None, Opinion(by="me", aspect=Aspect(term="a"), polarity=POS), "0")
    assert figures(JOINT, [*found([("a", None, POS)], []), beside])["mate_f1"] == 0
