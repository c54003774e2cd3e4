"""Slices give each row one level by what it is, never by what was said of it."""

import pytest

from gen_msa.errors import UserError
from gen_msa.evaluating.slicing import SLICES, levels
from gen_msa.metrics import Pair
from gen_msa.types import Aspect, Media, Opinion, Post


def pair(text, aspects=(), picture=False, term="", **shown):
    post = Post(
        id="1",
        text=text,
        media=(Media(kind="image", path="a.jpg"),) * picture,
        aspects=tuple(Aspect(term=a, start=text.index(a)) for a in aspects),
    )
    gold = Opinion(by="gold", aspect=Aspect(term=term), polarity="neutral")
    return Pair(post, gold, None, "1", shown)


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("It is not good", "yes"),
        ("It isn't good", "yes"),
        ("It isn’t good", "yes"),
        ("never again", "yes"),
        ("A notable knot", "no"),
        ("", "no"),
    ],
)
def test_negation(text, level):
    assert list(levels("negation", [pair(text)])) == [level]


def test_number_of_aspects_and_length_and_picture():
    rows = [
        pair("a b c d", ["a", "b", "c", "d"]),
        pair("a b", ["a"], picture=True),
        pair("x " * 21),
    ]
    assert levels("aspects", rows) == {"0": [2], "1": [1], "3 and more": [0]}
    assert levels("length", rows) == {"over 20": [2], "to 10 words": [0, 1]}
    assert levels("picture", rows) == {"with": [1], "without": [0, 2]}


def test_visible_needs_words_for_the_picture_and_leaves_rows_without_them_out():
    rows = [
        pair("a dog", term="dog", caption="Two DOGS and a dog"),
        pair("a dog", term="dog", caption="a cat"),
        pair("a dog", term="dog"),
    ]
    assert levels("visible", rows) == {"named in it": [0], "not named in it": [1]}


def test_every_slice_takes_every_row():
    rows = [pair(""), pair("a b", ["a"], term="a")]
    for name in SLICES:
        assert sum(map(len, levels(name, rows).values())) <= 2


def test_an_unknown_slice_is_refused_with_the_nearest():
    with pytest.raises(UserError, match="did you mean 'negation'"):
        levels("negations", [pair("")])
