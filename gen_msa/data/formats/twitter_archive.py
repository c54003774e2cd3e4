"""The archive of an account at Twitter/X: `tweets.js`, with images in `tweets_media/` beside it.

HTML entities (`&amp;`) are written as the characters they stand for. Other keys go to `meta`. Only
read.

    window.YTD.tweets.part0 = [{"tweet": {"id_str": "1", "full_text": "good tea", …}}]
"""

import html
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from pydantic_core import from_json

from gen_msa.data.formats._common import image_media, refuse_examples
from gen_msa.data.formats._json_stream import first_record, iter_records, parse_records
from gen_msa.data.formats.base import ExampleStream, formats
from gen_msa.types import Example, Post

_TEXT_KEYS = ("full_text", "text")


@formats.register
class TwitterArchive:
    """Reads `tweets.js`."""

    suffixes: tuple[str, ...] = ()
    content_suffixes: tuple[str, ...] = (".js", ".json", ".jsonl", ".ndjson")
    about = "Twitter/X archive (tweets.js) and tweets as the API gives them (read only)."

    def recognizes(self, head: bytes) -> bool:
        """Return whether the first record is a tweet."""
        tweet = _tweet(first_record(head))
        has_text = isinstance(tweet.get("full_text"), str) or "entities" in tweet
        return has_text and "id_str" in tweet and any(k in tweet for k in _TEXT_KEYS)

    def read(self, path: Path) -> ExampleStream:
        """Read every tweet, in order; a bad one is `Rejected`."""

        def build_example(raw: bytes, number: int) -> Example:
            return _example(from_json(raw), f"{path.stem}-{number}")

        return parse_records(path, iter_records(path), build_example)

    def write(self, path: Path, examples: Iterable[Example]) -> None:
        """Refuse to write examples.

        Args:
            path: The file to write.
            examples: The examples.

        Raises:
            UserError: There is an example.
        """
        refuse_examples("twitter_archive", path, examples)


def _tweet(record: dict[str, Any]) -> dict[str, Any]:
    tweet = record.get("tweet", record)
    return tweet if isinstance(tweet, dict) else {}


def _example(record: Any, default_id: str) -> Example:
    tweet = _tweet(record) if isinstance(record, dict) else {}
    key = next((k for k in _TEXT_KEYS if isinstance(tweet.get(k), str)), None)
    if key is None:
        raise ValueError("the record has no full_text")
    post_id = str(tweet.get("id_str") or tweet.get("id") or default_id)
    meta = {k: v for k, v in tweet.items() if v not in (None, "", [], {}) and k != key}
    images = list(_image_paths(tweet, post_id))
    return Example(
        post=Post(id=post_id, text=html.unescape(tweet[key]), media=image_media(images), meta=meta)
    )


def _image_paths(tweet: dict[str, Any], post_id: str) -> Iterable[str]:
    """Yield where the archive has the photos of a tweet: `tweets_media/ID-NAME`."""
    entities = tweet.get("extended_entities") or tweet.get("entities")
    media = entities.get("media") if isinstance(entities, dict) else None
    for item in media if isinstance(media, list) else []:
        address = item.get("media_url_https") if isinstance(item, dict) else None
        if isinstance(address, str) and item.get("type", "photo") == "photo":
            yield f"tweets_media/{post_id}-{PurePosixPath(urlsplit(address).path).name}"
