"""Test that label fields in contexts and explanations of dev and test rows are found."""

import pytest

from gen_msa.annotation.label_conditioned import require_train_split
from gen_msa.data.base import is_train_split
from gen_msa.data.label_leak import check_no_label_leak, find_label_fields
from gen_msa.errors import UserError
from gen_msa.types import Aspect, Example, Opinion, Polarity, Post

SOUP = Aspect(term="soup", start=4)


def make_example(explanation, meta=None, annotator="teacher"):
    post = Post(id="7", text="The soup", aspects=(SOUP,), meta=meta or {})
    gold = Opinion(annotator="gold", aspect=SOUP, polarity=Polarity.POSITIVE)
    opinion = Opinion(
        annotator=annotator, aspect=SOUP, polarity=Polarity.POSITIVE, explanation=explanation
    )
    return Example(post=post, opinions=(gold, opinion))


@pytest.mark.parametrize(
    ("explanation", "leaks"),
    [
        ("Visual cues: a smile. Sentiment: positive", True),
        ('{"label": "positive"}', True),
        ("gold_label = Positive", True),
        ("**Polarity:** positive", True),
        ("label: 2", True),
        ("sentiment: None", False),
        ("The sentiment is positive.", False),
        ("language cues: positive words", False),
        ("label: positively charming", False),
    ],
)
def test_label_field_is_found_and_prose_is_not(explanation, leaks):
    if leaks:
        for source in ("x:dev", "x:test", "posts.jsonl"):
            with pytest.raises(UserError, match="post '7', explanation by teacher"):
                check_no_label_leak(source, [make_example(explanation)])
    else:
        check_no_label_leak("x:dev", [make_example(explanation)])
    check_no_label_leak("x:train", [make_example(explanation)])


def test_post_meta_is_checked_and_gold_opinions_are_not():
    leaking_meta = make_example("fine", {"context": "a bowl; sentiment: positive", "n": 3})
    (field,) = find_label_fields(leaking_meta)
    assert (field.location, field.is_gold) == ("meta.context", True)
    assert not next(iter(find_label_fields(make_example("Label: negative")))).is_gold
    gold_explanation = make_example("Sentiment: positive", annotator="gold")
    assert list(find_label_fields(gold_explanation)) == []


@pytest.mark.parametrize("name", ["twitter2015:train", "a/posts.train.jsonl", "train.tsv"])
def test_is_train_split_accepts_train_names(name):
    assert is_train_split(name)
    require_train_split(name)


@pytest.mark.parametrize(
    "name",
    ["x:dev", "mams:test", "posts.jsonl", "train_dev.jsonl", "trainer.tsv", "test/train.tsv"],
)
def test_is_train_split_refuses_other_names(name):
    assert not is_train_split(name)
    with pytest.raises(UserError, match="not named as a train split"):
        require_train_split(name)
