"""Test aspect candidates: exact offsets, in order, without junk."""

from typing import Any

import pytest

from gen_msa.cues.parsing import aspect_candidates, spacy_pipeline
from gen_msa.cues.parsing.aspect_candidates import PIECE_CHARS
from gen_msa.types import Post

pytestmark = pytest.mark.models

POSTS = [
    Post(id="1", text="The battery life is great, but the screen of my new Pixel is awful"),
    Post(id="2", text="RT @joe: she loves it! http://t.co/abc #wow"),
    Post(id="3", text="RT @ joe : Ada Lovelace met the Queen in London on Tuesday &amp; paid $ 3"),
    Post(id="4", text=""),
    Post(id="5", text="😀" * 50 + " الشاشة رائعة 这个电池很糟糕"),
    Post(id="6", text="Soup, soup and SOUP with bread"),
]


def terms(post: Post, **options: int) -> list[str]:
    return [a.term for a in aspect_candidates([post], **options)[0]]


def test_candidates_are_in_text_order() -> None:
    assert terms(POSTS[0]) == ["battery life", "screen", "Pixel"]


def test_junk_pronouns_mentions_and_times_are_not_candidates() -> None:
    assert not {"RT", "@joe", "joe", "she", "it", "http://t.co/abc"} & set(terms(POSTS[1]))
    names = terms(POSTS[2])
    assert "Ada Lovelace" in names
    assert "London" in names
    assert not {"RT", "joe", "Tuesday", "$ 3", "amp"} & set(names)


def test_repeated_noun_is_one_candidate() -> None:
    names = [t.lower() for t in terms(POSTS[5])]
    assert names.count("soup") <= 1
    assert len(names) == len(set(names))


def test_candidates_have_exact_disjoint_offsets() -> None:
    for post, aspects in zip(POSTS, aspect_candidates(POSTS), strict=True):
        end = 0
        for a in aspects:
            assert a.start is not None
            assert a.start >= end
            assert post.text[a.start : a.start + len(a.term)] == a.term
            end = a.start + len(a.term)


def test_candidates_are_limited_to_maximum() -> None:
    text = "The menu is fine. The waiter is fine. The soup is fine. The bread is fine."
    post = Post(id="1", text=text)
    assert len(terms(post, max_candidates=3)) == 3
    assert terms(post, max_candidates=3) == terms(post)[:3]


def test_empty_text_has_no_candidates() -> None:
    assert aspect_candidates([POSTS[3]]) == [()]
    assert aspect_candidates([]) == []


def test_long_text_is_parsed_in_pieces_until_it_has_enough_aspects(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    parsed: list[str] = []
    original = spacy_pipeline.map_docs

    def map_docs(texts: list[str], model: str, convert: Any) -> Any:
        parsed.extend(texts)
        return original(texts, model, convert)

    monkeypatch.setattr(spacy_pipeline, "map_docs", map_docs)
    text = "The soup was cold. " * 150 + "The battery died. " + "We went there. " * 600
    text += "The waiter was slow."
    (aspects,) = aspect_candidates([Post(id="1", text=text)])
    assert {"soup", "battery", "waiter"} <= {a.term for a in aspects}
    assert all(text[a.start :].startswith(a.term) for a in aspects)
    assert max(map(len, parsed)) <= PIECE_CHARS
    assert "".join(parsed) == text
    parsed.clear()
    (aspects,) = aspect_candidates([Post(id="1", text=text)], max_candidates=1)
    assert [a.term for a in aspects] == ["soup"]
    assert len(parsed) == 1
