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

MOST_BYTES = 4 << 20
"""Bytes of an answer; a server that sends more is cut off."""
_MOST_ERROR_BYTES = 16 << 10
_PASSING = frozenset({408, 409, 425, 429})
_SHOWN = 300

T = TypeVar("T")


class Passing(Exception):
    """A call failed for a reason that may pass; `wait` is what the server asked for (seconds)."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


class Refused(Exception):
    """A call failed for good. `status` is the HTTP status, `said` all that the server said."""

    def __init__(self, reason: str, status: int = 0, said: str = "") -> None:
        super().__init__(reason)
        self.status = status
        self.said = said


@dataclass(frozen=True)
class Patience:
    """How long a call may take (seconds), how often it is tried again, and how waiting is done."""

    timeout: float = 120.0
    retries: int = 5
    longest_wait: float = 60.0
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


async def call(
    client: httpx.AsyncClient,
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    patience: Patience,
    read: Callable[[bytes], T],
) -> T:
    """POST `body` and give what `read` makes of the answer.

    `read` raises `Passing` for an answer that is not whole. Raises the last `Passing` when every
    try failed, and `Refused` at once.
    """

    async def once() -> T:
        return read(await _post(client, url, body, headers, patience.timeout))

    retrying = tenacity.AsyncRetrying(
        sleep=patience.sleep,
        stop=tenacity.stop_after_attempt(patience.retries + 1),
        wait=lambda state: _wait(state, patience.longest_wait),
        retry=tenacity.retry_if_exception_type(Passing),
        reraise=True,
    )
    return await retrying(once)


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
                return await _bytes(response, MOST_BYTES)
            raise await _failure(response)
    except TimeoutError:
        raise Passing(f"no whole answer within {timeout:g} s") from None
    except httpx.TransportError as e:
        raise Passing(f"{type(e).__name__}: {short(str(e))}") from None


async def _bytes(response: httpx.Response, most: int) -> bytes:
    if response.headers.get("content-encoding", "identity") != "identity":
        raise Passing("the answer is compressed, which was not asked for")
    taken = bytearray()
    async for chunk in response.aiter_raw():
        taken += chunk
        if len(taken) > most:
            raise Passing(f"the answer is over {most} bytes")
    return bytes(taken).replace(*_secret(response))


def _secret(response: httpx.Response) -> tuple[bytes, bytes]:
    """The key that was sent, and what stands for it should the server send it back."""
    key = response.request.headers.get("authorization", "").removeprefix("Bearer ")
    return (key.encode(), b"[key]") if key else (b"\0", b"\0")


async def _failure(response: httpx.Response) -> Passing | Refused:
    status = response.status_code
    if response.is_redirect:
        return Refused(f"HTTP {status}: redirects are not followed", status)
    try:
        said = (await _bytes(response, _MOST_ERROR_BYTES)).decode("utf-8", "replace")
    except Passing as e:
        said = str(e)
    reason = f"HTTP {status}: {short(said)}"
    if status in _PASSING or status >= 500:
        return Passing(reason, _asked_wait(response.headers.get("retry-after", "")))
    return Refused(reason, status, said)


def _asked_wait(header: str) -> float | None:
    """Seconds of a `Retry-After`, which is a number or a date; None when it is neither."""
    try:
        seconds = float(header)
    except ValueError:
        try:
            then = parsedate_to_datetime(header)
        except (ValueError, OverflowError):
            return None
        seconds = (then.replace(tzinfo=then.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return None if math.isnan(seconds) else max(seconds, 0.0)


def _wait(state: tenacity.RetryCallState, longest: float) -> float:
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, Passing) and error.wait is not None:
        # A little more, so that callers told the same do not come back all at once.
        return min(error.wait, longest) + random.uniform(0.0, 0.5)
    return random.uniform(0.5, 1.0) * min(2.0 ** (state.attempt_number - 1), longest / 2)


def short(text: str) -> str:
    """At most 300 printable characters of what a server said, on one line."""
    line = " ".join(text.split())[: _SHOWN + 1]
    line = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)
    return line if len(line) <= _SHOWN else line[:_SHOWN] + "…"
