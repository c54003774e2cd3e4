"""Test that quotes are located in a post in its own spelling."""

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gen_msa.chat import Completion
from gen_msa.prompting import load_prompt
from gen_msa.prompting.parsing.opinions import collect_evidence, parse_aspects, parse_opinion
from gen_msa.spans import MAX_QUOTES, SearchableText, extract_quotes, fold
from gen_msa.types import Evidence, Polarity, Post

LETTERS = "aAsSßẞéE\u0301İıiσςΣﬁ\u1100\u1161각가\u0323\u0307Åå\u212b\u200bK\u212a 😀नि"


@pytest.mark.parametrize(
    "text",
    [
        'The word "awful" decides.',
        "The word “awful” decides.",
        "The word 'awful' decides.",
        "The word ‘awful’ decides.",
        "Le mot « awful » décide.",
        "Das Wort „awful“ zählt.",
        "「awful」という言葉",
        "『awful』",
        "It says 'awful', the post's word.",
    ],
)
def test_every_quotation_mark_style_is_recognized(text):
    assert extract_quotes(text) == ["awful"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('"a" then "b" then "a"', ["a", "b"]),
        ("'don't buy it' it says", ["don't buy it"]),
        ("the post's battery isn't good", []),
        ('It is 5" long', []),
        ('"" and " "', []),
        ('"not\nclosed', []),
    ],
)
def test_quotes_are_unique_and_in_order(text, expected):
    assert extract_quotes(text) == expected


def test_number_of_quotes_is_limited():
    assert len(extract_quotes(" ".join(f'"{n}"' for n in range(99)))) == MAX_QUOTES


@pytest.mark.parametrize(
    ("text", "quote", "start", "original"),
    [
        ("Battery AWFUL today", "awful", 8, "AWFUL"),
        ("Die Straße ist lang", "STRASSE", 4, "Straße"),
        ("ßß ende", "ende", 3, "ende"),
        ("cafe\u0301 noir", "CAFÉ", 0, "cafe\u0301"),
        ("café noir", "cafe\u0301 noir", 0, "café noir"),
        ("İstanbul is great", "is great", 9, "is great"),
        ("İstanbul is great", "i\u0307stanbul", 0, "İstanbul"),
        ("ΟΔΟΣ καλή", "οδος", 0, "ΟΔΟΣ"),
        ("the ﬁrst one", "FIRST", 4, "ﬁrst"),
        ("각 good", "\u1100\u1161\u11a8", 0, "각"),
        ("\u1100\u1161\u11a8 good", "good", 4, "good"),
        ("say <\u200b|im_end|> now", "<|im_end|>", 4, "<\u200b|im_end|>"),
        ("say <|im_end|> now", "<\u200b|im_end|>", 4, "<|im_end|>"),
        ("😀😀 so good", "SO GOOD", 3, "so good"),
        ("party art", "art", 6, "art"),
        ("party: art!", "ART", 7, "art"),
        ("cafe\u0301s and a cafe\u0301", "café", 13, "cafe\u0301"),
        ("屏幕很好", "很好", 2, "很好"),
        ("x\ufdd0y", "x\ufffdy", 0, "x\ufdd0y"),
        ("so bad today", "so bad.", 0, "so bad"),
    ],
)
def test_quote_is_located_with_original_spelling(text, quote, start, original):
    evidence = collect_evidence(None, [quote], text, "")
    assert evidence.items == (Evidence(quote=original, start=start),)
    assert evidence.provenance == {}
    assert text[start : start + len(original)] == original


@pytest.mark.parametrize(
    ("text", "quote"),
    [
        ("Battery awful", "great"),
        ("Straße", "Stras"),
        ("e\u0301", "e"),
        ("", "x"),
        ("so … bad", "so bad"),
        ("party", "art"),
        ("goodbye", "good"),
        ("cafe\u0301s", "cafe\u0301"),
        ("👍🏽", "👍"),
        ("👨\u200d👩\u200d👧", "👩"),
        ("मुझे खाना", "म"),
    ],
)
def test_quote_that_is_not_in_the_post_is_no_evidence_but_counted(text, quote):
    evidence = collect_evidence(f'It says "{quote}".', [quote], text, "")
    assert evidence.items == ()
    assert evidence.provenance == {"invented_quotes": "1"}


def test_quote_of_a_cue_is_evidence_of_the_cue():
    evidence = collect_evidence('"red car" and "blue"', [], "nice", "", ["picture: a red car"])
    assert evidence.items == (Evidence(quote="red car", source="cue"),)
    assert evidence.invented == ("blue",)


POLARITIES = [p.value for p in Polarity]
PROMPTS = ["predict/full", "predict/explain", "predict/plain", "predict/overall", "predict/shots"]


@given(
    st.sampled_from(["", " ", "good", "goodbye, bad service", "Straße 屏幕很好 cafe\u0301"]),
    st.lists(
        st.sampled_from(["good", "bad", "great", "GOOD", "very good", "屏幕", "STRASSE", "", "e"]),
        max_size=4,
    ),
    st.sampled_from(POLARITIES),
    st.sampled_from(["a red sign, great", ""]),
)
def test_every_parsed_answer_quotes_only_what_is_there(text, quotes, label, cue):
    post = Post(id="1", text=text)
    explanation = "It says " + " and ".join(f'"{q}"' for q in quotes)
    fields = {"sentiment": label, "explanation": explanation, "evidence": quotes}
    aspects = [{**fields, "aspect": "service"}]
    answers = [json.dumps(fields), f"Sentiment: {label}\nWhy: {explanation}\nExplanation: good"]
    opinions = [
        parse_opinion(load_prompt(p), Completion(text=a, finish_reason="stop"), post, None, "m", c)
        for p in PROMPTS
        for a in answers
        for c in ([], [cue])
    ]
    joint = Completion(text=json.dumps(aspects), finish_reason="stop")
    opinions += parse_aspects(load_prompt("predict/aspects"), joint, post, "m", [cue])
    for e in (e for o in opinions for e in o.evidence):
        if e.source == "text":
            assert e.start is not None
            assert text.startswith(e.quote, e.start)
        else:
            assert e.quote in cue


def test_quoted_aspect_is_not_evidence():
    items = collect_evidence('The "Battery" is "awful".', [], "battery awful", "battery")
    assert [e.quote for e in items.items] == ["awful"]


def test_blank_quotes_are_not_evidence():
    assert collect_evidence(None, ["", " ", "\u200b"], "a post", "").items == ()
    assert collect_evidence(None, [], "a post", "").items == ()


@given(st.text(alphabet=LETTERS, max_size=30))
def test_piecewise_folding_equals_folding_of_full_text(text):
    cleaned = unicodedata.normalize("NFC", text.replace("\u200b", ""))
    if "\u200b" not in text:
        assert unicodedata.normalize("NFC", fold(text)) == unicodedata.normalize(
            "NFC", unicodedata.normalize("NFC", cleaned.casefold())
        )


@given(st.text(alphabet=LETTERS, max_size=30), st.data())
def test_substring_is_found_and_folds_to_query(text, data):
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    piece = text[start:end]
    for query in (piece, piece.casefold(), unicodedata.normalize("NFC", piece)):
        span = SearchableText(text).find(query)
        if span:
            assert 0 <= span[0] < span[1] <= len(text)
            assert fold(text[slice(*span)]) == fold(query)


@given(st.text(max_size=60), st.text(min_size=1, max_size=5))
def test_found_span_folds_to_query(text, query):
    span = SearchableText(text).find(query)
    assert span is None or fold(text[slice(*span)]) == fold(query)
    if query.isascii() and query.strip() and query in text and text.isascii():
        assert span is not None
