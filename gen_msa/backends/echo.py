"""The fake that ships: answers at once, from the chat's own words, or from a script.

Its labels come from a hash: it understands nothing, and its revision says `echo`. The same chat
always gets the same answer, and another picture (by its sha256) or seed another one; above
temperature 0 another `Request.seed` does, too. A "token" of it is a stretch of text between blanks;
a picture counts as one.

    gen-msa explain posts.jsonl --reader echo              # or echo:SEED
    gen-msa explain posts.jsonl --reader echo backend.script=answers.jsonl

A script is JSON lines; the first whose `match` (substring) or `regex` is found in the chat answers,
and a chat that none matches is answered as without a script. A chat is seen as its texts with
`[picture SHA12]` for a picture, a line break between turns:

    {"match": "battery", "text": "negative, it died", "finish_reason": "length"}
    {"regex": "(?i)screen|display", "error": "server on fire"}
"""

import hashlib
import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Self

from pydantic import field_validator, model_validator

from gen_msa import jsonl
from gen_msa.backends._filling import SchemaFiller, quote_sentence
from gen_msa.backends._options import warn_ignored
from gen_msa.backends.base import BackendOptions, TokenCount, backends
from gen_msa.chat import Chat, ChoiceSlot, Completion, Request, TextInput
from gen_msa.errors import UserError
from gen_msa.types import FrozenModel, Rejected

_SUPPORTED_OPTIONS = {"script", "batch_size"}
_JSON_ENCODER = json.JSONEncoder(ensure_ascii=False)


class ScriptedAnswer(FrozenModel):
    """One scripted answer. With neither `match` nor `regex` it answers every chat."""

    match: str = ""
    regex: str = ""
    text: str = ""
    finish_reason: Literal["stop", "length"] = "stop"
    error: str = ""
    """Not empty: the completion is this error, and has no text."""
    option_logprobs: dict[str, float] | None = None
    form: Literal["slot", "schema", "free"] = "free"

    @field_validator("regex")
    @classmethod
    def _check_regex(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as e:
            raise ValueError(f"not a regular expression: {e}") from None
        return pattern

    @model_validator(mode="after")
    def _check_single_condition(self) -> Self:
        if self.match and self.regex:
            raise ValueError("give match or regex, not both")
        return self

    def matches(self, chat: str) -> bool:
        """Whether this line is for `chat`."""
        return re.search(self.regex, chat) is not None if self.regex else self.match in chat


@backends.register
class EchoBackend:
    """A backend without a model."""

    supports_images = True
    can_list_aspects = True
    samples = True

    def __init__(self, target: str, options: BackendOptions) -> None:
        warn_ignored("echo", options, _SUPPORTED_OPTIONS)
        self._seed = target.encode()
        self._script, digest = _load_script(options.script)
        self.revision = f"echo-1:{target}" + (f":script-{digest}" if digest else "")

    def complete(self, requests: Sequence[Request]) -> list[Completion]:
        """One completion for each request, in order."""
        return [self._complete_safely(request) for request in requests]

    def count_tokens(self, chat: Chat) -> TokenCount:
        """Stretches between blanks, and one for a picture."""
        return TokenCount(_count_tokens(_flatten_chat(chat)), len(chat.images))

    def _complete_safely(self, request: Request) -> Completion:
        try:
            return self._complete_one(request)
        except UserError as e:  # a schema that names what it does not hold
            return Completion(text="", finish_reason="error", error=str(e), notes={"form": "free"})

    def _complete_one(self, request: Request) -> Completion:
        chat_text = _flatten_chat(request.chat)
        for scripted in self._script:
            if scripted.matches(chat_text):
                return _scripted_completion(scripted, chat_text)
        seed_suffix = f"\0{request.seed}" if request.temperature > 0 else ""
        hash_input = self._seed + b"\0" + f"{chat_text}{seed_suffix}".encode()
        digest = hashlib.blake2b(hash_input, digest_size=16).digest()
        post_text = _post_text(request.chat)
        logprobs = None
        if request.choice is not None and request.choice.options:
            form, (text, logprobs) = "slot", _fill_slot(request.choice, post_text, digest)
        elif request.json_schema is not None:
            value = SchemaFiller(request.json_schema, post_text, digest).build()
            form, text = "schema", _JSON_ENCODER.encode(value)
        else:
            form, text = "free", quote_sentence(post_text, _quote_position(digest))
        text, is_cut = _truncate(text, request.max_new_tokens)
        return Completion(
            text=text,
            finish_reason="length" if is_cut else "stop",
            option_logprobs=logprobs,
            prompt_tokens=_count_tokens(chat_text),
            new_tokens=_count_tokens(text),
            notes={"form": form, "script": "no match"} if self._script else {"form": form},
        )


def _load_script(path: str) -> tuple[list[ScriptedAnswer], str]:
    """The script's lines and the first 12 digits of its sha256; nothing for no script."""
    if not path:
        return [], ""
    script: list[ScriptedAnswer] = []
    try:
        for row in jsonl.read(Path(path), ScriptedAnswer):
            if isinstance(row, Rejected):
                raise UserError(f"{row.file}:{row.line}: {row.reason}", hint=row.hint)
            script.append(row)
        return script, hashlib.sha256(Path(path).read_bytes()).hexdigest()[:12]
    except OSError as e:
        raise UserError(f"the script cannot be read: {e}", hint="see backend.script") from None


def _flatten_chat(chat: Chat) -> str:
    return "\n".join(
        "".join(p.text if isinstance(p, TextInput) else f"[picture {p.sha256[:12]}]" for p in turn.parts)
        for turn in chat.turns
    )


def _post_text(chat: Chat) -> str:
    """The words a quote is taken from: the first untrusted ones, else the chat's last ones."""
    last_text = ""
    for turn in chat.turns:
        for part in turn.parts:
            if isinstance(part, TextInput) and part.text.strip():
                if part.untrusted:
                    return part.text
                last_text = part.text
    return last_text


def _fill_slot(choice: ChoiceSlot, post_text: str, digest: bytes) -> tuple[str, dict[str, float]]:
    weights = [1 + digest[i % len(digest)] ** 2 for i in range(len(choice.options))]
    best = choice.options[weights.index(max(weights))]
    total = math.log(sum(weights))
    logprobs = {o: math.log(w) - total for o, w in zip(choice.options, weights, strict=True)}
    # Without a `then` the answer is the label alone.
    sentence = f"{choice.suffix} {quote_sentence(post_text, _quote_position(digest))}" if choice.suffix else ""
    return f"{choice.prefix}{best}{sentence}", logprobs


def _quote_position(digest: bytes) -> int:
    return int.from_bytes(digest[-2:], "big")


def _truncate(text: str, tokens: int) -> tuple[str, bool]:
    """`text` cut after `tokens` stretches, and whether anything was cut."""
    if _count_tokens(text) <= tokens:
        return text, False
    return " ".join(text.split(" ")[:tokens]), True


def _count_tokens(text: str) -> int:
    return text.count(" ") + 1 if text else 0


def _scripted_completion(scripted: ScriptedAnswer, chat_text: str) -> Completion:
    return Completion(
        text="" if scripted.error else scripted.text,
        finish_reason="error" if scripted.error else scripted.finish_reason,
        option_logprobs=scripted.option_logprobs,
        prompt_tokens=_count_tokens(chat_text),
        new_tokens=0 if scripted.error else _count_tokens(scripted.text),
        error=scripted.error,
        notes={"form": scripted.form},
    )
