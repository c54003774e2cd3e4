"""One HTTP call that is tried again while there is hope, and never waits without end.

Knows nothing of what is asked. A failure is `Passing` (busy, timed out, cut, garbled: tried again
after a growing, random wait or the server's own `Retry-After`) or `Refused` (for good). Answers
over `MOST_BYTES` and redirects are not taken.

    await call(client, "https://host/v1/chat/completions", body, {}, Patience(), read=json.loads)
"""

import asyncio
import math
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

import httpx
import tenacity

MAX_RESPONSE_BYTES = 4 << 20
"""Bytes of an answer; a server that sends more is cut off."""
_MAX_ERROR_BYTES = 16 << 10
_TRANSIENT_STATUSES = frozenset({408, 409, 425, 429})
_MAX_MESSAGE_CHARS = 300

T = TypeVar("T")


class TransientError(Exception):
    """A call failed for a reason that may pass; `wait` is what the server asked for (seconds)."""

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class PermanentError(Exception):
    """A call failed for good. `status` is the HTTP status, `said` all that the server said."""

    def __init__(self, reason: str, status: int = 0, body: str = "") -> None:
        super().__init__(reason)
        self.status = status
        self.body = body


@dataclass(frozen=True)
class RetryPolicy:
    """How long a call may take (seconds), how often it is tried again, and how waiting is done."""

    timeout: float = 120.0
    retries: int = 5
    max_wait: float = 60.0
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


async def post_with_retries(
    client: httpx.AsyncClient,
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    policy: RetryPolicy,
    parse: Callable[[bytes], T],
) -> T:
    """POST `body` and give what `read` makes of the answer.

    `read` raises `Passing` for an answer that is not whole. Raises the last `Passing` when every
    try failed, and `Refused` at once.
    """

    async def attempt() -> T:
        return parse(await _post(client, url, body, headers, policy.timeout))

    retrying = tenacity.AsyncRetrying(
        sleep=policy.sleep,
        stop=tenacity.stop_after_attempt(policy.retries + 1),
        wait=lambda state: _wait(state, policy.max_wait),
        retry=tenacity.retry_if_exception_type(TransientError),
        reraise=True,
    )
    return await retrying(attempt)


async def _post(
    client: httpx.AsyncClient, url: str, body: bytes, headers: Mapping[str, str], timeout: float
) -> bytes:
    try:
        # The clock is over the whole call: a server that drips a byte a second is cut off too.
        async with (
            asyncio.timeout(timeout),
            client.stream("POST", url, content=body, headers=headers) as response,
        ):
            if response.is_success:
                return await _read_bytes(response, MAX_RESPONSE_BYTES)
            raise await _error_from_response(response)
    except TimeoutError:
        raise TransientError(f"no whole answer within {timeout:g} s") from None
    except httpx.TransportError as e:
        raise TransientError(f"{type(e).__name__}: {shorten(str(e))}") from None


async def _read_bytes(response: httpx.Response, max_bytes: int) -> bytes:
    if response.headers.get("content-encoding", "identity") != "identity":
        raise TransientError("the answer is compressed, which was not asked for")
    received = bytearray()
    async for chunk in response.aiter_raw():
        received += chunk
        if len(received) > max_bytes:
            raise TransientError(f"the answer is over {max_bytes} bytes")
    return bytes(received).replace(*_key_and_mask(response))


def _key_and_mask(response: httpx.Response) -> tuple[bytes, bytes]:
    """The key that was sent, and what stands for it should the server send it back."""
    key = response.request.headers.get("authorization", "").removeprefix("Bearer ")
    return (key.encode(), b"[key]") if key else (b"\0", b"\0")


async def _error_from_response(response: httpx.Response) -> TransientError | PermanentError:
    status = response.status_code
    if response.is_redirect:
        return PermanentError(f"HTTP {status}: redirects are not followed", status)
    try:
        body = (await _read_bytes(response, _MAX_ERROR_BYTES)).decode("utf-8", "replace")
    except TransientError as e:
        body = str(e)
    reason = f"HTTP {status}: {shorten(body)}"
    if status in _TRANSIENT_STATUSES or status >= 500:
        return TransientError(reason, _parse_retry_after(response.headers.get("retry-after", "")))
    return PermanentError(reason, status, body)


def _parse_retry_after(header: str) -> float | None:
    """Seconds of a `Retry-After`, which is a number or a date; None when it is neither."""
    try:
        seconds = float(header)
    except ValueError:
        try:
            retry_at = parsedate_to_datetime(header)
        except (ValueError, OverflowError):
            return None
        seconds = (retry_at.replace(tzinfo=retry_at.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return None if math.isnan(seconds) else max(seconds, 0.0)


def _wait(state: tenacity.RetryCallState, max_wait: float) -> float:
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, TransientError) and error.retry_after is not None:
        # A little more, so that callers told the same do not come back all at once.
        return min(error.retry_after, max_wait) + random.uniform(0.0, 0.5)
    return random.uniform(0.5, 1.0) * min(2.0 ** (state.attempt_number - 1), max_wait / 2)


def shorten(text: str) -> str:
    """At most 300 printable characters of what a server said, on one line."""
    line = " ".join(text.split())[: _MAX_MESSAGE_CHARS + 1]
    line = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)
    return line if len(line) <= _MAX_MESSAGE_CHARS else line[:_MAX_MESSAGE_CHARS] + "…"
