"""Slices give each row at most one level."""

import pytest

from gen_msa.errors import UserError
from gen_msa.evaluation.scores import SLICES, slice_rows
from gen_msa.metrics import Pair
from gen_msa.types import Aspect, Media, Opinion, Post


def make_pair(text, aspects=(), has_image=False, term="", **extra_inputs):
    post = Post(
        id="1",
        text=text,
        media=(Media(kind="image", path="a.jpg"),) * has_image,
        aspects=tuple(Aspect(term=a, start=text.index(a)) for a in aspects),
    )
    gold = Opinion(annotator="gold", aspect=Aspect(term=term), polarity="neutral")
    return Pair(post, gold, None, "1", extra_inputs)


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
def test_slice_rows_by_negation(text, level):
    assert list(slice_rows("negation", [make_pair(text)])) == [level]


def test_slice_rows_by_aspect_count_length_and_image():
    rows = [
        make_pair("a b c d", ["a", "b", "c", "d"]),
        make_pair("a b", ["a"], has_image=True),
        make_pair("x " * 21),
    ]
    assert slice_rows("aspects", rows) == {"0": [2], "1": [1], "3 and more": [0]}
    assert slice_rows("length", rows) == {"over 20": [2], "to 10 words": [0, 1]}
    assert slice_rows("image", rows) == {"with": [1], "without": [0, 2]}


def test_slice_rows_by_visibility_needs_image_text():
    rows = [
        make_pair("a dog", term="dog", caption="Two DOGS and a dog"),
        make_pair("a dog", term="dog", caption="a cat"),
        make_pair("a dog", term="dog"),
    ]
    assert slice_rows("visible", rows) == {"named in it": [0], "not named in it": [1]}


def test_slices_count_each_row_at_most_once():
    rows = [make_pair(""), make_pair("a b", ["a"], term="a")]
    for name in SLICES:
        assert sum(map(len, slice_rows(name, rows).values())) <= 2


def test_slice_rows_suggests_the_nearest_slice():
    with pytest.raises(UserError, match="did you mean 'negation'"):
        slice_rows("negations", [make_pair("")])
