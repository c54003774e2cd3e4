"""Dumps of Reddit as JSON lines (also `.zst`): comments, and submissions with title and text.

The text of a submission is its title and, below a blank line, its own text. A post whose text was
deleted or removed is `Rejected`. A submission that is an image has it as media, by its address.
Other keys go to `meta`. Only read.

    {"id": "c1", "subreddit": "tea", "body": "good tea", "author": "a", "score": 3, …}
"""

import html
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from gen_msa.data.formats._common import image_media, refuse_examples
from gen_msa.data.formats._json_stream import first_record, iter_records, parse_collections
from gen_msa.data.formats.base import ExampleStream, formats
from gen_msa.types import Example, Post

_DELETED = ("[deleted]", "[removed]", "[deleted by user]")
_IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".gif", ".webp")


@formats.register
class Reddit:
    """Reads comments and submissions of Reddit."""

    suffixes: tuple[str, ...] = ()
    content_suffixes: tuple[str, ...] = (".json", ".jsonl", ".ndjson", "")
    about = "Reddit dumps: JSON lines of comments or submissions (read only)."

    def recognizes(self, head: bytes) -> bool:
        """Return whether the first record is a comment or a submission."""
        record = first_record(head)
        return "subreddit" in record and _text(record) is not None and "text" not in record

    def read(self, path: Path) -> ExampleStream:
        """Read every post, in order; a bad or deleted one is `Rejected`."""

        def build_examples(raw: bytes, number: int) -> Iterable[Example]:
            return [_example(from_json(raw), f"{path.stem}-{number}")]

        hint = "a record needs body (comments), or title and selftext (submissions)"
        return parse_collections(path, iter_records(path), build_examples, hint)

    def write(self, path: Path, examples: Iterable[Example]) -> None:
        """Refuse to write examples.

        Args:
            path: The file to write.
            examples: The examples.

        Raises:
            UserError: There is an example.
        """
        refuse_examples("reddit", path, examples, b"")


def _text(record: dict[str, Any]) -> str | None:
    parts = [record.get("body")] if "body" in record else [record.get("title")]
    if "body" not in record and record.get("selftext"):
        parts.append(record["selftext"])
    texts = [p for p in parts if isinstance(p, str)]
    return "\n\n".join(texts) if len(texts) == len(parts) else None


def _example(record: Any, default_id: str) -> Example:
    text = _text(record) if isinstance(record, dict) else None
    if text is None:
        raise ValueError("the record has neither body nor title")
    if record.get("body", record.get("selftext")) in _DELETED:
        raise ValueError("the text was deleted or removed")
    read_keys = ("id", "body", "title", "selftext") if "body" not in record else ("id", "body")
    meta = {k: v for k, v in record.items() if k not in read_keys and v not in (None, "", [], {})}
    address = record.get("url")
    is_image = isinstance(address, str) and address.lower().endswith(_IMAGE_SUFFIXES)
    return Example(
        post=Post(
            id=str(record.get("id") or default_id),
            text=html.unescape(text),
            media=image_media([str(address)] if is_image else []),
            meta=meta,
        )
    )
