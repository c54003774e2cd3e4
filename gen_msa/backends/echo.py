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
from gen_msa.backends._filling import Filling, because
from gen_msa.backends._options import say_ignored
from gen_msa.backends.base import BackendOptions, TokenCount, backends
from gen_msa.chat import Chat, Choice, Completion, Request, Text
from gen_msa.errors import UserError
from gen_msa.types import Noun, Rejected

_HONOURED = {"script", "batch_size"}
_JSON = json.JSONEncoder(ensure_ascii=False)


class Line(Noun):
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
    def _compiles(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as e:
            raise ValueError(f"not a regular expression: {e}") from None
        return pattern

    @model_validator(mode="after")
    def _one_condition(self) -> Self:
        if self.match and self.regex:
            raise ValueError("give match or regex, not both")
        return self

    def answers(self, chat: str) -> bool:
        """Whether this line is for `chat`."""
        return re.search(self.regex, chat) is not None if self.regex else self.match in chat


@backends.register
class Echo:
    """A backend without a model."""

    sees_pictures = True
    lists_aspects = True
    samples = True

    def __init__(self, target: str, options: BackendOptions) -> None:
        say_ignored("echo", options, _HONOURED)
        self._seed = target.encode()
        self._script, digest = _load(options.script)
        self.revision = f"echo-1:{target}" + (f":script-{digest}" if digest else "")

    def complete(self, requests: Sequence[Request]) -> list[Completion]:
        """One completion for each request, in order."""
        return [self._safely(request) for request in requests]

    def count_tokens(self, chat: Chat) -> TokenCount:
        """Stretches between blanks, and one for a picture."""
        return TokenCount(_tokens(_flat(chat)), len(chat.pictures))

    def _safely(self, request: Request) -> Completion:
        try:
            return self._one(request)
        except UserError as e:  # a schema that names what it does not hold
            return Completion(text="", finish_reason="error", error=str(e), notes={"form": "free"})

    def _one(self, request: Request) -> Completion:
        flat = _flat(request.chat)
        for line in self._script:
            if line.answers(flat):
                return _scripted(line, flat)
        drawn = f"\0{request.seed}" if request.temperature > 0 else ""
        asked = self._seed + b"\0" + f"{flat}{drawn}".encode()
        digest = hashlib.blake2b(asked, digest_size=16).digest()
        post = _post(request.chat)
        logprobs = None
        if request.choice is not None and request.choice.options:
            form, (text, logprobs) = "slot", _slot(request.choice, post, digest)
        elif request.json_schema is not None:
            value = Filling(request.json_schema, post, digest).value()
            form, text = "schema", _JSON.encode(value)
        else:
            form, text = "free", because(post, _place(digest))
        text, cut = _within(text, request.max_new_tokens)
        return Completion(
            text=text,
            finish_reason="length" if cut else "stop",
            option_logprobs=logprobs,
            prompt_tokens=_tokens(flat),
            new_tokens=_tokens(text),
            notes={"form": form, "script": "no match"} if self._script else {"form": form},
        )


def _load(path: str) -> tuple[list[Line], str]:
    """The script's lines and the first 12 digits of its sha256; nothing for no script."""
    if not path:
        return [], ""
    script: list[Line] = []
    try:
        for row in jsonl.read(Path(path), Line):
            if isinstance(row, Rejected):
                raise UserError(f"{row.file}:{row.line}: {row.reason}", mend=row.mend)
            script.append(row)
        return script, hashlib.sha256(Path(path).read_bytes()).hexdigest()[:12]
    except OSError as e:
        raise UserError(f"the script cannot be read: {e}", mend="see backend.script") from None


def _flat(chat: Chat) -> str:
    return "\n".join(
        "".join(p.text if isinstance(p, Text) else f"[picture {p.sha256[:12]}]" for p in turn.parts)
        for turn in chat.turns
    )


def _post(chat: Chat) -> str:
    """The words a quote is taken from: the first untrusted ones, else the chat's last ones."""
    last = ""
    for turn in chat.turns:
        for part in turn.parts:
            if isinstance(part, Text) and part.text.strip():
                if part.untrusted:
                    return part.text
                last = part.text
    return last


def _slot(choice: Choice, post: str, digest: bytes) -> tuple[str, dict[str, float]]:
    weights = [1 + digest[i % len(digest)] ** 2 for i in range(len(choice.options))]
    best = choice.options[weights.index(max(weights))]
    total = math.log(sum(weights))
    logprobs = {o: math.log(w) - total for o, w in zip(choice.options, weights, strict=True)}
    # Without a `then` the answer is the label alone.
    reason = f"{choice.then} {because(post, _place(digest))}" if choice.then else ""
    return f"{choice.lead}{best}{reason}", logprobs


def _place(digest: bytes) -> int:
    return int.from_bytes(digest[-2:], "big")


def _within(text: str, tokens: int) -> tuple[str, bool]:
    """`text` cut after `tokens` stretches, and whether anything was cut."""
    if _tokens(text) <= tokens:
        return text, False
    return " ".join(text.split(" ")[:tokens]), True


def _tokens(text: str) -> int:
    return text.count(" ") + 1 if text else 0


def _scripted(line: Line, flat: str) -> Completion:
    return Completion(
        text="" if line.error else line.text,
        finish_reason="error" if line.error else line.finish_reason,
        option_logprobs=line.option_logprobs,
        prompt_tokens=_tokens(flat),
        new_tokens=0 if line.error else _tokens(line.text),
        error=line.error,
        notes={"form": line.form},
    )
