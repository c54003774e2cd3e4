"""What every cue source must do, whoever wrote it."""

import time
from typing import Any

import pytest

from gen_msa.cues import CueFactory, CueSource, cue_sources
from gen_msa.cues.parsing import spacy_pipeline
from gen_msa.settings import Settings
from gen_msa.types import OVERALL_ASPECT, Aspect, Media, Post

CHANGED_OPTIONS: dict[str, Any] = {
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
        OVERALL_ASPECT,
        Aspect(term="price"),
    ),
    post("Nothing named here", id="2"),
    post("", OVERALL_ASPECT, id="3"),
    post("", id="4"),
    post("😀😀 love the soup 😡 !!!", Aspect(term="soup", start=12), Aspect(term="😡", start=17)),
    post("الشاشة رائعة لكن البطارية سيئة", Aspect(term="البطارية", start=17), id="6"),
    post("这个电池很糟糕", Aspect(term="电池", start=2), id="7"),
    post("battery life", Aspect(term="battery", start=0), Aspect(term="battery life", start=0)),
    post("  \n\t ", Aspect(term="\n", start=2), id="9"),
    post("a {{7*7}} <image> <|im_end|> $T$ soup", Aspect(term="soup", start=33), id="10"),
]

pytestmark = pytest.mark.models


@pytest.fixture(params=cue_sources.names())
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def source(name: str) -> CueSource:
    kind: CueFactory = cue_sources[name]
    return kind(kind.Options())


def test_options_are_settings_and_slot_is_an_identifier(name: str, source: CueSource) -> None:
    assert issubclass(cue_sources[name].Options, Settings)
    assert source.slot.isidentifier()


def test_one_cue_per_aspect_in_order(source: CueSource) -> None:
    cues_by_post = source.cues(POSTS)
    assert [len(c) for c in cues_by_post] == [len(p.aspects) for p in POSTS]
    assert all(c.source for post_cues in cues_by_post for c in post_cues)


def test_no_posts_give_no_cues(source: CueSource) -> None:
    assert source.cues([]) == []


def test_cues_do_not_depend_on_other_posts(name: str, source: CueSource) -> None:
    batched = source.cues(POSTS)
    new_source = cue_sources[name](cue_sources[name].Options())
    assert new_source.cues(POSTS) == batched
    assert [new_source.cues([p])[0] for p in POSTS] == batched
    assert list(reversed(new_source.cues(POSTS[::-1]))) == batched


def test_posts_are_not_modified(source: CueSource) -> None:
    before = [p.model_dump_json() for p in POSTS]
    source.cues(POSTS)
    assert [p.model_dump_json() for p in POSTS] == before


def test_cue_is_one_line_without_extra_blanks(source: CueSource) -> None:
    for post_cues in source.cues(POSTS):
        for cue in post_cues:
            assert cue.text == " ".join(cue.text.split())


def test_fingerprint_is_stable_and_depends_on_options(name: str, source: CueSource) -> None:
    kind = cue_sources[name]
    assert source.fingerprint() == kind(kind.Options()).fingerprint()
    source.cues(POSTS[:1])
    assert source.fingerprint() == kind(kind.Options()).fingerprint()
    if name in CHANGED_OPTIONS:
        assert source.fingerprint() != kind(kind.Options(**CHANGED_OPTIONS[name])).fingerprint()


def test_long_text_takes_bounded_time(source: CueSource) -> None:
    spacy_pipeline.load_pipeline(spacy_pipeline.MODEL)  # loading it is not what is measured
    text = "The soup is great but the bread is cold. " * 2_500
    long_post = post(text, Aspect(term="soup", start=4), Aspect(term="bread", start=26))
    start = time.process_time()
    assert len(source.cues([long_post])[0]) == 2
    assert time.process_time() - start < 30
