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
_OUT = re.compile(r"\n?<image>\Z|<image>\n?")


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


class _Raw(BaseModel):
    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, JsonValue]

    id: str | int | None = None
    messages: list[_Turn] | None = None
    conversations: list[_Turn] | None = None
    image: JsonValue = None
    images: JsonValue = None
    gen_msa: str | None = None


class Turns(BaseModel):
    """A chat in plain words."""

    id: str
    turns: list[tuple[str, str]]
    """Role (`system`, `user`, `assistant`, or the file's own word) and text."""
    images: list[str]
    own: str | None
    """What the house wrote beside the chat, as JSON."""
    rest: dict[str, JsonValue]
    """Every other key of the record that says something."""


def turns_of(raw: bytes) -> Turns:
    """A record as turns.

    Raises `ValueError` (pydantic's `ValidationError` is one) when it has no turns, or when its
    placeholders and pictures do not match.
    """
    record = _Raw.model_validate_json(raw)
    given = record.messages if record.messages is not None else record.conversations
    if given is None:
        raise ValueError("the record has neither messages nor conversations")
    beside = _paths(record.image) + _paths(record.images)
    turns: list[tuple[str, str]] = []
    inside: list[str] = []
    places = 0
    for turn in given:
        text, count, paths = _plain(turn)
        role = turn.role or turn.sender
        turns.append((_ROLES.get(role, role), text))
        places += count
        inside += paths
    images = beside + inside
    if places and places != len(images):
        raise ValueError(f"{places} places for pictures, but {len(images)} pictures")
    rest = {k: v for k, v in record.__pydantic_extra__.items() if v is not None}
    post_id = "" if record.id is None else str(record.id)
    return Turns(id=post_id, turns=turns, images=images, own=record.gen_msa, rest=rest)


def _plain(turn: _Turn) -> tuple[str, int, list[str]]:
    """A turn's text, the places for pictures in it, and the pictures it names itself."""
    content = turn.content if turn.content is not None else turn.value
    if content is None:
        raise ValueError("a turn without content")
    if isinstance(content, str):
        return _OUT.sub("", content), content.count(PLACEHOLDER), []
    pictures = [p for p in content if p.type.startswith("image")]
    paths = [path for p in pictures for path in _paths(p.image) + _paths(p.path)]
    return "\n".join(p.text or "" for p in content if p.type == "text"), len(pictures), paths


def _paths(value: Any) -> list[str]:
    """Paths of pictures given as a path, as `{"path": …}`, or as a list of either."""
    if value is None or value == "":
        return []
    if isinstance(value, list):
        return [path for v in value for path in _paths(v)]
    path = value.get("path") if isinstance(value, dict) else value
    if not isinstance(path, str) or not path:
        raise ValueError("a picture that is no path: pictures are read by reference only")
    return [path]
