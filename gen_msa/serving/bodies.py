"""A request's body: counted as it comes, whole or refused, then taken apart as JSON or multipart.

Compressed bodies are refused, so what is counted is all there is. Knows nothing of posts.

    body = await whole(request, limits, account)
    parcel = opened(body, request.headers.get("content-type", ""), limits)
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request
from pydantic_core import from_json
from python_multipart.multipart import parse_options_header
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from gen_msa.serving.figures import Figures
from gen_msa.serving.problems import Refusal
from gen_msa.serving.settings import Limits

_JSON = "send JSON, or multipart/form-data with a part `posts` of JSON"
# It writes beside our log what was wrong with the parts; the client is told, and the log has 400.
logging.getLogger("python_multipart").setLevel(logging.CRITICAL)


class Room:
    """The bytes of all bodies that are held at once."""

    def __init__(self, limits: Limits, figures: Figures) -> None:
        self._limits, self._figures = limits, figures
        self._held = 0

    @contextmanager
    def account(self) -> Iterator["Account"]:
        """One request's share, given back at the end."""
        mine = Account(self)
        try:
            yield mine
        finally:
            self.grow(-mine.held)

    def grow(self, by: int) -> None:
        """Raises `Refusal` (503) when all bodies together are too much."""
        if by > 0 and self._held + by > self._limits.bodies_bytes:
            retry = self._limits.retry_seconds
            raise Refusal(
                503, "too many large requests at once", "send it again later", retry=retry
            )
        self._held += by
        self._figures.held.set(self._held)


@dataclass
class Account:
    """What one request holds."""

    room: Room
    held: int = 0

    def grow(self, by: int) -> None:
        """So many bytes more."""
        self.room.grow(by)
        self.held += by


@dataclass(frozen=True)
class Parcel:
    """A body taken apart."""

    posts: list[Any]
    uploads: Mapping[str, bytes] = field(default_factory=dict)


async def whole(request: Request, limits: Limits, account: Account) -> bytes:
    """The body's bytes.

    Raises `Refusal`: 408 too slow, 413 too large, 415 compressed; and starlette's
    `ClientDisconnect` when the client leaves before it is whole.
    """
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding not in ("", "identity"):
        raise Refusal(415, f"the body is compressed ({coding[:20]})", "send it as it is")
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > limits.body_bytes:
        raise _large(limits)
    body = bytearray()
    try:
        async with asyncio.timeout(limits.body_seconds):
            async for chunk in request.stream():
                if len(body) + len(chunk) > limits.body_bytes:
                    raise _large(limits)
                account.grow(len(chunk))
                body += chunk
    except TimeoutError:
        why = f"the body was not whole after {limits.body_seconds:g} seconds"
        raise Refusal(408, why, "send it faster, or fewer posts at a time") from None
    return bytes(body)


def opened(body: bytes, content_type: str, limits: Limits) -> Parcel:
    """The posts of a body, each still as it was sent, and its uploaded files.

    Raises `Refusal`: 400 for what cannot be read, 413 for too many posts, 415 for another type.
    """
    kind = _type(content_type)
    if kind == "application/json":
        return Parcel(_posts(body, limits))
    if kind == "multipart/form-data":
        # The library's parser is a coroutine; driven here it keeps no other request waiting.
        return asyncio.run(_parts(body, content_type, limits))
    raise Refusal(415, f"the body's type is {kind[:60]!a}", _JSON)


def _posts(body: bytes, limits: Limits) -> list[Any]:
    values = sum(body.count(mark) for mark in (b"[", b"{", b","))
    if values > limits.json_values:
        raise Refusal(413, f"the JSON has over {limits.json_values} values", "send fewer posts")
    try:
        tree = from_json(body, allow_inf_nan=False)
    except ValueError as e:
        raise Refusal(400, f"the body is not JSON: {str(e)[:200]}", _JSON) from None
    if isinstance(tree, dict) and "posts" in tree:
        if set(tree) != {"posts"}:
            raise Refusal(400, "an object with `posts` has no other key", "leave the others out")
        tree = tree["posts"]
    posts = [tree] if isinstance(tree, dict) else tree
    if not isinstance(posts, list) or not posts:
        raise Refusal(400, "there are no posts in the body", 'send {"posts": [{"text": "…"}]}')
    if len(posts) > limits.posts:
        raise Refusal(413, f"{len(posts):,} posts, over the limit of {limits.posts}", "send fewer")
    return posts


async def _parts(body: bytes, content_type: str, limits: Limits) -> Parcel:
    charset = parse_options_header(content_type)[1].get(b"charset", b"utf-8")
    if charset.lower() not in (b"utf-8", b"utf8"):
        # Python knows charsets that raise anything, and some that make half a character.
        raise Refusal(415, f"the parts' charset is {charset[:20]!r}", "send UTF-8")
    most = limits.posts * limits.pictures + 1
    headers = Headers({"content-type": content_type})
    parser = MultiPartParser(
        headers, _once(body), max_files=most, max_fields=1, max_part_size=len(body)
    )
    parser.spool_max_size = len(body) + 1  # never to disk: the body is held already
    try:
        form = await parser.parse()
    except MultiPartException as e:
        raise Refusal(400, f"the parts cannot be read: {e.message[:200]}", _JSON) from None
    posts: list[Any] | None = None
    uploads: dict[str, bytes] = {}
    for name, part in form.multi_items():
        data = await part.read() if isinstance(part, UploadFile) else part.encode()
        if name == "posts" and posts is None:
            posts = _posts(data, limits)
            continue
        filename = part.filename if isinstance(part, UploadFile) else ""
        if not filename or filename in uploads:
            why = f"the part {name[:60]!a} is no file, or a second one of its name"
            raise Refusal(400, why, "give every uploaded file a name of its own")
        uploads[filename] = data
    if posts is None:
        raise Refusal(400, "there is no part `posts`", _JSON)
    return Parcel(posts, uploads)


async def _once(body: bytes) -> AsyncGenerator[bytes, None]:
    yield body


def _type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _large(limits: Limits) -> Refusal:
    return Refusal(
        413, f"the body is over {limits.body_bytes:,} bytes", "send fewer posts at a time"
    )
