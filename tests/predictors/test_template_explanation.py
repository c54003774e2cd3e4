"""A reason made of evidence: the aspect first, then the post's own words in quotation marks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gen_msa.metrics import metrics
from gen_msa.metrics._pairs import Pair
from gen_msa.models import AspectExample
from gen_msa.models.inference.occlusion import Attribution, candidate_spans
from gen_msa.predictors._template_explanation import (
    AspectContext,
    aspect_contexts,
    build_evidence,
    template_explanation,
)
from gen_msa.spans import SearchableText, extract_quotes
from gen_msa.types import OVERALL_ASPECT, Aspect, Evidence, Opinion, Parse, Polarity, Post, Token

POSITIVE = Polarity.POSITIVE
SOUP = Aspect(term="soup", start=4)
TEXT = "The soup was very good , I love it"

ABOUT = (
    'soup: positive. It rests most on "love" and the image; about soup the post says "soup was".'
)


def evidence_for(fragments):
    return build_evidence(
        TEXT,
        "",
        Attribution(spans=tuple((TEXT.index(w), TEXT.index(w) + len(w)) for w in fragments)),
    )


def test_adjacent_words_form_one_verbatim_quote():
    evidence_items = evidence_for(["love", "good", "very"])
    assert [(e.quote, e.start) for e in evidence_items] == [("love", 27), ("very good", 13)]
    assert all(TEXT[e.start : e.start + len(e.quote)] == e.quote for e in evidence_items)


def test_non_text_evidence_has_its_own_source():
    evidence_items = build_evidence(
        TEXT, "a smile", Attribution(part_drops={"audio": 0.9, "image": 0.4, "context": 0.2})
    )
    assert evidence_items == (
        Evidence(quote="the image", source="image"),
        Evidence(quote="a smile", source="cue"),
    )


@pytest.mark.parametrize(
    ("fragments", "context", "others", "expected"),
    [
        (["good"], AspectContext(), [], 'soup: positive. It rests most on "good".'),
        (
            ["love"],
            AspectContext(("soup was",), "window"),
            [],
            'soup: positive. It rests most on "love".',
        ),
        (
            ["good"],
            AspectContext(("soup was very good",), "window"),
            [],
            'soup: positive. It rests most on "good", in "soup was very good".',
        ),
        (
            ["love"],
            AspectContext(("soup was",), "heads:stanza"),
            ["the image"],
            ABOUT,
        ),
        ([], AspectContext(), [], "soup: positive, though no few words of the post carry it."),
    ],
)
def test_template_explanation_wording(fragments, context, others, expected):
    assert (
        template_explanation(SOUP, POSITIVE, evidence_for(fragments), context, others) == expected
    )


def test_template_explanation_names_the_overall_aspect():
    assert template_explanation(OVERALL_ASPECT, POSITIVE, evidence_for(["love"])).startswith(
        "the post as a whole: positive"
    )


def test_given_parse_selects_the_context_of_an_aspect():
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
    tokens, offset = [], 0
    for word, (head, rel) in zip(text.split(), heads, strict=True):
        tokens.append(Token(text=word, start=text.index(word, offset), head=head, rel=rel))
        offset = tokens[-1].start + len(word)
    aspects = (SOUP, Aspect(term="waiter", start=text.index("waiter")))
    post = Post(id="1", text=text, aspects=aspects, parse=Parse(tokens=tuple(tokens), parser="us"))
    without_parse = post.model_copy(update={"parse": None})
    parsed_contexts, (window, _) = aspect_contexts([post, without_parse])
    assert {n.source for n in parsed_contexts} == {"heads:us"}
    assert "good" in parsed_contexts[0].pieces[0]
    assert "good" not in " ".join(parsed_contexts[1].pieces)
    assert window == AspectContext(("The soup was good but the",), "window")


texts = st.text(st.sampled_from("ab é中 \"'“”«»\n.:!👍-"), max_size=40)


@given(
    texts, st.text(st.sampled_from("ab é中\"'“”«»-"), min_size=1, max_size=6), texts, st.randoms()
)
def test_every_quote_of_an_explanation_is_in_the_post(left, term, right, rng):
    text = f"{left} {term} {right}"
    aspect = Aspect(term=term, start=len(left) + 1)
    post = Post(id="1", text=text, aspects=(aspect,))
    chosen = [w for w in candidate_spans(AspectExample("1", text, aspect)) if rng.random() < 0.5]
    evidence_items = build_evidence(text, "", Attribution(spans=tuple(chosen)))
    for e in evidence_items:
        assert e.source == "text"
        assert e.start is not None
        assert text.startswith(e.quote, e.start)
    explanation = template_explanation(
        aspect, POSITIVE, evidence_items, aspect_contexts([post])[0][0]
    )
    assert explanation.startswith(f"{term}: positive") or term != term.strip()
    spans = SearchableText(text)
    for quote in extract_quotes(explanation):
        assert next(spans.find_whole_words(quote), None) or quote == term or quote in term


def test_explanations_score_full_aspect_mention_and_quote_fidelity():
    post = Post(id="1", text=TEXT, aspects=(SOUP, Aspect(term="I", start=25)))
    explanations = [
        template_explanation(a, POSITIVE, evidence_for(["love", "good"]), n)
        for a, n in zip(post.aspects, aspect_contexts([post])[0], strict=True)
    ]
    opinions = [
        Opinion(annotator="s", aspect=a, explanation=t)
        for a, t in zip(post.aspects, explanations, strict=True)
    ]
    pairs = [Pair(post, o, o, "1") for o in opinions]
    metric_values = {}
    for name in ("aspect_mention", "quote_fidelity"):
        metric = metrics[name]()
        metric_values |= metric.compute(metric.row_statistics(pairs).sum(0))
    assert (metric_values["named"], metric_values["rival"]) == (1, 0)
    assert (metric_values["verbatim"], metric_values["quote_rate"]) == (1, 1)
