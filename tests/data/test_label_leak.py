"""The label audit: a context or reason of a dev or test row that carries a label is found."""

import pytest

from gen_msa.annotating._guiding import refuse_unless_train
from gen_msa.data.label_leak import audit, label_fields
from gen_msa.data.splits import is_train
from gen_msa.errors import UserError
from gen_msa.types import Aspect, Example, Opinion, Polarity, Post

SOUP = Aspect(term="soup", start=4)


def example(reason, meta=None, by="teacher"):
    post = Post(id="7", text="The soup", aspects=(SOUP,), meta=meta or {})
    gold = Opinion(by="gold", aspect=SOUP, polarity=Polarity.POSITIVE)
    said = Opinion(by=by, aspect=SOUP, polarity=Polarity.POSITIVE, explanation=reason)
    return Example(post=post, opinions=(gold, said))


@pytest.mark.parametrize(
    ("reason", "found"),
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
def test_a_field_with_a_label_is_found_and_prose_is_not(reason, found):
    if found:
        for source in ("x:dev", "x:test", "posts.jsonl"):
            with pytest.raises(UserError, match="post '7', explanation by teacher"):
                audit(source, [example(reason)])
    else:
        audit("x:dev", [example(reason)])
    audit("x:train", [example(reason)])


def test_contexts_that_come_with_the_post_are_looked_at_and_gold_is_not():
    hidden = example("fine", {"context": "a bowl; sentiment: positive", "n": 3})
    (field,) = label_fields(hidden)
    assert (field.where, field.gold) == ("meta.context", True)
    assert not next(iter(label_fields(example("Label: negative")))).gold
    own = example("Sentiment: positive", by="gold")
    assert list(label_fields(own)) == []


@pytest.mark.parametrize("name", ["twitter2015:train", "a/posts.train.jsonl", "train.tsv"])
def test_a_train_split_says_so(name):
    assert is_train(name)
    refuse_unless_train(name)


@pytest.mark.parametrize(
    "name",
    ["x:dev", "mams:test", "posts.jsonl", "train_dev.jsonl", "trainer.tsv", "test/train.tsv"],
)
def test_what_does_not_say_so_is_refused(name):
    assert not is_train(name)
    with pytest.raises(UserError, match="not named as a train split"):
        refuse_unless_train(name)
