"""Joint answers: aspects listed by the reader, aligned to the post."""

import json

import pytest

from gen_msa.chat import Completion
from gen_msa.prompting import load, read_aspects
from gen_msa.types import WHOLE_POST, Aspect, Polarity, Post, Status

JOINT = load("reader/aspects")
POST = Post(id="1", text="Great Screen, but the café's battery is awful. Screens!")


def read(said, finish="stop", post=POST):
    text = said if isinstance(said, str) else json.dumps(said, ensure_ascii=False)
    return read_aspects(JOINT, Completion(text=text, finish_reason=finish), post, "me")


def item(aspect, sentiment="positive", **more):
    return {"aspect": aspect, "sentiment": sentiment, **more}


def test_each_aspect_is_an_opinion_set_where_it_stands():
    screen, battery = read(
        {"aspects": [item("Screen", explanation='It is "Great".'), item("battery", "negative")]}
    )
    assert screen.aspect == Aspect(term="Screen", start=6)
    assert (screen.polarity, screen.how["span"]) == (Polarity.POSITIVE, "exact")
    assert (screen.evidence[0].quote, screen.evidence[0].start) == ("Great", 0)
    assert battery.aspect == Aspect(term="battery", start=29)
    assert battery.polarity is Polarity.NEGATIVE
    assert battery.how["prompt"] == JOINT.identity


@pytest.mark.parametrize(
    ("said", "term", "start", "span"),
    [
        ("Screen", "Screen", 6, "exact"),
        ("screen", "Screen", 6, "casefold+NFC"),
        ("CAFE\u0301", "café", 22, "casefold+NFC"),
        ("Screens", "Screens", 47, "exact"),
        ("price", "price", None, "absent"),
    ],
)
def test_an_aspect_is_sought_exactly_then_folded_and_the_fallback_is_logged(
    said, term, start, span
):
    [opinion] = read({"aspects": [item(said)]})
    assert opinion.aspect == Aspect(term=term, start=start)
    assert opinion.how["span"] == span


def test_aspects_named_twice_are_one():
    [same] = read({"aspects": [item("Screen"), item("screen"), item("SCREEN")]})
    assert (same.polarity, same.how["duplicates"]) == (Polarity.POSITIVE, "3 collapsed")
    [both] = read({"aspects": [item("Screen"), item("Screen", "negative")]})
    assert (both.polarity, both.status) == (None, Status.UNPARSED)


@pytest.mark.parametrize(
    "said",
    [
        {"aspects": [item("Screen"), item("battery", "negative")]},
        [item("Screen"), item("battery", "negative")],
        {"Aspects": [item("Screen"), item("battery", "NEG")]},
        {"opinions": [{"target": "Screen", "polarity": "positive"}, item("battery", "负面")]},
        "Here you are:\n```json\n"
        + json.dumps({"aspects": [item("Screen"), item("battery", "negative")]})
        + "\n```",
        "Aspect: Screen\nSentiment: positive\nReason: x\n\nAspect: battery\nSentiment: negative",
        "1. **Aspect:** Screen\n **Label:** positive\n2. **Aspect:** battery\n **Label:** negative",
        "<think>hm</think>" + json.dumps([item("Screen"), item("battery", "negative")]),
    ],
)
def test_every_way_of_listing_is_read(said):
    got = [(o.aspect.term, o.polarity, o.status) for o in read(said)]
    assert got == [("Screen", "positive", "ok"), ("battery", "negative", "ok")]


@pytest.mark.parametrize(
    ("said", "finish", "status"),
    [
        ("", "stop", Status.EMPTY),
        ("  \n", "length", Status.EMPTY),
        ("I see a screen and a battery.", "stop", Status.UNPARSED),
        ('{"aspects": [{"aspect": "Screen", "sentiment": "pos', "stop", Status.UNPARSED),
        (
            '{"aspects": [{"aspect": "Screen", "sentiment": "positive"}, {"as',
            "length",
            Status.LENGTH,
        ),
        ({"aspects": [item("Screen")]}, "length", Status.LENGTH),
        ({"aspects": [{"sentiment": "positive"}]}, "stop", Status.UNPARSED),
        ({"aspects": [item("")]}, "stop", Status.UNPARSED),
        ({"aspects": [item(7)]}, "stop", Status.UNPARSED),
        ({"aspects": "Screen"}, "stop", Status.UNPARSED),
        ("Sentiment: positive", "stop", Status.UNPARSED),
    ],
)
def test_what_cannot_be_read_is_one_opinion_without_a_polarity(said, finish, status):
    [opinion] = read(said, finish)
    assert (opinion.aspect, opinion.polarity, opinion.status) == (WHOLE_POST, None, status)
    assert opinion.raw == (said if isinstance(said, str) else json.dumps(said))


def test_naming_no_aspect_is_an_answer_and_says_so():
    [opinion] = read({"aspects": []})
    assert (opinion.aspect, opinion.polarity, opinion.status) == (WHOLE_POST, None, Status.OK)
    assert opinion.how["aspects"] == "none named"


def test_an_aspect_without_a_readable_label_is_kept_as_unparsed():
    good, bad, none = read(
        {"aspects": [item("Screen"), item("battery", "mixed"), {"aspect": "café"}]}
    )
    assert good.status is Status.OK
    assert (bad.aspect.term, bad.polarity, bad.status) == ("battery", None, Status.UNPARSED)
    assert (none.aspect.term, none.polarity, none.status) == ("café", None, Status.UNPARSED)


def test_items_without_a_name_are_counted():
    [opinion] = read({"aspects": [item("Screen"), {"sentiment": "positive"}]})
    assert opinion.how["aspects"] == "1 without a name left out"


def test_a_loop_of_aspects_is_bounded_and_says_so():
    opinions = read({"aspects": [item(f"a{n}") for n in range(500)]})
    assert len(opinions) == 64
    assert opinions[0].how["aspects"].startswith("the first 64 of ")
