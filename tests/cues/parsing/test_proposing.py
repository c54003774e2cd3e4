"""Aspects proposed from a parse: exact places, in order, without junk."""

import pytest

from gen_msa.cues.parsing import candidates
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
    return [a.term for a in candidates([post], **options)[0]]


def test_things_are_proposed_in_the_order_of_the_text() -> None:
    assert terms(POSTS[0]) == ["battery life", "screen", "Pixel"]


def test_junk_pronouns_mentions_and_times_are_not_proposed() -> None:
    assert not {"RT", "@joe", "joe", "she", "it", "http://t.co/abc"} & set(terms(POSTS[1]))
    found = terms(POSTS[2])
    assert "Ada Lovelace" in found
    assert "London" in found
    assert not {"RT", "joe", "Tuesday", "$ 3", "amp"} & set(found)


def test_a_thing_named_often_is_proposed_once() -> None:
    found = [t.lower() for t in terms(POSTS[5])]
    assert found.count("soup") <= 1
    assert len(found) == len(set(found))


def test_every_place_is_exact_and_none_overlap() -> None:
    for post, found in zip(POSTS, candidates(POSTS), strict=True):
        end = 0
        for a in found:
            assert a.start is not None
            assert a.start >= end
            assert post.text[a.start : a.start + len(a.term)] == a.term
            end = a.start + len(a.term)


def test_no_more_are_proposed_than_asked_for() -> None:
    text = "The menu is fine. The waiter is fine. The soup is fine. The bread is fine."
    post = Post(id="1", text=text)
    assert len(terms(post, most=3)) == 3
    assert terms(post, most=3) == terms(post)[:3]


def test_an_empty_text_has_no_candidates() -> None:
    assert candidates([POSTS[3]]) == [()]
    assert candidates([]) == []
