"""Splitting a text into pieces: nothing is lost, and every character has the right tone."""

import time

from hypothesis import given
from hypothesis import strategies as st

from gen_msa.report.cards import TextSpan, split_text

TONES = ["negative", "neutral", "positive"]
SPANS = st.builds(
    TextSpan,
    st.integers(-2, 14),
    st.integers(-2, 14),
    st.sampled_from(["aspect", "evidence"]),
    st.sampled_from(TONES),
)


@given(st.text(max_size=12), st.lists(SPANS, max_size=8))
def test_split_text_pieces_join_to_the_text(text, spans):
    text_pieces = split_text(text, spans)
    assert "".join(p.text for p in text_pieces) == text
    assert all(text[p.start : p.start + len(p.text)] == p.text for p in text_pieces)
    assert all(p.text for p in text_pieces)


@given(st.text(max_size=12), st.lists(SPANS, max_size=8))
def test_split_text_tones_match_covering_spans(text, spans):
    valid_spans = [s for s in spans if 0 <= s.start < s.end <= len(text)]
    for piece in split_text(text, spans):
        for position in range(piece.start, piece.start + len(piece.text)):
            covering = [s for s in valid_spans if s.start <= position < s.end]
            tones = {s.tone for s in covering if s.role == "evidence"}
            expected = tones.pop() if len(tones) == 1 else "mixed" if tones else None
            assert piece.evidence == expected
            aspects = [s for s in covering if s.role == "aspect"]
            shortest = min((s.end - s.start for s in aspects), default=0)
            assert piece.aspect in [
                *(s.tone for s in aspects if s.end - s.start == shortest),
                *([] if aspects else [None]),
            ]


@given(st.text(max_size=12), st.lists(SPANS, max_size=8))
def test_split_text_starts_a_piece_at_each_span(text, spans):
    starts = {p.start for p in split_text(text, spans)}
    assert all(s.start in starts for s in spans if 0 <= s.start < s.end <= len(text))


def test_split_text_keeps_aspect_and_evidence_tones():
    text_pieces = split_text(
        "the battery dies",
        [TextSpan(0, 16, "evidence", "negative"), TextSpan(4, 11, "aspect", "positive")],
    )
    assert [(p.text, p.aspect, p.evidence, p.closes) for p in text_pieces] == [
        ("the ", None, "negative", False),
        ("battery", "positive", "negative", True),
        (" dies", None, "negative", False),
    ]


def test_split_text_prefers_the_shorter_aspect():
    text_pieces = split_text(
        "battery life",
        [TextSpan(0, 12, "aspect", "positive"), TextSpan(0, 7, "aspect", "negative")],
    )
    assert [(p.text, p.aspect) for p in text_pieces] == [
        ("battery", "negative"),
        (" life", "positive"),
    ]


def test_split_text_offsets_are_code_points():
    text = "👩‍👩‍👧 e\u0301té 😀 tea"
    position = text.index("tea")
    assert [
        p.text for p in split_text(text, [TextSpan(position, position + 3, "aspect", "positive")])
    ][-1] == "tea"


def test_split_text_is_fast_for_nested_spans():
    half = 10_000
    spans = [TextSpan(i, 4 * half - i, "evidence", TONES[i % 3]) for i in range(half)]
    spans += [TextSpan(i, 4 * half - i, "aspect", TONES[i % 3]) for i in range(half)]
    started = time.perf_counter()
    assert len(split_text("x" * 4 * half, spans)) == 2 * half - 1
    assert time.perf_counter() - started < 2
