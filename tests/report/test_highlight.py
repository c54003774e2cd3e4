"""Cutting a text for marks: nothing is lost, and every character has the tone it should have."""

import time

from hypothesis import given
from hypothesis import strategies as st

from gen_msa.report.highlight import Span, pieces

TONES = ["negative", "neutral", "positive"]
SPANS = st.builds(
    Span,
    st.integers(-2, 14),
    st.integers(-2, 14),
    st.sampled_from(["aspect", "evidence"]),
    st.sampled_from(TONES),
)


@given(st.text(max_size=12), st.lists(SPANS, max_size=8))
def test_the_pieces_are_the_text(text, spans):
    found = pieces(text, spans)
    assert "".join(p.text for p in found) == text
    assert all(text[p.start : p.start + len(p.text)] == p.text for p in found)
    assert all(p.text for p in found)


@given(st.text(max_size=12), st.lists(SPANS, max_size=8))
def test_every_character_has_the_tone_of_what_covers_it(text, spans):
    kept = [s for s in spans if 0 <= s.start < s.end <= len(text)]
    for piece in pieces(text, spans):
        for at in range(piece.start, piece.start + len(piece.text)):
            over = [s for s in kept if s.start <= at < s.end]
            tones = {s.tone for s in over if s.role == "evidence"}
            expected = tones.pop() if len(tones) == 1 else "mixed" if tones else None
            assert piece.evidence == expected
            aspects = [s for s in over if s.role == "aspect"]
            shortest = min((s.end - s.start for s in aspects), default=0)
            assert piece.aspect in [
                *(s.tone for s in aspects if s.end - s.start == shortest),
                *([] if aspects else [None]),
            ]


@given(st.text(max_size=12), st.lists(SPANS, max_size=8))
def test_a_piece_begins_wherever_a_span_begins(text, spans):
    begins = {p.start for p in pieces(text, spans)}
    assert all(s.start in begins for s in spans if 0 <= s.start < s.end <= len(text))


def test_an_aspect_inside_evidence_keeps_both_tones():
    found = pieces(
        "the battery dies", [Span(0, 16, "evidence", "negative"), Span(4, 11, "aspect", "positive")]
    )
    assert [(p.text, p.aspect, p.evidence, p.closes) for p in found] == [
        ("the ", None, "negative", False),
        ("battery", "positive", "negative", True),
        (" dies", None, "negative", False),
    ]


def test_the_shorter_of_two_aspects_speaks():
    found = pieces(
        "battery life", [Span(0, 12, "aspect", "positive"), Span(0, 7, "aspect", "negative")]
    )
    assert [(p.text, p.aspect) for p in found] == [("battery", "negative"), (" life", "positive")]


def test_offsets_count_code_points_past_emoji_and_marks():
    text = "👩‍👩‍👧 e\u0301té 😀 tea"
    at = text.index("tea")
    assert [p.text for p in pieces(text, [Span(at, at + 3, "aspect", "positive")])][-1] == "tea"


def test_twenty_thousand_nested_spans_take_under_two_seconds():
    half = 10_000
    spans = [Span(i, 4 * half - i, "evidence", TONES[i % 3]) for i in range(half)]
    spans += [Span(i, 4 * half - i, "aspect", TONES[i % 3]) for i in range(half)]
    begun = time.perf_counter()
    assert len(pieces("x" * 4 * half, spans)) == 2 * half - 1
    assert time.perf_counter() - begun < 2
