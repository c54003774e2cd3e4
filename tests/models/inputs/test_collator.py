"""Rows become tensors: aspects are marked, padding and absence differ, no control tokens leak."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gen_msa.errors import UserError
from gen_msa.models import CLASSES, AspectExample
from gen_msa.models.inputs.collator import Collator
from gen_msa.types import OVERALL_ASPECT, Aspect, Polarity
from tests.fixtures.tiny_students import make_collator, rows

SOUP = Aspect(term="soup", start=4)
CONTROL_IDS = {0, 1, 2, 3, 4}


def test_text_and_aspect_are_paired_and_aspect_is_masked():
    batch = make_collator()([AspectExample("1", "the soup is great", SOUP, Polarity.POSITIVE)])
    ids = batch.inputs["text"][0].tolist()
    assert [i in (2, 3) for i in ids] == [True, *[False] * 4, True, False, True]
    assert batch.mask["aspect"][0].tolist() == [False] * 6 + [True, False]
    assert ids[6] == ids[2]
    assert batch.target.tolist() == [CLASSES.index(Polarity.POSITIVE)]


def test_padding_and_absence_are_distinct():
    batch = make_collator()(
        [AspectExample("1", "the soup is great", SOUP), AspectExample("2", "  ", SOUP)]
    )
    assert batch.mask["text"].sum(1).tolist() == [8, 4]
    assert batch.inputs["text"][1, 4:].tolist() == [0] * 4
    assert batch.present["text"].tolist() == [True, False]


def test_missing_label_is_minus_one_and_unlabelled_batch_has_none():
    target = make_collator()([*rows(2), AspectExample("x", "soup", SOUP)]).target
    assert target[-1] == -1
    assert (target[:2] >= 0).all()
    assert make_collator()([AspectExample("x", "soup", SOUP)]).target is None


def test_teacher_probs_and_weights_align_with_rows():
    batch = make_collator()(
        [AspectExample("a", "soup", SOUP, teacher_probs=(0.5, 0.25, 0.25), weight=2.0), *rows(1)]
    )
    assert batch.teacher_probs.tolist() == [[0.5, 0.25, 0.25], [0.0, 0.0, 0.0]]
    assert batch.weight.tolist() == [2.0, 1.0]
    assert make_collator()(rows(2)).teacher_probs is None


def test_overall_aspect_has_empty_mask():
    assert (
        not make_collator()([AspectExample("1", "the soup", OVERALL_ASPECT)]).mask["aspect"].any()
    )


@given(st.lists(st.sampled_from(["[SEP]", "[CLS]", "[PAD]", "[MASK]", "soup", " "]), max_size=8))
def test_post_text_cannot_inject_control_tokens(parts):
    row = AspectExample("1", "".join(parts), Aspect(term="".join(parts)))
    ids = make_collator()([row]).inputs["text"][0].tolist()
    assert [i for i in ids if i in CONTROL_IDS] == [2, 3, 3]


@given(st.text(max_size=300), st.text(max_size=300))
def test_rows_never_exceed_max_length(text, term):
    collator = make_collator(max_length=12)
    row = AspectExample("1", text, Aspect(term=term))
    assert collator.length(row) == collator([row]).inputs["text"].shape[1] <= 12
    assert collator.is_truncated(row) == (make_collator(max_length=5000).length(row) > 12)


def test_long_text_is_truncated_around_the_aspect():
    row = AspectExample("1", "the soup " * 50, SOUP)
    collator = make_collator(max_length=10)
    assert collator.is_truncated(row)
    assert collator([row]).mask["aspect"].sum() == 1


@pytest.mark.parametrize(
    "label_word", ["Positive", "NEGATIVELY", "neutrality", "non-negative", "pos", "positivity"]
)
def test_label_words_are_masked_when_requested(label_word):
    row = AspectExample("1", f"it is {label_word}, good", SOUP)
    assert make_collator(mask_labels=True)([row]).texts == ("it is …, good",)
    assert make_collator()([row]).texts == (row.text,)


@pytest.mark.parametrize("label_word", ["position", "negate", "post", "neutron", "posh"])
def test_other_words_are_not_masked(label_word):
    assert make_collator(mask_labels=True).visible_text(f"a {label_word} b") == f"a {label_word} b"


def test_invalid_tokenizer_is_an_error():
    with pytest.raises(UserError, match=r"tokenizer\.json cannot be read"):
        Collator("{}")
