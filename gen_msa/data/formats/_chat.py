"""Convert examples to chats for training, and back: the mapping that three formats share.

One record per opinion. The user turn has the images, the text of the post and, unless the post is
judged as a whole, a last line `Aspect: TERM` (with `(mention 2)` for a later mention of the same
term). The assistant turn is the polarity and, on the next line, the explanation; without a
polarity it is the raw answer or the explanation; with neither there is no such turn. An aspect
without an opinion gives a record that ends with the user turn. The field `gen_msa` has the complete
post and opinion as JSON text, so nothing is lost; a chat that was edited without it is `Rejected`.

A record without that field comes from elsewhere: its last user turn is the text of the post, the
answer is a gold opinion with `raw` (`status=unparsed` unless it is exactly a polarity), other turns
go to `meta["turns"]` and other keys to `meta`. Records of prompt and completion, of query and
response (ms-swift), and of instruction, input and output (Alpaca) are read as such turns.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from gen_msa.data.formats._common import (
    GOLD_ANNOTATOR,
    NumberedLine,
    image_media,
    reject_row,
    unsupported_field_error,
)
from gen_msa.data.formats.labels import parse_polarity
from gen_msa.jsonl import MAX_LINE_BYTES, format_validation_error
from gen_msa.types import Aspect, Example, Opinion, Post, Rejected, Status

PLACEHOLDER = "<image>"
PLACEHOLDERS = (PLACEHOLDER, "<video>", "<audio>")
"""Text that trainers with placeholders interpret as media anywhere."""

_ROLES = {"human": "user", "gpt": "assistant"}
_PLACEHOLDER_LINE = re.compile(r"\n?<image>\Z|<image>\n?")


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore")

    type: str
    text: str | None = None
    image: JsonValue = None
    path: str | None = None
    url: str | None = None
    image_url: JsonValue = None
    source: JsonValue = None

    @property
    def images(self) -> list[str]:
        """Paths and URLs of the part, in any of the forms that chat APIs have."""
        values = (self.image, self.path, self.url, self.image_url, self.source)
        return [path for value in values for path in _image_paths(value)]


class _ChatMessage(BaseModel):
    """One turn; `from`/`value` are accepted for `role`/`content`."""

    model_config = ConfigDict(extra="ignore")

    role: str = Field(validation_alias="role", default="")
    sender: str = Field(validation_alias="from", default="")
    content: str | list[_Part] | None = None
    value: str | None = None


class _ChatRecord(BaseModel):
    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, JsonValue]

    id: str | int | None = None
    messages: list[_ChatMessage] | None = None
    conversations: list[_ChatMessage] | None = None
    image: JsonValue = None
    images: JsonValue = None
    gen_msa: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _read_other_layouts(cls, record: Any) -> Any:
        return _with_messages(record) if isinstance(record, dict) else record


_PAIRS = (("prompt", "completion"), ("query", "response"), ("instruction", "output"))
"""Keys of question and answer in records without turns."""


def is_chat(record: dict[str, Any]) -> bool:
    """Return whether a record is a chat, in any layout, and no row with a text of its own."""
    if {"post", "text"} & record.keys():
        return False
    has_turns = any(isinstance(record.get(k), list) for k in ("messages", "conversations"))
    return has_turns or any(question in record and answer in record for question, answer in _PAIRS)


def _with_messages(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record of question and answer as one with `messages`; any other as it is."""
    if {"messages", "conversations"} & record.keys():
        return record
    pair = next((p for p in _PAIRS if p[0] in record), None)
    if pair is None:
        return record
    rest = {k: v for k, v in record.items() if k not in (*pair, "system", "history", "input")}
    turns = _as_turns("system", record.get("system"))
    for earlier in record.get("history") or []:
        if not isinstance(earlier, list) or len(earlier) != 2:
            raise ValueError("history: not pairs of question and answer")
        turns += _as_turns("user", earlier[0]) + _as_turns("assistant", earlier[1])
    if given := record.get("input"):
        turns += _as_turns("instruction", record[pair[0]]) + _as_turns("user", given)
    else:
        turns += _as_turns("user", record[pair[0]])
    return {**rest, "messages": turns + _as_turns("assistant", record.get(pair[1]))}


def _as_turns(role: str, value: Any) -> list[Any]:
    """Return a text as a turn of `role`, and turns as they are."""
    if value is None or value == "":
        return []
    return value if isinstance(value, list) else [{"role": role, "content": value}]


class ParsedChat(BaseModel):
    """A chat as plain text."""

    id: str
    turns: list[tuple[str, str]]
    """Role (`system`, `user`, `assistant`, or another role of the file) and text."""
    images: list[str]
    payload: str | None
    """The field `gen_msa`: post and opinion as JSON text."""
    extra_keys: dict[str, JsonValue]
    """Other keys of the record with a value."""


def parse_chat(raw: bytes) -> ParsedChat:
    """Parse a record.

    Raises:
        ValueError: There are no turns, or placeholders and images do not match.
        ValidationError: The record has another structure.
    """
    record = _ChatRecord.model_validate_json(raw)
    raw_turns = record.messages if record.messages is not None else record.conversations
    if raw_turns is None:
        raise ValueError("the record has neither messages nor conversations nor prompt")
    record_images = _image_paths(record.image) + _image_paths(record.images)
    turns: list[tuple[str, str]] = []
    turn_images: list[str] = []
    counts: list[int] = []
    for turn in raw_turns:
        text, count, paths = _plain_turn(turn)
        role = turn.role or turn.sender
        turns.append((_ROLES.get(role, role), text))
        counts.append(count)
        turn_images += paths
    images = list(dict.fromkeys(record_images + turn_images)) if turn_images else record_images
    is_repeated = not turn_images and set(counts) <= {0, len(images)}
    if any(counts) and sum(counts) != len(record_images + turn_images) and not is_repeated:
        raise ValueError(f"{sum(counts)} image placeholders, but {len(images)} images")
    extra_keys = {k: v for k, v in record.__pydantic_extra__.items() if v is not None}
    post_id = "" if record.id is None else str(record.id)
    return ParsedChat(
        id=post_id, turns=turns, images=images, payload=record.gen_msa, extra_keys=extra_keys
    )


def _plain_turn(turn: _ChatMessage) -> tuple[str, int, list[str]]:
    """Return a turn's text, the number of image placeholders in it, and its own image paths."""
    content = turn.content if turn.content is not None else turn.value
    if content is None:
        raise ValueError("a turn has no content")
    if isinstance(content, str):
        return _PLACEHOLDER_LINE.sub("", content), content.count(PLACEHOLDER), []
    other = next((p.type for p in content if not _is_text(p) and not _is_image(p)), None)
    if other is not None:
        raise ValueError(f"a part of type {other!r} is not read: text and images only")
    paths = [path for p in content if _is_image(p) for path in p.images]
    text = "\n".join(p.text or "" for p in content if _is_text(p))
    return text, sum(map(_is_image, content)), paths


def _is_text(part: _Part) -> bool:
    return part.type in ("text", "input_text", "output_text")


def _is_image(part: _Part) -> bool:
    return part.type.removeprefix("input_").startswith("image")


def _image_paths(value: Any) -> list[str]:
    """Return the image paths of a path, a `{"path": …}` or `{"url": …}`, or a list of either.

    Bytes as base64 (`{"data": …, "media_type": …}`) become a `data:` URL.
    """
    if value is None or value == "":
        return []
    if isinstance(value, list):
        return [path for v in value for path in _image_paths(v)]
    path = value
    if isinstance(value, dict):
        path = value.get("path") or value.get("url")
        if isinstance(value.get("data"), str):
            path = f"data:{value.get('media_type') or 'image/jpeg'};base64,{value['data']}"
    if not isinstance(path, str) or not path:
        raise ValueError("an image is not a path: images are read by path or URL only")
    return [path]


_HINT = "a record needs messages (or prompt and completion) with a user turn, and images as paths"


class OpinionRecord(BaseModel):
    """One opinion of a post, and its number among the records of the post."""

    model_config = ConfigDict(extra="forbid")

    post: Post
    opinion: Opinion | None = None
    aspect: Aspect | None = None
    """The aspect of a record without an opinion."""
    part: int

    @property
    def question(self) -> str:
        """The text of the user turn, without its images."""
        aspect = self.opinion.aspect if self.opinion else self.aspect
        if aspect is None or not aspect.term:
            return self.post.text
        earlier_mentions = self.post.text[: aspect.start or 0].count(aspect.term)
        return f"{self.post.text}\n\nAspect: {aspect.term}" + (
            f" (mention {earlier_mentions + 1})" if earlier_mentions else ""
        )

    @property
    def answer(self) -> str | None:
        """The text of the assistant turn; None if there is none."""
        if self.opinion is None:
            return None
        if self.opinion.polarity is None:
            return self.opinion.raw or self.opinion.explanation or None
        explanation = self.opinion.explanation
        return self.opinion.polarity.value + (f"\n{explanation}" if explanation else "")


TurnWriter = Callable[[str, str | None, list[str]], dict[str, Any]]
"""Returns the turns of a record from question, answer and image paths."""


def dump_records(
    name: str, example: Example, write_turns: TurnWriter, *, placeholders: bool
) -> list[dict[str, Any]]:
    """Return the records of an example, each with `id` and `gen_msa`.

    Args:
        name: The format.
        example: The example.
        write_turns: Returns the turns of a record from question, answer and image paths.
        placeholders: Whether images are placeholders in the text.

    Raises:
        UserError: The post has other media than images, or its text contains a placeholder.
    """
    post = example.post
    if any(m.kind != "image" for m in post.media):
        raise unsupported_field_error(name, example, "post.media", "images only")
    opinion_records = [
        OpinionRecord(post=post, opinion=o, part=i) for i, o in enumerate(example.opinions)
    ]
    covered_aspects = {o.aspect for o in example.opinions}
    uncovered_aspects: list[Aspect | None] = [a for a in post.aspects if a not in covered_aspects]
    if not opinion_records and not uncovered_aspects:
        uncovered_aspects = [None]
    opinion_records += [
        OpinionRecord(post=post, aspect=a, part=len(opinion_records) + i)
        for i, a in enumerate(uncovered_aspects)
    ]
    records = []
    for opinion_record in opinion_records:
        if placeholders:
            _refuse_placeholders(name, example, opinion_record)
        turns = write_turns(
            opinion_record.question, opinion_record.answer, [m.path for m in post.media]
        )
        record_id = post.id if len(opinion_records) == 1 else f"{post.id}#{opinion_record.part + 1}"
        records.append({"id": record_id, **turns, "gen_msa": opinion_record.model_dump_json()})
    return records


def _refuse_placeholders(name: str, example: Example, opinion_record: OpinionRecord) -> None:
    for placeholder in PLACEHOLDERS:
        if placeholder in opinion_record.question:
            raise unsupported_field_error(
                name, example, "post.text", f"{placeholder} would be read as media"
            )
        if placeholder in (opinion_record.answer or ""):
            raise unsupported_field_error(
                name, example, "opinions", f"{placeholder} would be read as media"
            )


def parse_chat_records(
    path: Path, items: Iterable[NumberedLine | Rejected]
) -> Iterator[Example | Rejected]:
    """Yield records as examples; the records of one post are joined, even if some were rejected.

    Args:
        path: The file, for ids and messages.
        items: Numbered records.
    """
    pending: list[OpinionRecord] = []
    for item in items:
        row = item if isinstance(item, Rejected) else _parse_record(path, *item)
        if (
            isinstance(row, OpinionRecord)
            and pending
            and row.part > pending[-1].part
            and row.post == pending[0].post
        ):
            pending.append(row)
            continue
        if not isinstance(row, Rejected) and pending:
            yield _join_records(pending)
            pending = []
        if isinstance(row, OpinionRecord):
            pending = [row]
        else:
            yield row
    if pending:
        yield _join_records(pending)


def _join_records(opinion_records: list[OpinionRecord]) -> Example:
    return Example(
        post=opinion_records[0].post,
        opinions=tuple(p.opinion for p in opinion_records if p.opinion),
    )


def _parse_record(path: Path, number: int, raw: bytes) -> OpinionRecord | Example | Rejected:
    try:
        if len(raw) > MAX_LINE_BYTES:
            raise ValueError(f"record of {len(raw)} bytes is over the limit of {MAX_LINE_BYTES}")
        chat = parse_chat(raw)
        return (
            _foreign_example(chat, f"{path.stem}-{number}")
            if chat.payload is None
            else _native_record(chat, chat.payload)
        )
    except ValueError as e:
        reason = format_validation_error(e) if isinstance(e, ValidationError) else str(e)
        return reject_row(path, number, reason, raw, _HINT)


def _native_record(chat: ParsedChat, text: str) -> OpinionRecord:
    opinion_record = OpinionRecord.model_validate_json(text)
    expected_turns = [("user", opinion_record.question)]
    if opinion_record.answer is not None:
        expected_turns.append(("assistant", opinion_record.answer))
    if chat.turns != expected_turns or chat.images != [m.path for m in opinion_record.post.media]:
        raise ValueError("the chat and its field gen_msa differ: remove the field to read the chat")
    if chat.extra_keys:
        raise ValueError(
            f"the record has both {next(iter(chat.extra_keys))!r} and gen_msa: remove one of them"
        )
    return opinion_record


def _foreign_example(chat: ParsedChat, default_id: str) -> Example:
    user_turns = [i for i, (role, _) in enumerate(chat.turns) if role == "user"]
    if not user_turns:
        raise ValueError("there is no user turn")
    last_user_turn = user_turns[-1]
    answers = chat.turns[last_user_turn + 1 : last_user_turn + 2]
    answer = answers[0][1] if answers and answers[0][0] == "assistant" else None
    used_turns = (last_user_turn,) if answer is None else (last_user_turn, last_user_turn + 1)
    other_turns = [t for i, t in enumerate(chat.turns) if i not in used_turns]
    turns: list[JsonValue] = [{"role": role, "text": text} for role, text in other_turns]
    if turns and "turns" in chat.extra_keys:
        raise ValueError("the record already has a key `turns`")
    post = Post(
        id=chat.id or default_id,
        text=chat.turns[last_user_turn][1],
        media=image_media(chat.images),
        meta={**chat.extra_keys, **({"turns": turns} if turns else {})},
    )
    return Example(post=post, opinions=() if answer is None else (_opinion_from_answer(answer),))


def _opinion_from_answer(answer: str) -> Opinion:
    polarity = parse_polarity(answer.strip().removesuffix("."))
    status = Status.UNPARSED if polarity is None else Status.OK
    return Opinion(annotator=GOLD_ANNOTATOR, polarity=polarity, raw=answer, status=status)
