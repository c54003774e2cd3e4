"""Where quoted words stand in a post, in its own letters."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gen_msa.prompting.answers._quotes import evidence
from gen_msa.spans import MAX_QUOTES, Spans, find_exact, fold, quotes
from gen_msa.types import Evidence

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
def test_every_kind_of_quotation_mark_is_known(text):
    assert quotes(text) == ["awful"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('"a" then "b" then "a"', ["a", "b"]),
        ("'don't buy it' it says", ["don't buy it"]),
        ("the post's battery isn't good", []),
        ('It is 5" long', []),
        ('"" and " "', []),
        ('"not\nclosed', []),
    ],
)
def test_quotes_are_read_in_order_once_each(text, found):
    assert quotes(text) == found


def test_there_are_never_too_many_quotes():
    assert len(quotes(" ".join(f'"{n}"' for n in range(99)))) == MAX_QUOTES


@pytest.mark.parametrize(
    ("text", "quote", "start", "own"),
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
        ("party", "art", 1, "art"),
        ("屏幕很好", "很好", 2, "很好"),
        ("x\ufdd0y", "x\ufffdy", 0, "x\ufdd0y"),
        ("so bad today", "so bad.", 0, "so bad"),
    ],
)
def test_a_quote_is_placed_in_the_posts_own_letters(text, quote, start, own):
    assert evidence(None, [quote], text, "") == (Evidence(quote=own, start=start),)
    assert text[start : start + len(own)] == own


@pytest.mark.parametrize(
    ("text", "quote"),
    [
        ("Battery awful", "great"),
        ("Straße", "Stras"),
        ("e\u0301", "e"),
        ("", "x"),
        ("so … bad", "so bad"),
    ],
)
def test_a_quote_that_does_not_stand_there_is_kept_without_a_place(text, quote):
    assert evidence(None, [quote], text, "") == (Evidence(quote=quote),)


def test_naming_the_aspect_in_quotes_is_no_evidence():
    found = evidence('The "Battery" is "awful".', [], "battery awful", "battery")
    assert [e.quote for e in found] == ["awful"]


def test_blank_evidence_is_none():
    assert evidence(None, ["", " ", "\u200b"], "a post", "")[0] == Evidence(quote="\u200b")
    assert evidence(None, [], "a post", "") == ()


@given(st.text(alphabet=LETTERS, max_size=30))
def test_folding_by_pieces_equals_folding_the_whole(text):
    whole = unicodedata.normalize("NFC", text.replace("\u200b", ""))
    if "\u200b" not in text:
        assert unicodedata.normalize("NFC", fold(text)) == unicodedata.normalize(
            "NFC", unicodedata.normalize("NFC", whole.casefold())
        )


@given(st.text(alphabet=LETTERS, max_size=30), st.data())
def test_every_whole_piece_of_a_text_is_found_and_folds_to_what_was_asked(text, data):
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    words = text[start:end]
    for wanted in (words, words.casefold(), unicodedata.normalize("NFC", words)):
        span = Spans(text).find(wanted)
        if span:
            assert 0 <= span[0] < span[1] <= len(text)
            assert fold(text[slice(*span)]) == fold(wanted)
    if words.strip():
        assert text[slice(*find_exact(text, words))] == words


@given(st.text(max_size=60), st.text(min_size=1, max_size=5))
def test_a_place_always_shows_what_was_asked(text, words):
    span = Spans(text).find(words)
    assert span is None or fold(text[slice(*span)]) == fold(words)
    if words.isascii() and words.strip() and words in text and text.isascii():
        assert span is not None
