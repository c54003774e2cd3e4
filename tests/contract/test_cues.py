"""What every cue source must do, whoever wrote it."""

import time
from typing import Any

import pytest

from gen_msa.cues import CueKind, CueSource, cues
from gen_msa.cues.parsing import english
from gen_msa.settings import Settings
from gen_msa.types import WHOLE_POST, Aspect, Media, Post

OTHER: dict[str, Any] = {
    "syntax": {"k": 3},
    "window": {"words": 2},
    "objects": {"policy": "unique"},
    "context": {"max_words": 7},
}
"""For each source an option that changes its cues; a newcomer without one is tried by defaults."""


def post(text: str, *aspects: Aspect, id: str = "1") -> Post:
    media = (Media(kind="image", path="17.jpg"),)
    meta = {"caption": "A bowl.", "objects": ["bowl"]}
    return Post(id=id, text=text, aspects=aspects, media=media, meta=meta)


POSTS = [
    post(
        "The soup is great but the soup is cold",
        Aspect(term="soup", start=4),
        Aspect(term="soup", start=26),
        WHOLE_POST,
        Aspect(term="price"),
    ),
    post("Nothing named here", id="2"),
    post("", WHOLE_POST, id="3"),
    post("", id="4"),
    post("😀😀 love the soup 😡 !!!", Aspect(term="soup", start=12), Aspect(term="😡", start=17)),
    post("الشاشة رائعة لكن البطارية سيئة", Aspect(term="البطارية", start=17), id="6"),
    post("这个电池很糟糕", Aspect(term="电池", start=2), id="7"),
    post("battery life", Aspect(term="battery", start=0), Aspect(term="battery life", start=0)),
    post("  \n\t ", Aspect(term="\n", start=2), id="9"),
    post("a {{7*7}} <image> <|im_end|> $T$ soup", Aspect(term="soup", start=33), id="10"),
]

pytestmark = pytest.mark.models


@pytest.fixture(params=cues.names())
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def source(name: str) -> CueSource:
    kind: CueKind = cues[name]
    return kind(kind.Options())


def test_options_are_settings_and_the_slot_is_a_word(name: str, source: CueSource) -> None:
    assert issubclass(cues[name].Options, Settings)
    assert source.slot.isidentifier()


def test_there_is_one_cue_for_each_aspect_in_order(source: CueSource) -> None:
    written = source.cues(POSTS)
    assert [len(c) for c in written] == [len(p.aspects) for p in POSTS]
    assert all(c.source for one in written for c in one)


def test_no_posts_make_no_cues(source: CueSource) -> None:
    assert source.cues([]) == []


def test_the_same_posts_get_the_same_cues_in_any_company(name: str, source: CueSource) -> None:
    together = source.cues(POSTS)
    fresh = cues[name](cues[name].Options())
    assert fresh.cues(POSTS) == together
    assert [fresh.cues([p])[0] for p in POSTS] == together
    assert list(reversed(fresh.cues(POSTS[::-1]))) == together


def test_posts_are_left_as_they_were(source: CueSource) -> None:
    before = [p.model_dump_json() for p in POSTS]
    source.cues(POSTS)
    assert [p.model_dump_json() for p in POSTS] == before


def test_a_cue_is_one_line_without_loose_blanks(source: CueSource) -> None:
    for one in source.cues(POSTS):
        for cue in one:
            assert cue.text == " ".join(cue.text.split())


def test_the_fingerprint_is_stable_and_knows_the_options(name: str, source: CueSource) -> None:
    kind = cues[name]
    assert source.fingerprint() == kind(kind.Options()).fingerprint()
    source.cues(POSTS[:1])
    assert source.fingerprint() == kind(kind.Options()).fingerprint()
    if name in OTHER:
        assert source.fingerprint() != kind(kind.Options(**OTHER[name])).fingerprint()


def test_a_text_of_100_kb_takes_bounded_time(source: CueSource) -> None:
    english.pipeline(english.MODEL)  # loading it is not what is measured
    text = "The soup is great but the bread is cold. " * 2_500
    long = post(text, Aspect(term="soup", start=4), Aspect(term="bread", start=26))
    began = time.process_time()
    assert len(source.cues([long])[0]) == 2
    assert time.process_time() - began < 30
