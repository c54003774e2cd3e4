"""The window: words round an aspect, by blanks or by the character, always short."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gen_msa.cues.window import Window, WindowOptions
from gen_msa.types import WHOLE_POST, Aspect, Cue, Post


def window(text: str, term: str, words: int = 2) -> Cue:
    post = Post(id="1", text=text, aspects=(Aspect(term=term, start=text.index(term)),))
    return Window(WindowOptions(words=words)).cues([post])[0][0]


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
def test_a_window_is_the_words_on_either_side(text: str, term: str, cue: str) -> None:
    assert window(text, term) == Cue(text=cue, source="window")


def test_an_aspect_without_a_place_has_no_window() -> None:
    post = Post(id="1", text="It is fine", aspects=(WHOLE_POST, Aspect(term="price")))
    assert Window(WindowOptions()).cues([post]) == [(Cue(text="", source="window"),) * 2]


@given(st.text(max_size=300), st.text(max_size=300), st.integers(1, 6))
def test_a_window_is_short_and_holds_its_aspect(left: str, right: str, words: int) -> None:
    post = Post(
        id="1", text=f"{left}phone{right}", aspects=(Aspect(term="phone", start=len(left)),)
    )
    cue = Window(WindowOptions(words=words)).cues([post])[0][0]
    assert cue.text == "" or "phone" in cue.text
    assert len(cue.text) <= 2 * words * 41 + len("phone") + 8
