"""Comments as YouTube's API gives them: pages of comment threads, each with its replies.

Every comment and every reply is a post, in order. HTML of `textDisplay` is only used where
`textOriginal` is missing. Replies that a thread counts and the file does not have are counted in a
note. Only read.

    {"items": [{"kind": "youtube#commentThread", "snippet": {"topLevelComment": {"id": "1",
      "snippet": {"textOriginal": "good tea", …}}, "totalReplyCount": 0}}]}
"""

import html
import re
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from gen_msa.data.formats._common import refuse_examples, reject_row
from gen_msa.data.formats._json_stream import first_record, iter_records, parse_collections
from gen_msa.data.formats.base import ExampleStream, formats
from gen_msa.errors import InputWarning
from gen_msa.types import Example, Post, Rejected

_MAX_PAGE_BYTES = 16 << 20
_TEXT_KEYS = ("textOriginal", "textDisplay")
_BREAK, _TAG = re.compile(r"<br\s*/?>", re.IGNORECASE), re.compile(r"</?[a-zA-Z][^<>]*>")


@formats.register
class YoutubeComments:
    """Reads comment threads and comments of YouTube's API."""

    suffixes: tuple[str, ...] = ()
    content_suffixes: tuple[str, ...] = (".json", ".jsonl", ".ndjson")
    about = "YouTube comments as its API gives them: threads and replies (read only)."

    def recognizes(self, head: bytes) -> bool:
        """Return whether the first record is a page, a thread or a comment."""
        return str(first_record(head).get("kind", "")).startswith("youtube#comment")

    def read(self, path: Path) -> ExampleStream:
        """Read every comment, in order; a bad one is `Rejected`."""
        missing = 0

        def build_examples(raw: bytes, number: int) -> Iterator[Example | Rejected]:
            nonlocal missing
            page = from_json(raw)
            items = page.get("items", [page]) if isinstance(page, dict) else None
            if not isinstance(items, list):
                raise ValueError("the record is no page with items")
            for position, item in enumerate(items, 1):
                comments = _comments(item)
                if not comments:
                    reason = f"item {position} is no comment"
                    yield reject_row(path, number, reason, repr(item), "export comment threads")
                else:
                    missing += max(0, _n_replies(item) + 1 - len(comments))
                for comment in comments:
                    yield _example(path, number, comment)

        yield from parse_collections(
            path, iter_records(path, _MAX_PAGE_BYTES), build_examples, "export comment threads"
        )
        if missing:
            note = f"{path}: {missing} replies are counted in the file and not in it"
            warnings.warn(note, InputWarning, stacklevel=2)

    def write(self, path: Path, examples: Iterable[Example]) -> None:
        """Refuse to write examples.

        Args:
            path: The file to write.
            examples: The examples.

        Raises:
            UserError: There is an example.
        """
        refuse_examples("youtube_comments", path, examples)


def _dict(value: Any, key: str) -> dict[str, Any]:
    inner = value.get(key) if isinstance(value, dict) else None
    return inner if isinstance(inner, dict) else {}


def _comments(item: Any) -> list[dict[str, Any]]:
    """Return the comments of a thread, its first one and its replies; or the one comment."""
    first = _dict(_dict(item, "snippet"), "topLevelComment") or item
    if not any(k in _dict(first, "snippet") for k in _TEXT_KEYS):
        return []
    replies = _dict(item, "replies").get("comments") or []
    return [first, *(r for r in replies if isinstance(r, dict))]


def _n_replies(item: Any) -> int:
    count = _dict(item, "snippet").get("totalReplyCount")
    return count if isinstance(count, int) else 0


def _example(path: Path, number: int, comment: dict[str, Any]) -> Example | Rejected:
    snippet = _dict(comment, "snippet")
    key = next((k for k in _TEXT_KEYS if isinstance(snippet.get(k), str)), None)
    post_id = comment.get("id")
    if key is None or not isinstance(post_id, str) or not post_id:
        return reject_row(
            path, number, "a comment without id or text", repr(comment), "export part=id,snippet"
        )
    text = snippet[key] if key == "textOriginal" else _plain(snippet[key])
    meta = {k: v for k, v in snippet.items() if k not in _TEXT_KEYS and v not in (None, "", {}, [])}
    return Example(post=Post(id=post_id, text=text, meta=meta))


def _plain(markup: str) -> str:
    return html.unescape(_TAG.sub("", _BREAK.sub("\n", markup)))
