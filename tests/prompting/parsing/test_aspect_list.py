"""Test the parsing of joint answers: listed aspects are located in the post."""

import json

import pytest

from gen_msa.chat import Completion
from gen_msa.prompting import load_prompt, parse_aspects
from gen_msa.types import OVERALL_ASPECT, Aspect, Polarity, Post, Status

JOINT = load_prompt("predict/aspects")
POST = Post(id="1", text="Great Screen, but the café's battery is awful. Screens!")


def parse(answer, finish="stop", post=POST):
    text = answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False)
    return parse_aspects(JOINT, Completion(text=text, finish_reason=finish), post, "me")


def item(aspect, sentiment="positive", **fields):
    return {"aspect": aspect, "sentiment": sentiment, **fields}


def test_listed_aspect_becomes_located_opinion():
    screen, battery = parse(
        {"aspects": [item("Screen", explanation='It is "Great".'), item("battery", "negative")]}
    )
    assert screen.aspect == Aspect(term="Screen", start=6)
    assert (screen.polarity, screen.provenance["span"]) == (Polarity.POSITIVE, "exact")
    assert (screen.evidence[0].quote, screen.evidence[0].start) == ("Great", 0)
    assert battery.aspect == Aspect(term="battery", start=29)
    assert battery.polarity is Polarity.NEGATIVE
    assert battery.provenance["prompt"] == JOINT.identity


@pytest.mark.parametrize(
    ("mention", "term", "start", "span"),
    [
        ("Screen", "Screen", 6, "exact"),
        ("screen", "Screen", 6, "casefold+NFC"),
        ("CAFE\u0301", "café", 22, "casefold+NFC"),
        ("Screens", "Screens", 47, "exact"),
        ("price", "price", None, "absent"),
    ],
)
def test_aspect_is_located_exactly_then_casefolded(mention, term, start, span):
    [opinion] = parse({"aspects": [item(mention)]})
    assert opinion.aspect == Aspect(term=term, start=start)
    assert opinion.provenance["span"] == span


def test_repeated_aspects_are_merged():
    [merged] = parse({"aspects": [item("Screen"), item("screen"), item("SCREEN")]})
    assert (merged.polarity, merged.provenance["duplicates"]) == (Polarity.POSITIVE, "3 collapsed")
    [conflicting] = parse({"aspects": [item("Screen"), item("Screen", "negative")]})
    assert (conflicting.polarity, conflicting.status) == (None, Status.UNPARSED)


@pytest.mark.parametrize(
    "answer",
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
def test_every_list_format_is_parsed(answer):
    results = [(o.aspect.term, o.polarity, o.status) for o in parse(answer)]
    assert results == [("Screen", "positive", "ok"), ("battery", "negative", "ok")]


@pytest.mark.parametrize(
    ("answer", "finish", "status"),
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
def test_unparsable_list_gives_one_opinion_without_polarity(answer, finish, status):
    [opinion] = parse(answer, finish)
    assert (opinion.aspect, opinion.polarity, opinion.status) == (OVERALL_ASPECT, None, status)
    assert opinion.raw == (answer if isinstance(answer, str) else json.dumps(answer))


def test_empty_aspect_list_is_a_valid_answer():
    [opinion] = parse({"aspects": []})
    assert (opinion.aspect, opinion.polarity, opinion.status) == (OVERALL_ASPECT, None, Status.OK)
    assert opinion.provenance["aspects"] == "none named"


def test_aspect_without_valid_label_is_unparsed():
    good, bad, unlabelled = parse(
        {"aspects": [item("Screen"), item("battery", "mixed"), {"aspect": "café"}]}
    )
    assert good.status is Status.OK
    assert (bad.aspect.term, bad.polarity, bad.status) == ("battery", None, Status.UNPARSED)
    assert (unlabelled.aspect.term, unlabelled.polarity, unlabelled.status) == (
        "café",
        None,
        Status.UNPARSED,
    )


def test_items_without_aspect_are_counted():
    [opinion] = parse({"aspects": [item("Screen"), {"sentiment": "positive"}]})
    assert opinion.provenance["aspects"] == "1 without a name left out"


def test_aspect_list_is_bounded_and_noted():
    opinions = parse({"aspects": [item(f"a{n}") for n in range(500)]})
    assert len(opinions) == 64
    assert opinions[0].provenance["aspects"].startswith("the first 64 of ")
