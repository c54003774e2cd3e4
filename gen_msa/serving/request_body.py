"""Read a request's body, counted as it arrives; parse JSON or multipart; store its images.

Compressed bodies are refused, so the bytes that are counted are all there are.

    with budget.lease() as lease:
        body = await read_body(request, limits, lease)
    parsed = parse_body(body, request.headers.get("content-type", ""), limits)
"""

import asyncio
import hashlib
import logging
import shutil
import uuid
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from fastapi import Request
from pydantic_core import from_json
from python_multipart.multipart import parse_options_header
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from gen_msa.jsonl import DUPLICATE_KEY_HINT, DuplicateKey, check_duplicate_keys
from gen_msa.media import ImageError, ImageLimits, fetch
from gen_msa.serving.errors import InvalidPost, RequestError
from gen_msa.serving.prometheus import ServiceMetrics
from gen_msa.serving.settings import ServiceLimits

# Store images that a client sends: `data:` URLs, or uploaded files referred to by their names.

_MAX_BAD_URL = 200
"""Characters of a `data:` URL that cannot be read, which the model's note repeats."""
_HINT = "send the image as data:image/…;base64,… or upload it and give its name"


@dataclass(frozen=True)
class StoredImage:
    """An image that passed the checks."""

    path: str
    """Path below the media root."""
    public_name: str
    """Name in the answer: the upload's name, or `sha256:…` for a `data:` URL."""
    pixels: int = 0
    """Pixels by its header; 0 for what is no image."""


class UploadFolder:
    """Images of one request; removed at the end of the context."""

    def __init__(
        self,
        root: Path,
        uploads: Mapping[str, bytes],
        limits: ImageLimits,
        *,
        pixels: int,
        validate: bool = True,
    ) -> None:
        """Prepare the folder; it is created with the first image.

        Args:
            root: The model's media root.
            uploads: Uploaded files by name.
            limits: Limits on one image.
            pixels: Limit on the pixels of all images together, by their headers.
            validate: Refuse here what is not an image by its header; else leave that to the model.
        """
        self._root, self._uploads, self._limits = root, uploads, limits
        self._validate, self._pixels = validate, pixels
        self._name = uuid.uuid4().hex
        self._n_stored = 0
        self.used_uploads: set[str] = set()
        """Uploads that a post has named."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._n_stored:
            shutil.rmtree(self._root / self._name, ignore_errors=True)

    def store(self, name: str) -> StoredImage:
        """Store the image that a post names.

        Args:
            name: `data:` URL, or the name of an uploaded file.

        Returns:
            Where it is stored, and its name in the answer.

        Raises:
            InvalidPost: The image was not sent, is not an image, or is over a limit.
        """
        try:
            data, public_name = self._read_image(name)
            pixels = self._count_pixels(data, public_name)
        except ImageError as error:
            if name[:5].lower() == "data:" and not self._validate:
                # The model reads the same URL, and notes what is wrong with it.
                return StoredImage(name[:_MAX_BAD_URL], _hashed_name(name.encode()))
            hint = _HINT if error.kind == "url_refused" else error.hint
            raise InvalidPost(f"image {error.path[:60]}: {error.reason}", hint) from None
        self._n_stored += 1
        path = f"{self._name}/{self._n_stored}"
        (self._root / self._name).mkdir(mode=0o700, exist_ok=True)
        (self._root / path).write_bytes(data)
        return StoredImage(path, public_name, pixels)

    def _count_pixels(self, data: bytes, public_name: str) -> int:
        """Return the pixels of an image by its header, which count towards the request's limit."""
        from gen_msa.media import images

        try:
            pixels = images.check_image(data, public_name, self._limits)
        except ImageError:
            if self._validate:
                raise
            return 0
        if pixels > self._pixels:
            reason = "the images of this request have too many pixels together"
            raise InvalidPost(
                f"image {public_name[:60]}: {reason}", "send fewer at once, or smaller ones"
            )
        self._pixels -= pixels
        return pixels

    def _read_image(self, name: str) -> tuple[bytes, str]:
        if name in self._uploads:
            self.used_uploads.add(name)
            return self._uploads[name], name
        quoted_name = ascii(name[:60])
        if name[:5].lower() == "data:":
            data = fetch.fetch(name, self._limits)
            return data, _hashed_name(data)
        if fetch.is_url(name):
            raise InvalidPost(f"image {quoted_name}: URLs are not fetched", _HINT)
        raise InvalidPost(f"image {quoted_name}: no file of that name was uploaded", _HINT)


def _hashed_name(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


_BODY_HINT = "send JSON, or multipart/form-data with a part `posts` of JSON"
# The library would log beside the JSON log; the client gets the reason, and the log has the 400.
logging.getLogger("python_multipart").setLevel(logging.CRITICAL)


SMALL_BODY = 1 << 16
"""Bytes up to which a body or an answer counts as small."""


class BodyBudget:
    """Limit on the bytes of all bodies in memory at once."""

    def __init__(self, limits: ServiceLimits, metrics: ServiceMetrics) -> None:
        self._limits, self._metrics = limits, metrics
        self._held_bytes = 0

    @contextmanager
    def lease(self) -> Iterator["BodyLease"]:
        """Open one request's share; it is released at the end of the context."""
        lease = BodyLease(self)
        try:
            yield lease
        finally:
            self.reserve(-lease.held_bytes)

    def reserve(self, n_bytes: int, lease_bytes: int = 0) -> None:
        """Reserve bytes, or release them when negative.

        Args:
            n_bytes: Bytes to reserve.
            lease_bytes: Bytes that the request has reserved so far; a small one always finds room,
                because the number of requests limits those.

        Raises:
            RequestError: 503 when all bodies together are over the limit.
        """
        is_small = lease_bytes + n_bytes <= min(SMALL_BODY, self._limits.bodies_bytes // 64)
        is_full = self._held_bytes + n_bytes > self._limits.bodies_bytes
        if n_bytes > 0 and is_full and not is_small:
            retry = self._limits.retry_seconds
            raise RequestError(
                503, "too many large requests at once", "send it again later", retry_after=retry
            )
        self._held_bytes += n_bytes
        self._metrics.body_bytes.set(self._held_bytes)


@dataclass
class BodyLease:
    """Bytes that one request has reserved."""

    budget: BodyBudget
    held_bytes: int = 0

    def reserve(self, n_bytes: int) -> None:
        """Reserve `n_bytes` more."""
        self.budget.reserve(n_bytes, self.held_bytes)
        self.held_bytes += n_bytes


@dataclass(frozen=True)
class ParsedBody:
    """Posts and uploaded files of one body."""

    posts: list[Any]
    uploads: Mapping[str, bytes] = field(default_factory=dict)


async def read_body(request: Request, limits: ServiceLimits, lease: BodyLease) -> bytearray:
    """Read the complete body.

    Args:
        request: Request whose body has not been read.
        limits: Limits on bytes and seconds.
        lease: Share of the budget in which the bytes are counted.

    Returns:
        The bytes of the body.

    Raises:
        RequestError: 408 too slow, 413 too large, 415 compressed.
        ClientDisconnect: The client left before the body was complete.
    """
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise RequestError(415, f"the body is compressed ({encoding[:20]})", "send it as it is")
    declared_length = request.headers.get("content-length", "0")
    if declared_length.isdecimal() and int(declared_length) > limits.body_bytes:
        raise _too_large_error(limits)
    body = bytearray()
    try:
        async with asyncio.timeout(limits.body_seconds):
            async for chunk in request.stream():
                if len(body) + len(chunk) > limits.body_bytes:
                    raise _too_large_error(limits)
                lease.reserve(len(chunk))
                body += chunk
    except TimeoutError:
        reason = f"the body was not complete after {limits.body_seconds:g} seconds"
        raise RequestError(408, reason, "send it faster, or fewer posts at a time") from None
    return body


def parse_body(body: bytes | bytearray, content_type: str, limits: ServiceLimits) -> ParsedBody:
    """Parse a body into posts, each still as it was sent, and uploaded files.

    Args:
        body: Complete body.
        content_type: The request's `Content-Type`.
        limits: Limits on posts and JSON values.

    Returns:
        Posts and files by name.

    Raises:
        RequestError: 400 for what cannot be parsed, 413 for too many posts, 415 for another type.
    """
    media_type = _media_type(content_type)
    if media_type == "application/json":
        return ParsedBody(_parse_posts(body, limits))
    if media_type == "multipart/form-data":
        # The library's parser is a coroutine; run in this thread it delays no other request.
        return asyncio.run(_parse_multipart(body, content_type, limits))
    raise RequestError(415, f"the body's type is {media_type[:60]!a}", _BODY_HINT)


def _parse_posts(body: bytes | bytearray, limits: ServiceLimits) -> list[Any]:
    values = sum(body.count(bracket) for bracket in (b"[", b"{", b","))
    if values > limits.json_values:
        raise RequestError(
            413, f"the JSON has over {limits.json_values} values", "send fewer posts"
        )
    try:
        payload = from_json(body, allow_inf_nan=False)
    except ValueError as e:
        raise RequestError(400, f"the body is not JSON: {str(e)[:200]}", _BODY_HINT) from None
    try:
        check_duplicate_keys(body)
    except DuplicateKey as e:
        raise RequestError(400, str(e), DUPLICATE_KEY_HINT) from None
    if isinstance(payload, dict) and "posts" in payload:
        if set(payload) != {"posts"}:
            raise RequestError(
                400, "an object with `posts` has no other key", "remove the other keys"
            )
        payload = payload["posts"]
    posts = [payload] if isinstance(payload, dict) else payload
    if not isinstance(posts, list) or not posts:
        raise RequestError(400, "there are no posts in the body", 'send {"posts": [{"text": "…"}]}')
    if len(posts) > limits.posts:
        raise RequestError(
            413, f"{len(posts):,} posts, over the limit of {limits.posts}", "send fewer"
        )
    return posts


async def _parse_multipart(
    body: bytes | bytearray, content_type: str, limits: ServiceLimits
) -> ParsedBody:
    charset = parse_options_header(content_type)[1].get(b"charset", b"utf-8")
    if charset.lower() not in (b"utf-8", b"utf8"):
        # Some of Python's codecs raise arbitrary errors or yield lone surrogates.
        raise RequestError(415, f"the parts' charset is {charset[:20]!r}", "send UTF-8")
    max_files = limits.posts * limits.images + 1
    headers = Headers({"content-type": content_type})
    parser = MultiPartParser(
        headers, _stream_pieces(body), max_files=max_files, max_fields=1, max_part_size=len(body)
    )
    parser.spool_max_size = len(body) + 1  # never to disk: the body is in memory already
    try:
        form = await parser.parse()
    except MultiPartException as e:
        raise RequestError(
            400, f"the parts cannot be parsed: {e.message[:200]}", _BODY_HINT
        ) from None
    posts: list[Any] | None = None
    uploads: dict[str, bytes] = {}
    for name, part in form.multi_items():
        data = await part.read() if isinstance(part, UploadFile) else part.encode()
        if name == "posts" and posts is None:
            posts = _parse_posts(data, limits)
            continue
        filename = part.filename if isinstance(part, UploadFile) else ""
        if not filename or filename in uploads:
            reason = f"the part {name[:60]!a} is not a file, or its file name occurs twice"
            raise RequestError(400, reason, "give every uploaded file its own name")
        uploads[filename] = data
    if posts is None:
        raise RequestError(400, "there is no part `posts`", _BODY_HINT)
    return ParsedBody(posts, uploads)


async def _stream_pieces(body: bytes | bytearray) -> AsyncGenerator[bytes, None]:
    """Yield a body piece by piece, so that it is not in memory twice."""
    for start in range(0, len(body), SMALL_BODY):
        yield bytes(body[start : start + SMALL_BODY])


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _too_large_error(limits: ServiceLimits) -> RequestError:
    return RequestError(
        413, f"the body is over {limits.body_bytes:,} bytes", "send fewer posts at a time"
    )
