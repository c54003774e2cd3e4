"""The shape of OpenAI's chat completions: what is sent, what comes back, what may be left out.

Knows no network. Servers differ in what they take; `body` leaves out what is named in `without`,
and `blamed` reads from a server's complaint which that should be. `guided_*` is never sent: new
servers ignore it without a word.

    body(request, "my-model", without=frozenset(), show=picture_part)
    completion(read(answer_bytes), request, sent, "my-model")
"""

import re
from collections.abc import Collection, Mapping
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from gen_msa.backends._calling import TransientError, PermanentError, shorten
from gen_msa.backends._logprobs import TokenLogprobs, option_logprobs
from gen_msa.backends._messages import ImagePartBuilder, build_messages
from gen_msa.backends._slots import matches_slot, slot_pattern
from gen_msa.chat import Completion, Request

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
}
_FINISH_REASONS = {None: "stop", "stop": "stop", "eos": "stop", "length": "length", "max_tokens": "length"}


class ReplyMessage(BaseModel):
    """The words of an answer."""

    content: str | None = None
    refusal: str | None = None


class ReplyChoice(BaseModel):
    """One answer of a reply."""

    message: ReplyMessage
    finish_reason: str | None = None
    logprobs: Any = None


class Reply(BaseModel):
    """What a server sends; fields it adds are passed over."""

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
        """The token's bytes; a token can be a part of a character, which `token` cannot show."""
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
    """The JSON to send, and how many control strings were broken up in a post's words.

    `slots`: a label slot is held to as vLLM does it, in place of the schema.
    """
    turns, n_escaped = build_messages(request.chat, image_part)
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
        payload |= {"logprobs": True, "top_logprobs": TOP_LOGPROBS}
    return payload, n_escaped


def unsupported_params(error_text: str, payload: Mapping[str, Any], omitted: Collection[str]) -> set[str]:
    """What to leave out of the next try, after a server refused `sent` and `said` why.

    A server that names nothing is asked once more without schema and log-probabilities. Empty when
    there is nothing left to give up.
    """
    present = {name for name in _PARAM_PATTERNS if name in payload} - set(omitted)
    if "response_format" in present:
        present.add("bounds")
    unsupported = {name for name in present - set(omitted) if _PARAM_PATTERNS[name].search(error_text)}
    if "bounds" in unsupported and "bounds" not in omitted:
        unsupported.discard("response_format")  # perhaps it only minds minLength and its like
    return unsupported or (present & {"logprobs", "response_format", "structured_outputs"})


def parse_reply(raw: bytes) -> Reply:
    """A whole reply with an answer in it. Raises `Passing` for anything less."""
    try:
        reply = Reply.model_validate_json(raw)
    except ValidationError as e:
        problem = e.errors(include_url=False)[0]["msg"]
        excerpt = shorten(raw[:200].decode("utf-8", "replace"))
        raise TransientError(f"not a chat completion ({problem}): {excerpt}") from None
    if reply.error:
        raise TransientError(f"the server says: {shorten(str(reply.error))}")
    if not reply.choices:
        raise TransientError("the reply holds no answer")
    answer = reply.choices[0]
    if answer.message.refusal or answer.finish_reason == "content_filter":
        refusal = answer.message.refusal or "content filter"
        raise PermanentError(f"the server refused to answer: {shorten(refusal)}")
    if answer.finish_reason not in _FINISH_REASONS:
        raise TransientError(f"the answer ended for an unknown reason: {shorten(str(answer.finish_reason))}")
    if answer.message.content is None and _FINISH_REASONS[answer.finish_reason] != "length":
        raise TransientError("the answer has no text")
    return reply


def to_completion(reply: Reply, request: Request, payload: Mapping[str, Any], model: str) -> Completion:
    """A reply that `read` has passed, as a completion; `sent` is the body it answers."""
    answer = reply.choices[0]
    notes = {"form": "schema" if "response_format" in payload else "free"}
    if "structured_outputs" in payload and request.choice is not None:
        # A server that does not know the field passes over it without a word.
        slot_filled = matches_slot(request.choice, answer.message.content or "")
        notes["form"] = "slot" if slot_filled else "free (the slot was passed over)"
    logprobs = None
    if request.choice is not None:
        logprobs, note = _option_scores(answer.logprobs, request, payload)
        if note:
            notes["option_logprobs"] = note
    if reply.model and reply.model != model:
        notes["model"] = shorten(reply.model)
    return Completion(
        text=answer.message.content or "",
        finish_reason="length" if _FINISH_REASONS[answer.finish_reason] == "length" else "stop",
        option_logprobs=logprobs,
        prompt_tokens=_usage_count(reply.usage, "prompt_tokens"),
        new_tokens=_usage_count(reply.usage, "completion_tokens"),
        notes=notes,
    )


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
        TokenLogprobs(t.token_bytes, t.logprob, tuple((o.token_bytes, o.logprob) for o in t.top_logprobs)) for t in tokens
    ]
    schema = None if "structured_outputs" in payload else request.json_schema
    return option_logprobs(steps, request.choice, schema)


def _usage_count(usage: Any, name: str) -> int:
    value = usage.get(name) if isinstance(usage, dict) else None
    return value if isinstance(value, int) and value >= 0 else 0


def _without_bounds(schema: Any, *, is_property_map: bool = False) -> Any:
    """A schema without what strict servers refuse; `names`: the keys name properties."""
    if isinstance(schema, list):
        return [_without_bounds(s) for s in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: _without_bounds(value, is_property_map=key in ("properties", "$defs") and not is_property_map)
        for key, value in schema.items()
        if is_property_map or key not in _BOUND_KEYWORDS
    }
