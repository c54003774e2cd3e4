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

from gen_msa.backends._calling import Passing, Refused, short
from gen_msa.backends._logprobs import Step, option_logprobs
from gen_msa.backends._messages import PicturePart, messages
from gen_msa.backends._slots import fills, slot_pattern
from gen_msa.chat import Completion, Request

TOP_LOGPROBS = 20
_BOUNDS = frozenset({"minLength", "maxLength", "minItems", "maxItems", "title", "default"})
_BLAME = {
    "logprobs": re.compile("logprobs"),
    "bounds": re.compile("response_format|schema|Length|Items"),
    "response_format": re.compile("response_format|schema|structured|grammar"),
    "structured_outputs": re.compile("structured_outputs|regex|grammar"),
    "seed": re.compile("seed"),
    "temperature": re.compile("temperature"),
    "max_tokens": re.compile("max_tokens"),
}
_ENDS = {None: "stop", "stop": "stop", "eos": "stop", "length": "length", "max_tokens": "length"}


class Message(BaseModel):
    """The words of an answer."""

    content: str | None = None
    refusal: str | None = None


class Choice(BaseModel):
    """One answer of a reply."""

    message: Message
    finish_reason: str | None = None
    logprobs: Any = None


class Reply(BaseModel):
    """What a server sends; fields it adds are passed over."""

    choices: list[Choice] = []
    error: Any = None
    model: str | None = None
    usage: Any = None


class _Top(BaseModel):
    token: str
    logprob: float
    numbers: list[int] | None = Field(default=None, alias="bytes")

    @property
    def raw(self) -> bytes:
        """The token's bytes; a token can be a part of a character, which `token` cannot show."""
        if self.numbers is not None and all(0 <= b < 256 for b in self.numbers):
            return bytes(self.numbers)
        return self.token.encode()


class _Token(_Top):
    top_logprobs: list[_Top] = []


class _Logprobs(BaseModel):
    content: list[_Token]


def body(
    request: Request,
    model: str,
    without: Collection[str],
    show: PicturePart,
    *,
    slots: bool = False,
) -> tuple[dict[str, Any], int]:
    """The JSON to send, and how many control strings were broken up in a post's words.

    `slots`: a label slot is held to as vLLM does it, in place of the schema.
    """
    turns, broken = messages(request.chat, show)
    limit = "max_completion_tokens" if "max_tokens" in without else "max_tokens"
    sent: dict[str, Any] = {"model": model, "messages": turns, limit: request.max_new_tokens}
    if "temperature" not in without:
        sent["temperature"] = request.temperature
    if "seed" not in without:
        sent["seed"] = request.seed
    slot = request.choice if slots and "structured_outputs" not in without else None
    if slot is not None:
        sent["structured_outputs"] = {"regex": slot_pattern(slot)}
    elif request.json_schema is not None and "response_format" not in without:
        schema: Any = request.json_schema
        schema = _unbounded(schema) if "bounds" in without else schema
        shape = {"name": "answer", "schema": schema, "strict": True}
        sent["response_format"] = {"type": "json_schema", "json_schema": shape}
    if request.choice is not None and "logprobs" not in without:
        sent |= {"logprobs": True, "top_logprobs": TOP_LOGPROBS}
    return sent, broken


def blamed(said: str, sent: Mapping[str, Any], without: Collection[str]) -> set[str]:
    """What to leave out of the next try, after a server refused `sent` and `said` why.

    A server that names nothing is asked once more without schema and log-probabilities. Empty when
    there is nothing left to give up.
    """
    there = {name for name in _BLAME if name in sent} - set(without)
    if "response_format" in there:
        there.add("bounds")
    named = {name for name in there - set(without) if _BLAME[name].search(said)}
    if "bounds" in named and "bounds" not in without:
        named.discard("response_format")  # perhaps it only minds minLength and its like
    return named or (there & {"logprobs", "response_format", "structured_outputs"})


def read(raw: bytes) -> Reply:
    """A whole reply with an answer in it. Raises `Passing` for anything less."""
    try:
        reply = Reply.model_validate_json(raw)
    except ValidationError as e:
        what = e.errors(include_url=False)[0]["msg"]
        head = short(raw[:200].decode("utf-8", "replace"))
        raise Passing(f"not a chat completion ({what}): {head}") from None
    if reply.error:
        raise Passing(f"the server says: {short(str(reply.error))}")
    if not reply.choices:
        raise Passing("the reply holds no answer")
    answer = reply.choices[0]
    if answer.message.refusal or answer.finish_reason == "content_filter":
        said = answer.message.refusal or "content filter"
        raise Refused(f"the server refused to answer: {short(said)}")
    if answer.finish_reason not in _ENDS:
        raise Passing(f"the answer ended for an unknown reason: {short(str(answer.finish_reason))}")
    if answer.message.content is None and _ENDS[answer.finish_reason] != "length":
        raise Passing("the answer has no text")
    return reply


def completion(reply: Reply, request: Request, sent: Mapping[str, Any], model: str) -> Completion:
    """A reply that `read` has passed, as a completion; `sent` is the body it answers."""
    answer = reply.choices[0]
    notes = {"form": "schema" if "response_format" in sent else "free"}
    if "structured_outputs" in sent and request.choice is not None:
        # A server that does not know the field passes over it without a word.
        kept = fills(request.choice, answer.message.content or "")
        notes["form"] = "slot" if kept else "free (the slot was passed over)"
    logprobs = None
    if request.choice is not None:
        logprobs, note = _scores(answer.logprobs, request, sent)
        if note:
            notes["option_logprobs"] = note
    if reply.model and reply.model != model:
        notes["model"] = short(reply.model)
    return Completion(
        text=answer.message.content or "",
        finish_reason="length" if _ENDS[answer.finish_reason] == "length" else "stop",
        option_logprobs=logprobs,
        prompt_tokens=_count(reply.usage, "prompt_tokens"),
        new_tokens=_count(reply.usage, "completion_tokens"),
        notes=notes,
    )


def _scores(
    raw: Any, request: Request, sent: Mapping[str, Any]
) -> tuple[dict[str, float] | None, str]:
    if request.choice is None or "logprobs" not in sent:
        return None, "none: the server takes no logprobs"
    try:
        tokens = _Logprobs.model_validate(raw).content
    except ValidationError:
        return None, "none: the server sent none"
    steps = [
        Step(t.raw, t.logprob, tuple((o.raw, o.logprob) for o in t.top_logprobs)) for t in tokens
    ]
    schema = None if "structured_outputs" in sent else request.json_schema
    return option_logprobs(steps, request.choice, schema)


def _count(usage: Any, name: str) -> int:
    value = usage.get(name) if isinstance(usage, dict) else None
    return value if isinstance(value, int) and value >= 0 else 0


def _unbounded(schema: Any, *, names: bool = False) -> Any:
    """A schema without what strict servers refuse; `names`: the keys name properties."""
    if isinstance(schema, list):
        return [_unbounded(s) for s in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: _unbounded(value, names=key in ("properties", "$defs") and not names)
        for key, value in schema.items()
        if names or key not in _BOUNDS
    }
