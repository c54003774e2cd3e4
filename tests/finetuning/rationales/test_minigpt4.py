"""Rationales of a noisy teacher: the accepted ones name the aspect and quote the post."""

import json
import os
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gen_msa.data import open_examples
from gen_msa.errors import UserError
from gen_msa.finetuning.rationales import find_sources, rationale_sources
from gen_msa.finetuning.rationales.minigpt4 import (
    MiniGpt4Rationales,
    quote_shared_words,
    usable_part,
)
from gen_msa.types import Aspect, Example, Media, Opinion, Polarity, Post

TEXT = "Ada 's soup was a real joy tonight"
SOUP = Opinion(annotator="gold", aspect=Aspect(term="soup", start=7), polarity=Polarity.POSITIVE)


def example():
    media = (Media(kind="image", path="17.jpg"),)
    post = Post(id="1", text=TEXT, media=media, aspects=(SOUP.aspect,))
    return Example(post=post, opinions=(SOUP,))


def write_rationales(tmp_path, rationale, **overrides):
    row = {"text": "Ada 's $T$ was a real joy tonight\n", "target": "soup", "ImageID": "17"}
    row |= {"reason": rationale, "gt_label": "1", "description": "?"} | overrides
    tmp_path.mkdir(exist_ok=True)
    (tmp_path / "train.json").write_text(json.dumps([row]), encoding="utf-8")
    return tmp_path


GOOD_RATIONALE = "Sentiment: Positive\nReason: The writer calls the soup a real joy."


def test_valid_rationale_is_accepted_with_post_words_quoted(tmp_path):
    source = MiniGpt4Rationales(write_rationales(tmp_path, GOOD_RATIONALE))
    assert source.rationales([example()]) == [('The writer calls the soup a "real joy".',)]
    assert source.counts == {"accepted": 1}


@pytest.mark.parametrize(
    ("answer", "rejection"),
    [
        ("Sentiment: Negative. The soup was a real joy.", "another sentiment"),
        ("No idea.", "another sentiment"),
        (
            "Sentiment: Positive. The image shows a soup that was a real joy.",
            "describes the image",
        ),
        ("Sentiment: Positive. It is important to note the real joy of soup.", "boilerplate"),
        ("Sentiment: Positive. The real joy of soup is neutral.", "contradicts itself"),
        ("Sentiment: Positive. The soup is liked.", "shares no words with the post"),
        (
            'Sentiment: Positive. The soup is "best ever", a real joy.',
            "shares no words with the post",
        ),
        ("Sentiment: Positive. It is a real joy.", "does not name the aspect"),
        ("Sentiment: Positive. The soup is a real joy and the", "too long or truncated"),
        (
            "Sentiment: Positive. The soup is a real joy" + " and so on" * 20 + ".",
            "too long or truncated",
        ),
    ],
)
def test_invalid_rationales_are_rejected_and_counted_by_cause(answer, rejection, tmp_path):
    assert usable_part(answer, TEXT, SOUP) == ("", rejection)
    source = MiniGpt4Rationales(write_rationales(tmp_path, answer))
    assert source.rationales([example()]) == [(None,)]
    assert source.counts == {rejection: 1}


def test_rows_are_joined_by_text_target_and_image(tmp_path):
    for i, overrides in enumerate(
        ({"ImageID": "18"}, {"target": "Ada"}, {"text": "$T$ was a real joy"})
    ):
        source = MiniGpt4Rationales(
            write_rationales(tmp_path / str(i), GOOD_RATIONALE, **overrides)
        )
        assert source.rationales([example()]) == [(None,)]
        assert source.counts == {"no row": 1}


def test_missing_rationales_are_an_error_and_test_split_is_never_read(tmp_path):
    write_rationales(tmp_path, GOOD_RATIONALE)
    (tmp_path / "train.json").rename(tmp_path / "test.json")
    with pytest.raises(UserError, match=r"no train\.json"):
        MiniGpt4Rationales(tmp_path).rationales([example()])


@given(st.text(alphabet="soup real joy\"'#.é\n", max_size=60), st.sampled_from(list(Polarity)))
def test_quoted_text_occurs_in_the_post(sentence, polarity):
    quoted_sentence = quote_shared_words(sentence, TEXT, "soup", polarity)
    assert all(q in TEXT for q in re.findall('"([^"]*)"', quoted_sentence))


@pytest.mark.skipif(not os.environ.get("GEN_MSA_DATA"), reason="GEN_MSA_DATA is not set")
@pytest.mark.parametrize("name", ["twitter2015", "twitter2017"])
def test_rationales_of_real_posts_are_verbatim_and_name_aspects(name):
    source = rationale_sources["minigpt4"](name)
    rows = [
        example_
        for example_ in open_examples(f"{name}:dev").rows()
        if isinstance(example_, Example)
    ]
    examples = [
        Example(post=example_.post, opinions=example_.opinions_by("gold")) for example_ in rows
    ]
    for example_, rationales in zip(examples, source.rationales(examples), strict=True):
        for o, rationale in zip(example_.opinions, rationales, strict=True):
            if rationale:
                assert o.aspect.term in rationale
                assert len(rationale.split()) <= 40
                assert all(q in example_.post.text for q in re.findall('"([^"]*)"', rationale))
    assert source.counts["accepted"]
    assert source.counts["no row"] < 10
    assert find_sources(f"minigpt4:{name},cue").explain(examples[:5], "gold")
