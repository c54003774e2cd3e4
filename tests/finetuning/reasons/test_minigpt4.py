"""A noisy teacher's reasons: few pass, and those that do name the aspect and quote the post."""

import json
import os
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gen_msa.data import open_source
from gen_msa.errors import UserError
from gen_msa.finetuning.reasons import find, reasons
from gen_msa.finetuning.reasons._quoting import quoted
from gen_msa.finetuning.reasons.minigpt4 import MiniGpt4, judge
from gen_msa.types import Aspect, Example, Media, Opinion, Polarity, Post

TEXT = "Ada 's soup was a real joy tonight"
SOUP = Opinion(by="gold", aspect=Aspect(term="soup", start=7), polarity=Polarity.POSITIVE)


def example():
    media = (Media(kind="image", path="17.jpg"),)
    post = Post(id="1", text=TEXT, media=media, aspects=(SOUP.aspect,))
    return Example(post=post, opinions=(SOUP,))


def folder(tmp_path, reason, **more):
    row = {"text": "Ada 's $T$ was a real joy tonight\n", "target": "soup", "ImageID": "17"}
    row |= {"reason": reason, "gt_label": "1", "description": "?"} | more
    tmp_path.mkdir(exist_ok=True)
    (tmp_path / "train.json").write_text(json.dumps([row]), encoding="utf-8")
    return tmp_path


GOOD = "Sentiment: Positive\nReason: The writer calls the soup a real joy."


def test_a_good_reason_is_taken_with_the_words_of_the_post_in_quotes(tmp_path):
    source = MiniGpt4(folder(tmp_path, GOOD))
    assert source.reasons([example()]) == [('The writer calls the soup a "real joy".',)]
    assert source.counts == {"accepted": 1}


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("Sentiment: Negative. The soup was a real joy.", "says another sentiment"),
        ("No idea.", "says another sentiment"),
        (
            "Sentiment: Positive. The image shows a soup that was a real joy.",
            "speaks of the picture",
        ),
        ("Sentiment: Positive. It is important to note the real joy of soup.", "boilerplate"),
        ("Sentiment: Positive. The real joy of soup is neutral.", "contradicts itself"),
        ("Sentiment: Positive. The soup is liked.", "quotes nothing of the post"),
        ('Sentiment: Positive. The soup is "best ever", a real joy.', "quotes nothing of the post"),
        ("Sentiment: Positive. It is a real joy.", "does not name the aspect"),
        ("Sentiment: Positive. The soup is a real joy and the", "too long, or cut off"),
        (
            "Sentiment: Positive. The soup is a real joy" + " and so on" * 20 + ".",
            "too long, or cut off",
        ),
    ],
)
def test_the_others_are_refused_and_counted_by_their_cause(said, why, tmp_path):
    assert judge(said, TEXT, SOUP) == ("", why)
    source = MiniGpt4(folder(tmp_path, said))
    assert source.reasons([example()]) == [(None,)]
    assert source.counts == {why: 1}


def test_rows_are_joined_by_text_target_and_picture(tmp_path):
    for i, other in enumerate(
        ({"ImageID": "18"}, {"target": "Ada"}, {"text": "$T$ was a real joy"})
    ):
        source = MiniGpt4(folder(tmp_path / str(i), GOOD, **other))
        assert source.reasons([example()]) == [(None,)]
        assert source.counts == {"no row": 1}


def test_a_folder_without_rationales_is_an_error_and_test_is_never_read(tmp_path):
    folder(tmp_path, GOOD)
    (tmp_path / "train.json").rename(tmp_path / "test.json")
    with pytest.raises(UserError, match=r"no train\.json"):
        MiniGpt4(tmp_path).reasons([example()])


@given(st.text(alphabet="soup real joy\"'#.é\n", max_size=60), st.sampled_from(list(Polarity)))
def test_what_is_quoted_stands_in_the_post(sentence, polarity):
    found = quoted(sentence, TEXT, "soup", polarity)
    assert all(q in TEXT for q in re.findall('"([^"]*)"', found))


@pytest.mark.skipif(not os.environ.get("GEN_MSA_DATA"), reason="GEN_MSA_DATA is not set")
@pytest.mark.parametrize("name", ["twitter2015", "twitter2017"])
def test_reasons_of_real_posts_are_verbatim_and_name_their_aspects(name):
    source = reasons["minigpt4"](name)
    rows = [e for e in open_source(f"{name}:dev").rows() if isinstance(e, Example)]
    some = [Example(post=e.post, opinions=e.said_by("gold")) for e in rows]
    for e, told in zip(some, source.reasons(some), strict=True):
        for o, reason in zip(e.opinions, told, strict=True):
            if reason:
                assert o.aspect.term in reason
                assert len(reason.split()) <= 40
                assert all(q in e.post.text for q in re.findall('"([^"]*)"', reason))
    assert source.counts["accepted"]
    assert source.counts["no row"] < 10
    assert find(f"minigpt4:{name},cue").reasoned(some[:5], "gold")
