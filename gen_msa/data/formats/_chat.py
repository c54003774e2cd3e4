"""Examples as chats to train on, and chats as examples: the mapping that three formats share.

One record an opinion. The user turn shows the pictures, the post's text and, unless the post is
read as a whole, a last line `Aspect: TERM` (with `(mention 2)` for a later mention of the same
word). The assistant turn is the polarity and, on the next line, the explanation; without a
polarity it is the reader's raw answer or its explanation; with neither there is no such turn. An
aspect about which nothing was said gives a record that ends with the user turn. The field
`gen_msa` holds the whole post and opinion as JSON text, so nothing is lost; a chat edited without
it is `Rejected`, never half read.

A record without that field is foreign: its last user turn is the post's text, the answer to it a
gold opinion with `raw` (`status=unparsed` unless it is exactly a polarity), its other turns go to
`meta["turns"]` and its other keys to `meta`. Knows nothing of how a format writes turns.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from gen_msa.data.formats._common import (
    GOLD_ANNOTATOR,
    NumberedLine,
    image_media,
    parse_polarity,
    reject_row,
    unsupported_field_error,
)
from gen_msa.jsonl import MAX_LINE_BYTES, format_validation_error
from gen_msa.types import Aspect, Example, Opinion, Post, Rejected, Status

# A chat record of any of the usual shapes as turns and pictures.

PLACEHOLDER = "<image>"
PLACEHOLDERS = (PLACEHOLDER, "<video>", "<audio>")
"""What trainers that read text with placeholders take for media, wherever it stands."""

_ROLES = {"human": "user", "gpt": "assistant"}
_PLACEHOLDER_LINE = re.compile(r"\n?<image>\Z|<image>\n?")


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore")

    type: str
    text: str | None = None
    image: JsonValue = None
    path: str | None = None


class _Turn(BaseModel):
    """One turn; `from`/`value` are read as `role`/`content`."""

    model_config = ConfigDict(extra="ignore")

    role: str = Field(validation_alias="role", default="")
    sender: str = Field(validation_alias="from", default="")
    content: str | list[_Part] | None = None
    value: str | None = None


class _ChatRecord(BaseModel):
    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, JsonValue]

    id: str | int | None = None
    messages: list[_Turn] | None = None
    conversations: list[_Turn] | None = None
    image: JsonValue = None
    images: JsonValue = None
    gen_msa: str | None = None


class ParsedChat(BaseModel):
    """A chat in plain words."""

    id: str
    turns: list[tuple[str, str]]
    """Role (`system`, `user`, `assistant`, or the file's own word) and text."""
    images: list[str]
    payload: str | None
    """What the house wrote beside the chat, as JSON."""
    extra_keys: dict[str, JsonValue]
    """Every other key of the record that says something."""


def parse_chat(raw: bytes) -> ParsedChat:
    """A record as turns.

    Raises `ValueError` (pydantic's `ValidationError` is one) when it has no turns, or when its
    placeholders and pictures do not match.
    """
    record = _ChatRecord.model_validate_json(raw)
    raw_turns = record.messages if record.messages is not None else record.conversations
    if raw_turns is None:
        raise ValueError("the record has neither messages nor conversations")
    record_images = _image_paths(record.image) + _image_paths(record.images)
    turns: list[tuple[str, str]] = []
    turn_images: list[str] = []
    n_placeholders = 0
    for turn in raw_turns:
        text, count, paths = _plain_turn(turn)
        role = turn.role or turn.sender
        turns.append((_ROLES.get(role, role), text))
        n_placeholders += count
        turn_images += paths
    images = record_images + turn_images
    if n_placeholders and n_placeholders != len(images):
        raise ValueError(f"{n_placeholders} places for pictures, but {len(images)} pictures")
    extra_keys = {k: v for k, v in record.__pydantic_extra__.items() if v is not None}
    post_id = "" if record.id is None else str(record.id)
    return ParsedChat(
        id=post_id, turns=turns, images=images, payload=record.gen_msa, extra_keys=extra_keys
    )


def _plain_turn(turn: _Turn) -> tuple[str, int, list[str]]:
    """A turn's text, the places for pictures in it, and the pictures it names itself."""
    content = turn.content if turn.content is not None else turn.value
    if content is None:
        raise ValueError("a turn without content")
    if isinstance(content, str):
        return _PLACEHOLDER_LINE.sub("", content), content.count(PLACEHOLDER), []
    image_parts = [p for p in content if p.type.startswith("image")]
    paths = [path for p in image_parts for path in _image_paths(p.image) + _image_paths(p.path)]
    return "\n".join(p.text or "" for p in content if p.type == "text"), len(image_parts), paths


def _image_paths(value: Any) -> list[str]:
    """Paths of pictures given as a path, as `{"path": …}`, or as a list of either."""
    if value is None or value == "":
        return []
    if isinstance(value, list):
        return [path for v in value for path in _image_paths(v)]
    path = value.get("path") if isinstance(value, dict) else value
    if not isinstance(path, str) or not path:
        raise ValueError("a picture that is no path: pictures are read by reference only")
    return [path]


_HINT = "a record needs messages (or conversations) with a user turn, and images as paths"


class OpinionRecord(BaseModel):
    """One opinion of a post, and which of the post's records it stands in."""

    model_config = ConfigDict(extra="forbid")

    post: Post
    opinion: Opinion | None = None
    aspect: Aspect | None = None
    """The aspect asked about, when nothing was said."""
    part: int

    @property
    def question(self) -> str:
        """The text of the user turn, without its pictures."""
        aspect = self.opinion.aspect if self.opinion else self.aspect
        if aspect is None or not aspect.term:
            return self.post.text
        earlier_mentions = self.post.text[: aspect.start or 0].count(aspect.term)
        return f"{self.post.text}\n\nAspect: {aspect.term}" + (
            f" (mention {earlier_mentions + 1})" if earlier_mentions else ""
        )

    @property
    def answer(self) -> str | None:
        """The text of the assistant turn, if there is one."""
        if self.opinion is None:
            return None
        if self.opinion.polarity is None:
            return self.opinion.raw or self.opinion.explanation or None
        explanation = self.opinion.explanation
        return self.opinion.polarity.value + (f"\n{explanation}" if explanation else "")


TurnWriter = Callable[[str, str | None, list[str]], dict[str, Any]]
"""Question, answer and pictures as the turns of a record."""


def dump_records(
    name: str, example: Example, write_turns: TurnWriter, *, placeholders: bool
) -> list[dict[str, Any]]:
    """The records of an example, each with `id` and `gen_msa`.

    Raises `UserError` for media other than pictures and, where pictures are shown by
    `placeholders`, for words that a trainer would take for one.
    """
    post = example.post
    if any(m.kind != "image" for m in post.media):
        raise unsupported_field_error(name, example, "post.media", "pictures only")
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
    """Records as examples; those of one post are joined, whatever became of the others."""
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
        raise ValueError("the chat and its field gen_msa differ: drop the field to read the chat")
    if chat.extra_keys:
        raise ValueError(
            f"{next(iter(chat.extra_keys))!r} stands beside gen_msa: drop one of the two"
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
        raise ValueError("the record has a key `turns` of its own")
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
