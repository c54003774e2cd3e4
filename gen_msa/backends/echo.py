"""The fake backend that ships: answers at once, from the chat's own text or from a script.

Its labels come from a hash, so they mean nothing, and its revision says `echo`. The same chat
always
gets the same answer; another image (by its SHA-256) or another seed changes it, and above
temperature 0 so does `Request.seed`. A "token" is a run of text between blanks; an image counts as
one.

    gen-msa explain posts.jsonl --model echo              # or echo:SEED
    gen-msa explain posts.jsonl --model echo backend.script=answers.jsonl

A script is JSON lines; the first whose `match` (substring) or `regex` occurs in the chat answers,
and a chat that none matches is answered as without a script. The chat is searched as its texts with
`[image SHA12]` for an image and a line break between turns:

    {"match": "battery", "text": "negative, it died", "finish_reason": "length"}
    {"regex": "(?i)screen|display", "error": "server on fire"}
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self, cast

from pydantic import field_validator, model_validator

from gen_msa import jsonl
from gen_msa.backends.base import BackendOptions, TokenCount, backends, warn_ignored
from gen_msa.chat import Chat, ChoiceSlot, Completion, Request, TextInput
from gen_msa.errors import UserError, user_errors
from gen_msa.types import FrozenModel, Rejected

_MAX_TEXT_CHARS = 2000
"""Characters of the text that are searched, so that a post of 100 kB costs no more."""
_NAME_PATTERN = re.compile(r"[#@]\w{2,}|\b[^\W\d_a-z]\w+")
_LONG_WORD = re.compile(r"\w{5,}")
_QUOTE_PATTERN = re.compile(r"\S+(?:\s+\S+){0,4}")
_MAX_DEPTH = 6
"""Levels of nesting; a recursive schema ends there."""


def extract_names(text: str, max_names: int = 3) -> list[str]:
    """Extract the first capitalised words and hashtags of a text, without repeats.

    Short words such as "The" are skipped unless all capitals; in scripts without case every word
    counts. Where there is none, the first word of five letters is taken.

    Args:
        text: Text to search; only its first 2,000 characters count.
        max_names: Largest number of names.

    Returns:
        The names, verbatim.
    """
    names: dict[str, None] = {}
    for match in _NAME_PATTERN.finditer(text[:_MAX_TEXT_CHARS]):
        word = match.group()
        if len(word) > 3 or not word.isascii() or word.isupper():
            names.setdefault(word)
        if len(names) == max_names:
            break
    if not names and (long_match := _LONG_WORD.search(text[:_MAX_TEXT_CHARS])):
        names.setdefault(long_match.group())
    return list(names)[:max_names]


def pick_quote(text: str, position: int) -> str:
    """Pick up to five consecutive words of a text.

    Args:
        text: Text to quote.
        position: Any integer ≥ 0; decides where the quote starts.

    Returns:
        The words, verbatim; "" when there are none.
    """
    excerpt = text[:_MAX_TEXT_CHARS].strip()
    if not excerpt:
        return ""
    start = position % len(excerpt)
    start = max(excerpt.rfind(" ", 0, start + 1) + 1, 0)
    match = _QUOTE_PATTERN.search(excerpt, start)
    return match.group() if match else ""


def quote_sentence(text: str, position: int) -> str:
    """Write a sentence that quotes a text.

    Args:
        text: Text to quote.
        position: Any integer ≥ 0; decides where the quote starts.

    Returns:
        The sentence.
    """
    quote = pick_quote(text, position)
    return f'The post says "{quote}".' if quote else "The post says nothing."


class SchemaFiller:
    """Builds a value that fits a JSON schema from the words of a text.

    Every choice is drawn from `digest` (at least one byte).
    """

    def __init__(self, schema: Mapping[str, Any], text: str, digest: bytes) -> None:
        self._root = schema
        self._text = text
        self._digest = digest
        self._n_picks = 0

    def build(self) -> Any:
        """Build the value: its objects have every property, its arrays hold names of the text."""
        return self._fill(self._root, "", 0)

    def _next_pick(self) -> int:
        self._n_picks += 1
        return self._digest[self._n_picks % len(self._digest)] + self._n_picks

    def _fill(self, schema: Mapping[str, Any], item_name: str, depth: int) -> Any:
        schema = self._resolve_schema(schema)
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return schema["enum"][self._next_pick() % len(schema["enum"])]
        kind = schema.get("type", "object" if "properties" in schema else "string")
        kind = kind[0] if isinstance(kind, list) else kind
        if kind == "object":
            return self._object(schema, item_name, depth)
        if kind == "array":
            return self._array(schema, depth)
        if kind in ("integer", "number"):
            return self._number(schema, is_integer=kind == "integer")
        if kind == "string":
            return self._string(schema, item_name)
        return True if kind == "boolean" else None

    def _resolve_schema(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        for _ in range(_MAX_DEPTH):
            alternatives = schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf")
            if "$ref" in schema:
                schema = self._resolve_ref(str(schema["$ref"]))
            elif alternatives:
                schema = next((s for s in alternatives if s.get("type") != "null"), alternatives[0])
            else:
                break
        return schema

    def _resolve_ref(self, ref: str) -> Mapping[str, Any]:
        node: Any = self._root
        for key in ref.removeprefix("#/").split("/"):
            if not isinstance(node, Mapping) or key not in node:
                raise UserError(f"the schema has no {ref!r}", hint="define it below $defs")
            node = node[key]
        return cast("Mapping[str, Any]", node)

    def _object(self, schema: Mapping[str, Any], item_name: str, depth: int) -> dict[str, Any]:
        """Fill an object: its first free string takes the item's name, others quote the text."""
        result: dict[str, Any] = {}
        properties = schema.get("properties", {}) if depth < _MAX_DEPTH else {}
        for name, inner in properties.items():
            result[name] = value = self._fill(inner, item_name, depth + 1)
            if item_name and value == item_name:
                item_name = ""
        return result

    def _array(self, schema: Mapping[str, Any], depth: int) -> list[Any]:
        min_items = schema.get("minItems", 0)
        if depth >= _MAX_DEPTH:
            return []
        names = extract_names(self._text)[: schema.get("maxItems", 3)]
        names += [pick_quote(self._text, self._next_pick()) for _ in range(min_items - len(names))]
        items = schema.get("items", {"type": "string"})
        return [self._fill(items, item_name, depth + 1) for item_name in names]

    def _string(self, schema: Mapping[str, Any], item_name: str) -> str:
        text = item_name or quote_sentence(self._text, self._next_pick())
        text = text[: schema.get("maxLength", len(text))]
        return text.ljust(schema.get("minLength", 0), ".")

    def _number(self, schema: Mapping[str, Any], *, is_integer: bool) -> float:
        low = schema.get("minimum", schema.get("exclusiveMinimum", 0 if is_integer else 0.0))
        high = schema.get("maximum", schema.get("exclusiveMaximum", low + 2))
        middle = (low + high) / 2
        return round(middle) if is_integer else float(middle)


_SUPPORTED_OPTIONS = {"script", "batch_size"}
_JSON_ENCODER = json.JSONEncoder(ensure_ascii=False)


class ScriptedAnswer(FrozenModel):
    """A scripted answer. With neither `match` nor `regex` it answers every chat."""

    match: str = ""
    regex: str = ""
    text: str = ""
    finish_reason: Literal["stop", "length"] = "stop"
    error: str = ""
    """If not empty, the completion is this error and has no text."""
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
        """Return whether this line answers `chat`."""
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
        """Complete each request, in order."""
        return [self._complete_safely(request) for request in requests]

    def count_tokens(self, chat: Chat) -> TokenCount:
        """Count runs of text between blanks, and one for each image."""
        return TokenCount(_count_tokens(_flatten_chat(chat)), len(chat.images))

    def _complete_safely(self, request: Request) -> Completion:
        try:
            return self._complete_one(request)
        except UserError as e:  # a schema with a dangling $ref
            return Completion(text="", finish_reason="error", error=str(e), notes={"form": "free"})

    def _complete_one(self, request: Request) -> Completion:
        chat_text = _flatten_chat(request.chat)
        for scripted in self._script:
            if scripted.matches(chat_text):
                return _scripted_completion(scripted, chat_text)
        seed_suffix = f"\0{request.seed}" if request.temperature > 0 else ""
        # "picture" is part of the hash input: another word would change every answer.
        hash_text = _flatten_chat(request.chat, image_word="picture") + seed_suffix
        hash_input = self._seed + b"\0" + hash_text.encode()
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
    """Load the script's lines and the first 12 digits of its SHA-256; nothing for no script."""
    if not path:
        return [], ""
    script: list[ScriptedAnswer] = []
    with user_errors(f"the script {path}", hint="backend.script names a JSONL file"):
        for row in jsonl.read(Path(path), ScriptedAnswer):
            if isinstance(row, Rejected):
                raise UserError(f"{row.file}:{row.line}: {row.reason}", hint=row.hint)
            script.append(row)
        return script, hashlib.sha256(Path(path).read_bytes()).hexdigest()[:12]


def _flatten_chat(chat: Chat, image_word: str = "image") -> str:
    return "\n".join(
        "".join(
            p.text if isinstance(p, TextInput) else f"[{image_word} {p.sha256[:12]}]"
            for p in turn.parts
        )
        for turn in chat.turns
    )


def _post_text(chat: Chat) -> str:
    """Return the text that is quoted: the first untrusted one, else the last of the chat."""
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
    # Without a suffix the answer is the label alone.
    sentence = (
        f"{choice.suffix} {quote_sentence(post_text, _quote_position(digest))}"
        if choice.suffix
        else ""
    )
    return f"{choice.prefix}{best}{sentence}", logprobs


def _quote_position(digest: bytes) -> int:
    return int.from_bytes(digest[-2:], "big")


def _truncate(text: str, tokens: int) -> tuple[str, bool]:
    """Cut `text` after `tokens` runs; also return whether anything was cut."""
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
