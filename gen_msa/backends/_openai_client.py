"""OpenAI's chat completions: request body and reply; `_http_call` is what lies between.

Servers differ in what they accept: `build_body` leaves out the parameters in `omitted`, and
`unsupported_params` reads from a server's error which those should be. `guided_*` is never sent:
new servers ignore it silently.

    payload, n_escaped = build_body(request, "my-model", frozenset(), image_part)
    reply = await post_with_retries(client, url, raw, headers, policy, parse_reply)
    to_completion(reply, request, payload, "my-model")
"""

import re
from collections.abc import Collection, Mapping
from typing import Any

from pydantic import BaseModel, Field, ValidationError, field_validator

from gen_msa.backends._http_call import TRANSIENT_STATUSES, PermanentError, TransientError, shorten
from gen_msa.backends._label_slot import TokenLogprobs, matches_slot, option_logprobs, slot_pattern
from gen_msa.chat import Completion, ImagePartBuilder, Request, build_messages

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
    is_refusal = isinstance(code, int) and 400 <= code < 500 and code not in TRANSIENT_STATUSES
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
