"""Client of OpenAI's chat completions: request body, call with retries, reply.

Servers differ in what they accept: `build_body` leaves out the parameters in `omitted`, and
`unsupported_params` reads from a server's error which those should be. `guided_*` is never sent:
new
servers ignore it silently.

    payload, n_escaped = build_body(request, "my-model", frozenset(), image_part)
    reply = await post_with_retries(client, url, raw, headers, policy, parse_reply)
    to_completion(reply, request, payload, "my-model")
"""

import asyncio
import html
import math
import random
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

import httpx
import tenacity
from pydantic import BaseModel, Field, ValidationError, field_validator

from gen_msa.backends._label_slot import TokenLogprobs, matches_slot, option_logprobs, slot_pattern
from gen_msa.chat import Completion, ImagePartBuilder, Request, build_messages

MAX_RESPONSE_BYTES = 4 << 20
"""Limit on the bytes of an answer."""
_MAX_ERROR_BYTES = 16 << 10
_TRANSIENT_STATUSES = frozenset({408, 409, 425, 429})
_MAX_MESSAGE_CHARS = 300

T = TypeVar("T")


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
    if status in _TRANSIENT_STATUSES or (status >= 500 and not _NAMED_FAULT.search(body)):
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


TOP_LOGPROBS = 20
_BOUND_KEYWORDS = frozenset({"minLength", "maxLength", "minItems", "maxItems", "title", "default"})
_PARAM_PATTERNS = {
    "logprobs": re.compile("logprobs"),
    "bounds": re.compile("response_format|schema|Length|Items"),
    "response_format": re.compile("response_format|schema|structured|grammar"),
    "structured_outputs": re.compile("structured_outputs|regex|grammar"),
    "seed": re.compile("seed"),
    "temperature": re.compile("temperature"),
    "max_tokens": re.compile("max_tokens"),
    "system": re.compile(
        r"system (?:role|message|prompt)s? (?:is |are )?not supported|roles must alternate"
        r"|(?:does not|doesn't) support (?:the )?system",
        re.IGNORECASE,
    ),
}
_TOP_LOGPROBS_LIMIT = re.compile(
    r"top_logprobs\D{0,80}?(?:at most|<=|less than or equal to|maximum|between 0 and|up to)"
    r"\D{0,20}(\d+)"
)
_NAMED_FAULT = re.compile(
    r"system (?:role|message)s? not supported|roles must alternate|response_format|json_schema"
    r"|structured_outputs",
    re.IGNORECASE,
)
"""What an error of a server names when asking again in the same way is useless."""
_LENGTH_REASONS = frozenset({"length", "max_tokens", "model_length", "max_output_tokens"})
_STOP_REASONS = frozenset(
    {"", "stop", "eos", "eos_token", "stop_sequence", "end_turn", "tool_calls", "function_call"}
)
_BROKEN_REASONS = frozenset({"abort", "aborted", "error", "cancelled", "canceled", "timeout"})


class _FunctionCall(BaseModel):
    arguments: str = ""


class _ToolCall(BaseModel):
    function: _FunctionCall = _FunctionCall()


class ReplyMessage(BaseModel):
    """Text of an answer, and the thoughts that a server sends apart from it."""

    content: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[_ToolCall] | None = None

    @field_validator("content", mode="before")
    @classmethod
    def _join_parts(cls, value: object) -> object:
        """Join the text parts of a list; parts that hold thoughts are left out."""
        if not isinstance(value, list):
            return value
        parts = [{"type": "text", "text": p} if isinstance(p, str) else p for p in value]
        parts = [p for p in parts if isinstance(p, dict)]
        texts = [p.get("text") for p in parts if p.get("type") in ("text", "output_text")]
        return "".join(t for t in texts if isinstance(t, str))

    @property
    def text(self) -> str | None:
        """Return the answer: the content, else the arguments of the only tool call."""
        if not self.content and self.tool_calls and len(self.tool_calls) == 1:
            return self.tool_calls[0].function.arguments or None
        return self.content

    @property
    def thoughts(self) -> str:
        """Return the thoughts; "" without any."""
        return self.reasoning_content or self.reasoning or ""


class ReplyChoice(BaseModel):
    """One answer of a reply."""

    message: ReplyMessage
    finish_reason: str | None = None
    logprobs: Any = None

    @field_validator("finish_reason", mode="before")
    @classmethod
    def _as_text(cls, value: object) -> object:
        """Take any value: some servers send numbers or objects."""
        return value if value is None or isinstance(value, str) else shorten(str(value))


class Reply(BaseModel):
    """A server's reply; further fields are ignored."""

    choices: list[ReplyChoice] = []
    error: Any = None
    model: str | None = None
    usage: Any = None


class _TopLogprob(BaseModel):
    token: str
    logprob: float
    byte_values: list[int] | None = Field(default=None, alias="bytes")

    @property
    def token_bytes(self) -> bytes:
        """Return the token's bytes; half a character cannot be expressed by `token`."""
        if self.byte_values is not None and all(0 <= b < 256 for b in self.byte_values):
            return bytes(self.byte_values)
        return self.token.encode()


class _TokenLogprob(_TopLogprob):
    top_logprobs: list[_TopLogprob] = []


class _Logprobs(BaseModel):
    content: list[_TokenLogprob]


def build_body(
    request: Request,
    model: str,
    omitted: Collection[str],
    image_part: ImagePartBuilder,
    *,
    slots: bool = False,
) -> tuple[dict[str, Any], int]:
    """Build the JSON to send.

    Args:
        request: Request to send.
        model: Name of the model on the server.
        omitted: Parameters to leave out, as `unsupported_params` names them.
        image_part: Builds the content part of an image.
        slots: Enforce a label slot by vLLM's `structured_outputs`, in place of the JSON schema.

    Returns:
        The body, and the number of control tokens that were escaped in untrusted text.
    """
    turns, n_escaped = build_messages(request.chat, image_part)
    turns = _system_into_user(turns) if "system" in omitted else turns
    limit_key = "max_completion_tokens" if "max_tokens" in omitted else "max_tokens"
    payload: dict[str, Any] = {"model": model, "messages": turns, limit_key: request.max_new_tokens}
    if "temperature" not in omitted:
        payload["temperature"] = request.temperature
    if "seed" not in omitted:
        payload["seed"] = request.seed
    slot = request.choice if slots and "structured_outputs" not in omitted else None
    if slot is not None:
        payload["structured_outputs"] = {"regex": slot_pattern(slot)}
    elif request.json_schema is not None and "response_format" not in omitted:
        schema: Any = request.json_schema
        schema = _without_bounds(schema) if "bounds" in omitted else schema
        schema_format = {"name": "answer", "schema": schema, "strict": True}
        payload["response_format"] = {"type": "json_schema", "json_schema": schema_format}
    if request.choice is not None and "logprobs" not in omitted:
        limits = [int(o.partition("=")[2]) for o in omitted if o.startswith("top_logprobs=")]
        payload |= {"logprobs": True, "top_logprobs": min([TOP_LOGPROBS, *limits])}
    return payload, n_escaped


def unsupported_params(
    error_text: str, payload: Mapping[str, Any], omitted: Collection[str], status: int = 400
) -> set[str]:
    """Find the parameters to leave out after a server refused a request.

    A server that names none is asked once more without schema and log-probabilities.

    Args:
        error_text: The server's error.
        payload: The body it refused.
        omitted: Parameters that were left out already.
        status: HTTP status. Only a 400 or 422 that names no parameter is asked once more.

    Returns:
        Parameters to leave out (`system`: the system turn; `top_logprobs=N`: more than N of them);
        empty when there is nothing left to leave out.
    """
    limit = _TOP_LOGPROBS_LIMIT.search(error_text)
    if limit and "logprobs" in payload and 0 < int(limit[1]) < payload["top_logprobs"]:
        return {f"top_logprobs={limit[1]}"}
    present = {name for name in _PARAM_PATTERNS if name in payload} - set(omitted)
    if any(turn["role"] == "system" for turn in payload["messages"]):
        present.add("system")
    if "response_format" in present:
        present.add("bounds")
    unsupported = {
        name for name in present - set(omitted) if _PARAM_PATTERNS[name].search(error_text)
    }
    if "bounds" in unsupported and "bounds" not in omitted:
        unsupported.discard("response_format")  # perhaps it refuses only minLength and the like
    if unsupported or status not in (400, 422):
        return unsupported
    return present & {"logprobs", "response_format", "structured_outputs"}


def parse_reply(raw: bytes) -> Reply:
    """Parse a reply.

    Args:
        raw: The bytes of the reply.

    Returns:
        A reply with an answer in it.

    Raises:
        TransientError: It is incomplete or not a chat completion.
        PermanentError: The server refused to answer.
    """
    try:
        reply = Reply.model_validate_json(raw)
    except ValidationError as e:
        details = e.errors(include_url=False)[0]
        text = raw[:2_000].decode("utf-8", "replace")
        reason = f"not a chat completion ({details['msg']}): {shorten(text)[:200]}"
        # What is no JSON was cut off, or comes from a proxy; JSON of another kind will come again.
        may_pass = details["type"] == "json_invalid"
        raise TransientError(reason) if may_pass else PermanentError(reason) from None
    if reply.error:
        raise _error_from_reply(reply.error)
    if not reply.choices:
        raise TransientError("the reply holds no answer")
    answer = reply.choices[0]
    if answer.message.refusal or answer.finish_reason == "content_filter":
        refusal = answer.message.refusal or "content filter"
        raise PermanentError(f"the server refused to answer: {shorten(refusal)}")
    reason = (answer.finish_reason or "").casefold()
    if reason in _BROKEN_REASONS:
        raise TransientError(f"the answer was broken off: {shorten(reason)}")
    if not answer.message.text and answer.message.thoughts and reason not in _LENGTH_REASONS:
        raise PermanentError(
            "the answer has no text; all of it is in reasoning_content: "
            "switch the server's reasoning parser off, or the model's thinking"
        )
    if answer.message.text is None and reason not in _LENGTH_REASONS:
        raise PermanentError("the answer has no text")  # and has been paid for
    return reply


def _error_from_reply(error: Any) -> TransientError | PermanentError:
    """Return the error that a reply of status 200 holds; its code may be that of a refusal."""
    details = error[0] if isinstance(error, list) and error else error
    code = details.get("code") if isinstance(details, dict) else None
    message = details.get("message") if isinstance(details, dict) else None
    reason = f"the server says: {shorten(str(message or error))}"
    is_refusal = isinstance(code, int) and 400 <= code < 500 and code not in _TRANSIENT_STATUSES
    if is_refusal or "insufficient_quota" in str(error):
        return PermanentError(reason, code if isinstance(code, int) else 0, str(error))
    return TransientError(reason)


def to_completion(
    reply: Reply, request: Request, payload: Mapping[str, Any], model: str
) -> Completion:
    """Convert a reply.

    Args:
        reply: Reply from `parse_reply`.
        request: The request it answers.
        payload: The body it answers.
        model: Name of the model that was asked for.

    Returns:
        The completion.
    """
    answer = reply.choices[0]
    notes = {"form": "schema" if "response_format" in payload else "free"}
    if "structured_outputs" in payload and request.choice is not None:
        # A server that does not know the field ignores it silently.
        slot_filled = matches_slot(request.choice, answer.message.text or "")
        notes["form"] = "slot" if slot_filled else "free (the slot was ignored)"
    logprobs = None
    if request.choice is not None:
        logprobs, note = _option_scores(answer.logprobs, request, payload)
        if note:
            notes["option_logprobs"] = note
    if reply.model and reply.model != model:
        notes["model"] = shorten(reply.model)
    reason = (answer.finish_reason or "").casefold()
    if reason not in _STOP_REASONS | _LENGTH_REASONS:
        notes["finish_reason"] = shorten(reason)
    if answer.message.thoughts:
        advice = "; raise max_new_tokens" if reason in _LENGTH_REASONS else ""
        notes["reasoning"] = f"{len(answer.message.thoughts):,} characters{advice}"
    return Completion(
        text=answer.message.text or "",
        finish_reason="length" if reason in _LENGTH_REASONS else "stop",
        option_logprobs=logprobs,
        prompt_tokens=_usage_count(reply.usage, "prompt_tokens"),
        new_tokens=_usage_count(reply.usage, "completion_tokens"),
        notes=notes,
    )


def _system_into_user(turns: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the turns with the system's text at the start of the first user turn."""
    if len(turns) < 2 or turns[0]["role"] != "system" or turns[1]["role"] != "user":
        return turns
    system, content = turns[0]["content"], turns[1]["content"]
    text = system if isinstance(system, str) else "".join(p.get("text", "") for p in system)
    if isinstance(content, str):
        merged: Any = f"{text}\n\n{content}"
    else:
        merged = [{"type": "text", "text": f"{text}\n\n"}, *content]
    return [{**turns[1], "content": merged}, *turns[2:]]


def _option_scores(
    raw: Any, request: Request, payload: Mapping[str, Any]
) -> tuple[dict[str, float] | None, str]:
    if request.choice is None or "logprobs" not in payload:
        return None, "none: the server takes no logprobs"
    try:
        tokens = _Logprobs.model_validate(raw).content
    except ValidationError:
        return None, "none: the server sent none"
    steps = [
        TokenLogprobs(
            t.token_bytes, t.logprob, tuple((o.token_bytes, o.logprob) for o in t.top_logprobs)
        )
        for t in tokens
    ]
    schema = None if "structured_outputs" in payload else request.json_schema
    return option_logprobs(steps, request.choice, schema)


def _usage_count(usage: Any, name: str) -> int:
    value = usage.get(name) if isinstance(usage, dict) else None
    return value if isinstance(value, int) and value >= 0 else 0


def _without_bounds(schema: Any, *, is_property_map: bool = False) -> Any:
    """Copy a schema without the keywords that strict servers refuse.

    `is_property_map`: the keys of `schema` are names of properties, not keywords.
    """
    if isinstance(schema, list):
        return [_without_bounds(s) for s in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: _without_bounds(
            value, is_property_map=key in ("properties", "$defs") and not is_property_map
        )
        for key, value in schema.items()
        if is_property_map or key not in _BOUND_KEYWORDS
    }
