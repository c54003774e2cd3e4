"""Test exports of platforms: Twitter/X, YouTube and Reddit."""

import json
from pathlib import Path
from typing import Any

import pytest

from gen_msa.data.formats import format_of_file, formats
from gen_msa.errors import InputWarning, UserError
from gen_msa.types import Example, Rejected
from tests.data.builders import plain_example


def read(name: str, path: Path, text: str) -> list[Example | Rejected]:
    path.write_text(text, encoding="utf-8")
    assert format_of_file(path) is formats[name]
    return list(formats[name].read(path))


def texts(rows: list[Example | Rejected]) -> list[str]:
    assert all(isinstance(r, Example) for r in rows), rows
    return [r.post.text for r in rows if isinstance(r, Example)]


def tweet(id: str, text: str, **keys: Any) -> dict[str, Any]:
    return {"tweet": {"id_str": id, "full_text": text, "lang": "en", "entities": {}, **keys}}


def test_archive_of_twitter_has_texts_and_images(tmp_path: Path) -> None:
    photo = {"type": "photo", "media_url_https": "https://pbs.twimg.com/media/AbC.jpg"}
    tweets = [
        tweet("1", "good tea &amp; cake", extended_entities={"media": [photo]}),
        {"tweet": {"id_str": "2", "retweeted": False}},
        tweet("3", "bad cup"),
    ]
    rows = read(
        "twitter_archive", tmp_path / "tweets.js", f"window.YTD.tweets.part0 = {json.dumps(tweets)}"
    )
    first, rejected, last = rows
    assert isinstance(rejected, Rejected)
    assert "no full_text" in rejected.reason
    assert texts([first, last]) == ["good tea & cake", "bad cup"]
    assert isinstance(first, Example)
    assert (first.post.id, first.post.meta["lang"]) == ("1", "en")
    assert [m.path for m in first.post.media] == ["tweets_media/1-AbC.jpg"]


def comment(id: str, **snippet: Any) -> dict[str, Any]:
    return {"kind": "youtube#comment", "id": id, "snippet": snippet}


def thread(top: dict[str, Any], *replies: dict[str, Any], count: int = 0) -> dict[str, Any]:
    snippet = {"videoId": "v", "topLevelComment": top, "totalReplyCount": count}
    return {"kind": "youtube#commentThread", "snippet": snippet, "replies": {"comments": replies}}


@pytest.mark.parametrize("layout", ["page", "pages", "lines", "threads"])
def test_comments_of_youtube_are_posts_with_their_replies(layout: str, tmp_path: Path) -> None:
    threads = [
        thread(
            comment("a", textOriginal="good tea", likeCount=2),
            comment("a.1", textDisplay="no<br>&lt;3"),
            count=3,
        ),
        thread(comment("b", textDisplay="<b>bad</b> cup")),
    ]
    pages = [{"kind": "youtube#commentThreadListResponse", "items": [t]} for t in threads]
    page = {"kind": "youtube#commentThreadListResponse", "items": threads}
    text = {
        "page": json.dumps(page, indent=2),
        "pages": json.dumps(pages),
        "lines": "\n".join(map(json.dumps, pages)),
        "threads": json.dumps(threads),
    }[layout]
    with pytest.warns(InputWarning, match="2 replies are counted in the file and not in it"):
        rows = read("youtube_comments", tmp_path / "c.json", text)
    assert texts(rows) == ["good tea", "no\n<3", "bad cup"]
    assert isinstance(rows[0], Example)
    assert (rows[0].post.id, rows[0].post.meta) == ("a", {"likeCount": 2})


def test_item_without_a_comment_is_rejected(tmp_path: Path) -> None:
    page = {
        "kind": "youtube#commentThreadListResponse",
        "items": [{"kind": "x"}, comment("b", textOriginal="tea")],
    }
    rejected, row = read("youtube_comments", tmp_path / "c.json", json.dumps(page))
    assert isinstance(rejected, Rejected)
    assert texts([row]) == ["tea"]


@pytest.mark.parametrize("name", ["RC.jsonl", "RC.json", "RC_2020-01"])
def test_comments_and_submissions_of_reddit_are_posts(name: str, tmp_path: Path) -> None:
    records = [
        {
            "id": "1",
            "subreddit": "tea",
            "body": "good &gt; bad",
            "media": {"type": "x"},
            "score": 3,
        },
        {
            "id": "2",
            "subreddit": "tea",
            "title": "My cup",
            "selftext": "It broke.",
            "url": "https://i.redd.it/a.JPG",
        },
        {"id": "3", "subreddit": "tea", "body": "[removed]"},
    ]
    first, second, rejected = read("reddit", tmp_path / name, "\n".join(map(json.dumps, records)))
    assert texts([first, second]) == ["good > bad", "My cup\n\nIt broke."]
    assert isinstance(rejected, Rejected)
    assert "deleted or removed" in rejected.reason
    assert isinstance(first, Example)
    assert first.post.meta == {"subreddit": "tea", "media": {"type": "x"}, "score": 3}
    assert isinstance(second, Example)
    assert [m.path for m in second.post.media] == ["https://i.redd.it/a.JPG"]


@pytest.mark.parametrize("name", ["label_studio", "reddit", "twitter_archive", "youtube_comments"])
def test_exports_of_other_programs_are_only_read(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"{name} cannot store post.id .*only read"):
        formats[name].write(tmp_path / "a.json", [plain_example()])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("record", "name"),
    [
        ({"text": "tea", "messages": []}, "json"),
        ({"text": "tea", "subreddit": "x"}, "json"),
        ({"text": "tea", "entities": []}, "json"),
        ({"post": {"id": "1", "text": "tea"}}, "json"),
        ({"messages": [{"role": "user", "content": "tea"}]}, "messages"),
        ({"data": {"text": "tea"}, "annotations": []}, "label_studio"),
        ({"words": ["tea"], "image_id": "a.jpg", "aspects": []}, "joint_json"),
        ({"token": ["tea"], "head": [0], "deprel": ["root"], "aspects": []}, "stanza_json"),
    ],
)
def test_content_decides_the_format_of_json(record: Any, name: str, tmp_path: Path) -> None:
    for text in (json.dumps(record), json.dumps([record] * 2), json.dumps([record], indent=1)):
        (tmp_path / "a.json").write_text(text, encoding="utf-8")
        assert format_of_file(tmp_path / "a.json") is formats[name]
