"""Phrases are located at whole words, in any case and composition, each at its own mention."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gen_msa.data.formats import locate_aspects
from gen_msa.spans import locate_phrases


@pytest.mark.parametrize(
    ("text", "terms", "starts"),
    [
        ("It started with art", ["art"], [16]),
        ("It started", ["art"], [None]),
        ("RT @ MarinaConcert : Marina meeting", ["Marina"], [21]),
        ("the takeout menu, an expanded menu", ["takeout menu", "menu"], [4, 30]),
        ("the takeout menu, an expanded menu", ["menu", "takeout menu"], [30, 4]),
        ("food and food", ["food", "food"], [0, 9]),
        ("food and food", ["food", "food", "food"], [0, 9, None]),
        ("Great SCREEN", ["screen"], [6]),
        ("Cafe\u0301 food", ["café"], [0]),
        ("my iPhone6 broke", ["iPhone"], [3]),
        ("#MyIPad rocks", ["IPad"], [3]),
        ("我喜欢屏幕和电池", ["屏幕", "电池"], [3, 6]),
        ("#iPhone and @user's", ["iPhone", "user"], [1, 13]),
        ("Die Straße", ["STRASSE"], [4]),
        ("text", [""], [None]),
        ("", ["x"], [None]),
        ("3G is slow, 3GS too", ["3G"], [0]),
        ("cafe\u0301s, the cafe\u0301", ["cafe\u0301"], [12]),
        ("cafe\u0301", ["cafe"], [None]),
        ("👍🏽 or 👍", ["👍"], [6]),
        ("👨\u200d👩\u200d👧", ["👩"], [None]),
        ("the phone's art, Kate's", ["Kate", "phone", "art"], [17, 4, 12]),
    ],
)
def test_terms_are_located_at_their_mentions(
    text: str, terms: list[str], starts: list[int | None]
) -> None:
    aspects = locate_aspects(text, terms)
    assert [a.start for a in aspects] == starts
    assert all(a.start is None or text.startswith(a.term, a.start) for a in aspects)


@given(st.text("ab AB1é\u0301屏", max_size=30), st.lists(st.text("abAé屏", min_size=1, max_size=3)))
def test_spans_lie_in_the_text_and_never_repeat(text: str, phrases: list[str]) -> None:
    spans = [s for s in locate_phrases(text, phrases) if s]
    assert len(set(spans)) == len(spans)
    assert all(0 <= start < end <= len(text) for start, end in spans)
