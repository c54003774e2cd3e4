"""Aspect swap: an answer follows the aspect that is asked about, and not its name."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gen_msa.evaluating.probing._naming import nonsense, renamed
from gen_msa.types import WHOLE_POST, Aspect, Post
from tests.evaluating.probing.doubles import NEG, NEU, POS, Double, gold, run, two_sided

EXAMPLES = two_sided(40)


def next_word(post, aspect):
    after = post.text[aspect.end :].split()[1].rstrip(",")
    return {"splendid": POS, "dreadful": NEG}.get(after, NEU)


def blind(post, aspect):
    return POS if int(post.id[1:]) % 3 else NEG


def by_name(post, aspect):
    return POS if aspect.term == "kettle" else NEG if aspect.term == "teapot" else NEU


def test_a_reader_of_aspects_follows_and_does_not_care_for_the_name():
    reader = Double(next_word)
    found = run("aspect_swap", reader, EXAMPLES).figures
    assert found["directional_accuracy"].value == found["followed"].value == 1
    assert found["directional_accuracy"].n == 80
    assert found["pull"].value == pytest.approx(0.97)
    assert found["rename_flip_rate"].value == 0
    assert found["rename_dp"].value == found["rename_accuracy_drop"].value == 0


def test_a_reader_blind_to_aspects_is_at_chance_and_never_follows():
    found = run("aspect_swap", Double(blind), EXAMPLES).figures
    assert found["directional_accuracy"].value == 0.5
    assert found["followed"].value == found["pull"].value == 0


def test_a_reader_of_names_flips_when_the_name_is_taken_away():
    found = run("aspect_swap", Double(by_name), EXAMPLES).figures
    assert found["rename_flip_rate"].value == 1
    assert found["rename_dp"].value == pytest.approx(0.97)
    assert found["rename_accuracy_drop"].value == pytest.approx(0.5)


def test_the_swap_reads_nothing_and_the_renaming_each_row_once():
    reader = Double(next_word)
    probed = run("aspect_swap", reader, EXAMPLES, limit=5)
    assert len(reader.asked) == 10
    assert [t.variant for t in probed.trials].count("swap") == 10
    assert all("splendid" in p.text and "dreadful" in p.text for p in reader.asked)


def test_without_opposites_only_the_renaming_has_figures():
    same = [gold(e.post, POS, NEU) for e in EXAMPLES[:6]]
    found = run("aspect_swap", Double(next_word), same).figures
    assert found["directional_accuracy"].value is None
    assert "pairs of opposite gold" in found["directional_accuracy"].note
    assert found["rename_flip_rate"].n == 12
    unlike = run("aspect_swap", Double(blind), same, options={"contrast": "different"}).figures
    assert unlike["directional_accuracy"].n == 12


def test_posts_as_a_whole_have_nothing_to_swap():
    whole = [gold(Post(id="w1", text="So it goes", aspects=(WHOLE_POST,)), POS)]
    found = run("aspect_swap", Double(blind), whole).figures
    assert "not applicable" in found["followed"].note


def test_every_mention_is_renamed_but_not_within_words_or_rivals():
    text = "iPhone or iPhones? My iPhone, my iPhone case. #iPhone"
    phone, case = Aspect(term="iPhone", start=0), Aspect(term="iPhone case", start=33)
    post = Post(id="1", text=text, aspects=(phone, case))
    changed, aspect = renamed(post, phone, random.Random(1))
    name = aspect.term
    assert changed.text == f"{name} or iPhones? My {name}, my iPhone case. #{name}"
    assert changed.text[changed.aspects[1].start :].startswith("iPhone case")
    assert renamed(post, case, random.Random(1))[0].text.startswith("iPhone or iPhones?")
    assert renamed(post, WHOLE_POST, random.Random(1)) is None
    assert renamed(post, Aspect(term="tablet"), random.Random(1)) is None


def test_an_aspect_that_shares_letters_with_a_rival_is_not_renamed():
    both = (Aspect(term="New York", start=0), Aspect(term="York City", start=4))
    post = Post(id="1", text="New York City", aspects=both)
    assert renamed(post, both[0], random.Random(0)) is None


@given(st.text(min_size=1, max_size=20), st.integers(0, 9))
def test_an_invented_name_keeps_everything_but_letters(term, seed):
    name = nonsense(term, random.Random(seed))
    assert [c for c in name if not c.isalnum()] == [c for c in term if not c.isalnum()]
    assert [c for c in name if c.isdecimal()] == [c for c in term if c.isdecimal()]
    assert name == nonsense(term, random.Random(seed))


@given(st.lists(st.sampled_from(["tea", "TEA", "teas", "cup", "-", "é"]), min_size=1, max_size=12))
def test_renamed_aspects_stand_where_they_say(words):
    text = " ".join(words)
    places = [i for i in range(len(text)) if text.startswith("tea", i)][:1]
    for start in places:
        aspect = Aspect(term="tea", start=start)
        changed, moved = renamed(
            Post(id="1", text=text, aspects=(aspect,)), aspect, random.Random(2)
        )
        assert changed.text[moved.start : moved.end] == moved.term != "tea"
