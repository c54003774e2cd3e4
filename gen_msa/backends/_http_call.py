"""Call a server with a body: retries, time limits, and errors in words that name the cause.

raw = await post_with_retries(client, url, body, headers, RetryPolicy(), parse)
"""

import asyncio
import html
import math
import random
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

import httpx
import tenacity

MAX_RESPONSE_BYTES = 4 << 20
"""Limit on the bytes of an answer."""
_MAX_ERROR_BYTES = 16 << 10
TRANSIENT_STATUSES = frozenset({408, 409, 425, 429})
_MAX_MESSAGE_CHARS = 300

T = TypeVar("T")


_NAMED_FAULT = re.compile(
    r"system (?:role|message)s? not supported|roles must alternate|response_format|json_schema"
    r"|structured_outputs",
    re.IGNORECASE,
)
"""What an error of a server names when asking again in the same way is useless."""


class TransientError(Exception):
    """A call failed for a reason that may pass."""

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        """Build the error.

        Args:
            reason: What failed.
            retry_after: Seconds after which the server asked to try again; None if it did not.
        """
        super().__init__(reason)
        self.retry_after = retry_after


class PermanentError(Exception):
    """A call failed for good."""

    def __init__(self, reason: str, status: int = 0, body: str = "") -> None:
        """Build the error.

        Args:
            reason: What failed.
            status: HTTP status; 0 for none.
            body: The server's complete error text.
        """
        super().__init__(reason)
        self.status = status
        self.body = body


@dataclass(frozen=True)
class RetryPolicy:
    """Time limit of a call (seconds), number of retries, and the function that waits."""

    timeout: float = 120.0
    retries: int = 5
    max_wait: float = 60.0
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


MAX_RETRY_AFTER = 600.0
"""Longest `Retry-After` (seconds) that is kept to; after a longer one the usual wait applies."""


async def post_with_retries(
    client: httpx.AsyncClient,
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    policy: RetryPolicy,
    parse: Callable[[bytes], T],
) -> T:
    """POST a body and parse the answer; retry transient errors with exponential backoff.

    Args:
        client: HTTP client.
        url: Address.
        body: Request body.
        headers: Request headers.
        policy: Limits on time and retries.
        parse: Parses the answer; raises `TransientError` for an incomplete one.

    Returns:
        What `parse` returned.

    Raises:
        TransientError: Every attempt failed; the last error.
        PermanentError: The server refused; raised at once.
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
        # The timeout covers the complete call: a server that drips a byte a second is cut off too.
        async with (
            asyncio.timeout(timeout),
            client.stream("POST", url, content=body, headers=headers) as response,
        ):
            if response.is_success:
                return await _read_bytes(response, MAX_RESPONSE_BYTES)
            raise await _error_from_response(response)
    except (TimeoutError, httpx.TimeoutException):
        raise TransientError(
            f"no complete answer from {_address(url)} within {timeout:g} s"
        ) from None
    except httpx.TransportError as e:
        raise _transport_error(e, _address(url)) from None


def _address(url: str) -> str:
    parsed = httpx.URL(url)
    return f"{parsed.host}:{parsed.port or {'http': 80, 'https': 443}[parsed.scheme]}"


def _transport_error(error: httpx.TransportError, address: str) -> TransientError | PermanentError:
    """Return what a failed connection means, in the words of a person who looks for the cause."""
    causes = list(_causes(error))
    if any(isinstance(e, ConnectionRefusedError) for e in causes):
        return TransientError(f"connection refused by {address}")
    if failed_lookup := next((e for e in causes if isinstance(e, socket.gaierror)), None):
        host = address.rpartition(":")[0]
        return TransientError(f"the name {host} is not known here: {failed_lookup.strerror}")
    if failed_check := next((e for e in causes if isinstance(e, ssl.SSLError)), None):
        reason = f"no secure connection to {address}: {shorten(str(failed_check))}"
        is_final = isinstance(failed_check, ssl.SSLCertVerificationError)
        return PermanentError(reason) if is_final else TransientError(reason)
    verb = "no connection to" if isinstance(error, httpx.ConnectError) else "broken off by"
    return TransientError(f"{verb} {address}: {shorten(str(error)) or type(error).__name__}")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and all that led to it, those of several addresses too."""
    pending: list[BaseException | None] = [error]
    while pending:
        if (cause := pending.pop()) is not None:
            yield cause
            pending += [cause.__cause__, cause.__context__]
            pending += getattr(cause, "exceptions", ())


async def _read_bytes(response: httpx.Response, max_bytes: int) -> bytes:
    if response.headers.get("content-encoding", "identity") != "identity":
        raise TransientError("the answer is compressed, which was not requested")
    received = bytearray()
    async for chunk in response.aiter_raw():
        received += chunk
        if len(received) > max_bytes:
            raise TransientError(f"the answer is over {max_bytes} bytes")
    return bytes(received).replace(*_key_and_mask(response))


def _key_and_mask(response: httpx.Response) -> tuple[bytes, bytes]:
    """Return the key that was sent, and what replaces it should the server echo it."""
    key = response.request.headers.get("authorization", "").removeprefix("Bearer ")
    return (key.encode(), b"[key]") if key else (b"\0", b"\0")


async def _error_from_response(response: httpx.Response) -> TransientError | PermanentError:
    status = response.status_code
    if response.is_redirect:
        target = response.next_request.url.host if response.next_request else ""
        where = f" to {shorten(target)}" if target else ""
        return PermanentError(f"HTTP {status}: a redirect{where} is not followed", status)
    try:
        body = (await _read_bytes(response, _MAX_ERROR_BYTES)).decode("utf-8", "replace")
    except TransientError as e:
        body = str(e)
    reason = f"HTTP {status}: {shorten(body)}"
    if "insufficient_quota" in body:
        return PermanentError(reason, status, body)
    if status in TRANSIENT_STATUSES or (status >= 500 and not _NAMED_FAULT.search(body)):
        return TransientError(reason, _retry_after(response.headers))
    return PermanentError(reason, status, body)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that a server asks to wait; `retry-after-ms` is the exacter one."""
    milliseconds = _parse_retry_after(headers.get("retry-after-ms", ""))
    if milliseconds is not None:
        return milliseconds / 1000
    return _parse_retry_after(headers.get("retry-after", ""))


def _parse_retry_after(header: str) -> float | None:
    """Return the seconds of a `Retry-After`, a number or a date; None when it is neither."""
    try:
        seconds = float(header)
    except ValueError:
        try:
            retry_at = parsedate_to_datetime(header)
        except (ValueError, OverflowError):
            return None
        seconds = (
            retry_at.replace(tzinfo=retry_at.tzinfo or UTC) - datetime.now(UTC)
        ).total_seconds()
    return None if math.isnan(seconds) else max(seconds, 0.0)


def _wait(state: tenacity.RetryCallState, max_wait: float) -> float:
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, TransientError) and error.retry_after is not None:
        # Jitter, so that clients with the same `Retry-After` do not all come back at once.
        is_honoured = error.retry_after <= MAX_RETRY_AFTER
        return (error.retry_after if is_honoured else max_wait) + random.uniform(0.0, 0.5)
    return random.uniform(0.5, 1.0) * min(2.0 ** (state.attempt_number - 1), max_wait / 2)


_WEB_PAGE = re.compile(r"\s*+<(?:!doctype html|html|head|body)\b", re.IGNORECASE)
_TITLE = re.compile(r"<title>([^<]{1,300})</title>", re.IGNORECASE)
_TAG = re.compile(r"<[^<>]{0,1000}>")


def shorten(text: str) -> str:
    """Return at most 300 printable characters of a server's text, on one line.

    Of a web page, such as a proxy sends, only the title or the text is kept.
    """
    if _WEB_PAGE.match(text):
        title = _TITLE.search(text)
        text = html.unescape(title[1] if title else _TAG.sub(" ", text))
    line = " ".join(text.split())[: _MAX_MESSAGE_CHARS + 1]
    line = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)
    return line if len(line) <= _MAX_MESSAGE_CHARS else line[:_MAX_MESSAGE_CHARS] + "…"
