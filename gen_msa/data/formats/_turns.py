"""A chat record of any of the usual shapes as turns and pictures.

Understands `messages` (role, content as text or parts) and `conversations` (from, value), with
`images` or `image` beside them. Picture placeholders are counted and taken out of the text: as
many as there are pictures, or none at all. Knows nothing of posts or labels.

    turns_of(b'{"conversations": [{"from": "human", "value": "<image>\\\\nHi"}], "image": "a.jpg"}')
"""

import re
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue

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
    return ParsedChat(id=post_id, turns=turns, images=images, payload=record.gen_msa, extra_keys=extra_keys)


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
