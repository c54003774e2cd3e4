"""A reason made of evidence: the aspect first, then the post's own words in quotation marks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gen_msa.metrics import metrics
from gen_msa.metrics._pairs import Pair
from gen_msa.readers._reasoning import Nearby, evidence, nearby, reason
from gen_msa.spans import Spans, quotes
from gen_msa.students import Row
from gen_msa.students.common.occluding import Carried, words_of
from gen_msa.types import WHOLE_POST, Aspect, Evidence, Opinion, Parse, Polarity, Post, Token

POSITIVE = Polarity.POSITIVE
SOUP = Aspect(term="soup", start=4)
TEXT = "The soup was very good , I love it"

ABOUT = (
    'soup: positive. It rests most on "love" and the picture; about soup the post says "soup was".'
)


def of(words):
    return evidence(
        TEXT, "", Carried(words=tuple((TEXT.index(w), TEXT.index(w) + len(w)) for w in words))
    )


def test_evidence_is_verbatim_and_words_side_by_side_are_one_quote():
    said = of(["love", "good", "very"])
    assert [(e.quote, e.start) for e in said] == [("love", 27), ("very good", 13)]
    assert all(TEXT[e.start : e.start + len(e.quote)] == e.quote for e in said)


def test_what_is_no_words_is_evidence_of_its_own_kind():
    said = evidence(TEXT, "a smile", Carried(others={"audio": 0.9, "picture": 0.4, "context": 0.2}))
    assert said == (
        Evidence(quote="the picture", source="picture"),
        Evidence(quote="a smile", source="cue"),
    )


@pytest.mark.parametrize(
    ("words", "near", "others", "told"),
    [
        (["good"], Nearby(), [], 'soup: positive. It rests most on "good".'),
        (["love"], Nearby(("soup was",), "window"), [], 'soup: positive. It rests most on "love".'),
        (
            ["good"],
            Nearby(("soup was very good",), "window"),
            [],
            'soup: positive. It rests most on "good", in "soup was very good".',
        ),
        (
            ["love"],
            Nearby(("soup was",), "heads:stanza"),
            ["the picture"],
            ABOUT,
        ),
        ([], Nearby(), [], "soup: positive, though no few words of the post carry it."),
    ],
)
def test_the_sentence(words, near, others, told):
    assert reason(SOUP, POSITIVE, of(words), near, others) == told


def test_the_post_as_a_whole_is_named():
    assert reason(WHOLE_POST, POSITIVE, of(["love"])).startswith("the post as a whole: positive")


def test_a_parse_that_came_with_the_post_says_what_belongs_to_the_aspect():
    text = "The soup was good but the waiter slow"
    heads = [
        (1, "det"),
        (3, "nsubj"),
        (3, "cop"),
        (-1, "root"),
        (7, "cc"),
        (6, "det"),
        (7, "nsubj"),
        (3, "conj"),
    ]
    tokens, at = [], 0
    for word, (head, rel) in zip(text.split(), heads, strict=True):
        tokens.append(Token(text=word, start=text.index(word, at), head=head, rel=rel))
        at = tokens[-1].start + len(word)
    aspects = (SOUP, Aspect(term="waiter", start=text.index("waiter")))
    post = Post(id="1", text=text, aspects=aspects, parse=Parse(tokens=tuple(tokens), by="us"))
    plain = post.model_copy(update={"parse": None})
    parsed, (window, _) = nearby([post, plain])
    assert {n.source for n in parsed} == {"heads:us"}
    assert "good" in parsed[0].pieces[0]
    assert "good" not in " ".join(parsed[1].pieces)
    assert window == Nearby(("The soup was good but the",), "window")


texts = st.text(st.sampled_from("ab é中 \"'“”«»\n.:!👍-"), max_size=40)


@given(
    texts, st.text(st.sampled_from("ab é中\"'“”«»-"), min_size=1, max_size=6), texts, st.randoms()
)
def test_whatever_is_named_all_that_is_quoted_stands_in_the_post(left, term, right, dice):
    text = f"{left} {term} {right}"
    aspect = Aspect(term=term, start=len(left) + 1)
    post = Post(id="1", text=text, aspects=(aspect,))
    chosen = [w for w in words_of(Row("1", text, aspect)) if dice.random() < 0.5]
    said = evidence(text, "", Carried(words=tuple(chosen)))
    told = reason(aspect, POSITIVE, said, nearby([post])[0][0])
    assert told.startswith(f"{term}: positive") or term != term.strip()
    spans = Spans(text)
    for quote in quotes(told):
        assert next(spans.whole(quote), None) or quote == term or quote in term


def test_naming_and_quoting_are_whole():
    post = Post(id="1", text=TEXT, aspects=(SOUP, Aspect(term="I", start=25)))
    told = [
        reason(a, POSITIVE, of(["love", "good"]), n)
        for a, n in zip(post.aspects, nearby([post])[0], strict=True)
    ]
    said = [
        Opinion(by="s", aspect=a, explanation=t) for a, t in zip(post.aspects, told, strict=True)
    ]
    pairs = [Pair(post, o, o, "1") for o in said]
    figures = {}
    for name in ("naming", "quoting"):
        metric = metrics[name]()
        figures |= metric.values(metric.rows(pairs).sum(0))
    assert (figures["named"], figures["rival"]) == (1, 0)
    assert (figures["verbatim"], figures["quoting"]) == (1, 1)
