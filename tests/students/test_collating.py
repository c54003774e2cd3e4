"""Rows as tensors: aspects are marked, padding is told apart, no post writes control tokens."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gen_msa.errors import UserError
from gen_msa.students import CLASSES, Row
from gen_msa.students.common.collating import Words
from gen_msa.types import WHOLE_POST, Aspect, Polarity
from tests.fixtures.tiny_students import rows, words

SOUP = Aspect(term="soup", start=4)
CONTROL = {0, 1, 2, 3, 4}


def test_text_and_aspect_are_one_pair_and_the_aspect_is_marked():
    batch = words()([Row("1", "the soup is great", SOUP, Polarity.POSITIVE)])
    ids = batch.x["text"][0].tolist()
    assert [i in (2, 3) for i in ids] == [True, *[False] * 4, True, False, True]
    assert batch.mask["aspect"][0].tolist() == [False] * 6 + [True, False]
    assert ids[6] == ids[2]
    assert batch.target.tolist() == [CLASSES.index(Polarity.POSITIVE)]


def test_padding_and_absence_are_different_facts():
    batch = words()([Row("1", "the soup is great", SOUP), Row("2", "  ", SOUP)])
    assert batch.mask["text"].sum(1).tolist() == [8, 4]
    assert batch.x["text"][1, 4:].tolist() == [0] * 4
    assert batch.present["text"].tolist() == [True, False]


def test_a_row_without_a_label_has_target_minus_one_and_a_batch_without_any_has_none():
    some = words()([*rows(2), Row("x", "soup", SOUP)]).target
    assert some[-1] == -1
    assert (some[:2] >= 0).all()
    assert words()([Row("x", "soup", SOUP)]).target is None


def test_teachers_shares_and_weights_stand_beside_the_rows_they_are_of():
    told = words()([Row("a", "soup", SOUP, soft=(0.5, 0.25, 0.25), weight=2.0), *rows(1)])
    assert told.soft.tolist() == [[0.5, 0.25, 0.25], [0.0, 0.0, 0.0]]
    assert told.weight.tolist() == [2.0, 1.0]
    assert words()(rows(2)).soft is None


def test_the_post_as_a_whole_marks_no_aspect():
    assert not words()([Row("1", "the soup", WHOLE_POST)]).mask["aspect"].any()


@given(st.lists(st.sampled_from(["[SEP]", "[CLS]", "[PAD]", "[MASK]", "soup", " "]), max_size=8))
def test_a_post_cannot_write_control_tokens(parts):
    row = Row("1", "".join(parts), Aspect(term="".join(parts)))
    ids = words()([row]).x["text"][0].tolist()
    assert [i for i in ids if i in CONTROL] == [2, 3, 3]


@given(st.text(max_size=300), st.text(max_size=300))
def test_no_row_is_longer_than_the_limit_and_none_fails(text, term):
    made = words(max_length=12)
    row = Row("1", text, Aspect(term=term))
    assert made.length(row) == made([row]).x["text"].shape[1] <= 12
    assert made.cut(row) == (words(max_length=5000).length(row) > 12)


def test_a_long_text_is_cut_and_its_aspect_is_not():
    row = Row("1", "the soup " * 50, SOUP)
    made = words(max_length=10)
    assert made.cut(row)
    assert made([row]).mask["aspect"].sum() == 1


@pytest.mark.parametrize(
    "said", ["Positive", "NEGATIVELY", "neutrality", "non-negative", "pos", "positivity"]
)
def test_words_of_a_label_are_hidden_when_asked(said):
    row = Row("1", f"it is {said}, good", SOUP)
    assert words(mask_labels=True)([row]).raw_text == ("it is …, good",)
    assert words()([row]).raw_text == (row.text,)


@pytest.mark.parametrize("said", ["position", "negate", "post", "neutron", "posh"])
def test_other_words_are_not_hidden(said):
    assert words(mask_labels=True).seen(f"a {said} b") == f"a {said} b"


def test_what_is_no_tokenizer_is_said():
    with pytest.raises(UserError, match=r"tokenizer\.json cannot be read"):
        Words("{}")
