"""Test the window: words around an aspect, by spaces or by character, always short."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gen_msa.cues.window import WindowCues, WindowOptions
from gen_msa.types import OVERALL_ASPECT, Aspect, Cue, Post


def window_cue(text: str, term: str, words: int = 2) -> Cue:
    post = Post(id="1", text=text, aspects=(Aspect(term=term, start=text.index(term)),))
    return WindowCues(WindowOptions(words=words)).cues([post])[0][0]


@pytest.mark.parametrize(
    ("text", "term", "cue"),
    [
        ("I think the battery is really awful", "battery", "... think the battery is really ..."),
        ("the battery is", "battery", "the battery is"),
        ("the\n battery   is", "battery", "the battery is"),
        ("nice (battery) here", "battery", "nice (battery) here"),
        ("这个电池很糟糕", "电池", "这个电池很糟 ..."),
        ("battery", "battery", ""),
    ],
)
def test_window_holds_words_on_both_sides(text: str, term: str, cue: str) -> None:
    assert window_cue(text, term) == Cue(text=cue, source="window")


def test_unlocated_aspect_has_empty_window() -> None:
    post = Post(id="1", text="It is fine", aspects=(OVERALL_ASPECT, Aspect(term="price")))
    assert WindowCues(WindowOptions()).cues([post]) == [(Cue(text="", source="window"),) * 2]


@given(st.text(max_size=300), st.text(max_size=300), st.integers(1, 6))
def test_window_is_short_and_contains_aspect(before: str, after: str, words: int) -> None:
    post = Post(
        id="1", text=f"{before}phone{after}", aspects=(Aspect(term="phone", start=len(before)),)
    )
    cue = WindowCues(WindowOptions(words=words)).cues([post])[0][0]
    assert cue.text == "" or "phone" in cue.text
    assert len(cue.text) <= 2 * words * 41 + len("phone") + 8
