"""Erasure: a reader that reads one word loses its answer with that word, and with no other."""

import random

import pytest

from gen_msa.errors import UserError
from gen_msa.evaluating.probing._cutting import Words
from gen_msa.types import Aspect, Post
from tests.evaluating.probing.doubles import FILL, Double, by_word, decided, gold, run

EXAMPLES = [e for e in decided(60) if "plain" not in e.post.text]


def the_word(post, aspect):
    return next((w for w in ("dreadful", "splendid") if w in post.text), "")


def a_random_word(post, aspect):
    others = [w for w in post.text.split() if w in FILL]
    return random.Random(post.id).choice(others or [""])


def test_evidence_that_decides_is_comprehensive_and_sufficient():
    found = run("erasure", Double(by_word, quote=the_word), EXAMPLES).figures
    assert found["comprehensiveness"].value == pytest.approx(0.97)
    assert found["comprehensiveness_random"].value == pytest.approx(0)
    assert found["comprehensiveness_gain"].low > 0.9
    assert found["sufficiency"].value == pytest.approx(0)
    assert found["sufficiency_random"].value == pytest.approx(0.97)
    assert found["sufficiency_gain"].low > 0.9
    assert found["evidenced"].value == 1


def test_evidence_drawn_by_lot_is_worth_no_more_than_other_words():
    found = run("erasure", Double(by_word, quote=a_random_word), EXAMPLES).figures
    assert found["comprehensiveness"].value == pytest.approx(0)
    for figure in ("comprehensiveness_gain", "sufficiency_gain"):
        assert abs(found[figure].value) < 0.15
        assert found[figure].low <= 0 <= found[figure].high or found[figure].high < 0.05


def test_rows_without_evidence_are_counted_and_not_scored():
    def half(post, aspect):
        return the_word(post, aspect) if int(post.id[1:]) % 2 else ""

    found = run("erasure", Double(by_word, quote=half), EXAMPLES).figures
    assert found["evidenced"].n == 40
    assert found["evidenced"].value == 0.5
    assert found["comprehensiveness"].n == 20
    assert "20 of 40 rows quote no word besides the aspect" in found["comprehensiveness"].note


def test_each_row_is_read_twice_and_twice_for_each_draw():
    reader = Double(by_word, quote=the_word)
    probed = run("erasure", reader, EXAMPLES, options={"draws": 2}, limit=10)
    assert len(probed.trials) == 10 * (2 + 2 * 2)
    assert len(reader.asked) == 60
    erased = [t for t in probed.trials if t.variant == "erased"]
    assert {t.told for t in erased} == {"dreadful", "splendid"}
    assert all(t.after == "neutral" and t.flipped == 1 for t in erased)


@pytest.mark.parametrize(
    ("double", "why"),
    [
        (Double(by_word, quote=the_word, sure=False), "gives no probabilities"),
        (Double(by_word), "quotes no word"),
        (Double(by_word, quote=lambda p, a: a.term), "quotes no word of any post besides"),
        (Double(by_word, quote=lambda p, a: p.text), "all there is besides the aspect"),
    ],
)
def test_what_cannot_be_erased_is_not_applicable_and_says_why(double, why):
    found = run("erasure", double, EXAMPLES).figures
    assert {v.value for v in found.values()} == {None}
    assert all(v.n == 0 and "not applicable" in v.note and why in v.note for v in found.values())


def test_an_unknown_option_is_an_error():
    with pytest.raises(UserError, match="did you mean 'draws'"):
        run("erasure", Double(by_word), EXAMPLES, options={"draw": 2})


def test_words_of_no_aspect_are_cut_and_aspects_stand_where_they_say():
    text = "Sadly, the  New York   office isn't great 😩 !! 東京も"
    york, office = Aspect(term="New York", start=12), Aspect(term="office", start=23)
    post = Post(id="1", text=text, aspects=(york, office))
    words = Words(post)
    assert [text[slice(*s)] for s in words.spans] == [
        "Sadly", "the", "isn't", "great", "😩", "東", "京", "も",
    ]  # fmt: skip
    mask = words.marked([(text.index("great") + 1, text.index("great") + 3)])
    less, aspect = words.without(mask, office)
    assert less.text == "Sadly, the New York office isn't 😩 !! 東京も"
    assert aspect == less.aspects[1] == Aspect(term="office", start=20)
    alone, aspect = words.only(mask, york)
    assert alone.text == "New York office great"
    assert aspect.start == 0


def test_a_whole_post_can_be_emptied():
    post = Post(id="1", text="so bad!", aspects=(Aspect(term=""),))
    words = Words(post)
    assert words.without([True, True], post.aspects[0])[0].text == "!"
    assert words.only([False, False], post.aspects[0])[0].text == ""
    assert words.only([False, True], post.aspects[0])[0].text == "bad"


def test_changed_posts_keep_id_and_aspects_and_lose_their_parse():
    reader = Double(by_word, quote=the_word)
    post = EXAMPLES[0].post
    rival = Aspect(term="tram", start=post.text.index("tram"))
    both = post.model_copy(update={"aspects": (*post.aspects, rival)})
    run("erasure", reader, [gold(both, "negative", "neutral"), *EXAMPLES[1:]], limit=60)
    mine = [p for p in reader.asked if p.id == both.id]
    assert mine
    assert all([a.term for a in p.aspects] == ["kettle", "tram"] for p in mine)
    assert all(p.parse is None for p in mine)
