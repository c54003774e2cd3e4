"""A chat as the list of messages that OpenAI-shaped doors take.

Knows no server and no tokenizer. Words of a post are neutralised here; texts that stand side by
side become one, because some chat templates put a line break between two.

    messages(chat, lambda p: {"type": "image_url", "image_url": {"url": "data:…"}})
"""

from collections.abc import Callable, Collection
from typing import Any

from gen_msa.backends.neutral import joined, neutralise
from gen_msa.chat import Chat, Picture, Text, Turn

PicturePart = Callable[[Picture], dict[str, Any]]


def messages(
    chat: Chat, show: PicturePart, control: Collection[str] = ()
) -> tuple[list[dict[str, Any]], int]:
    """The messages, and how many control strings were broken up in words of a post.

    `show` makes the part that stands for a picture; `control` holds a tokenizer's own strings.
    """
    out: list[dict[str, Any]] = []
    broken = 0
    for turn in chat.turns:
        content, count = _content(turn, show, control)
        broken += count
        out.append({"role": turn.role, "content": content})
    return out, broken


def _content(
    turn: Turn, show: PicturePart, control: Collection[str]
) -> tuple[str | list[dict[str, Any]], int]:
    parts: list[dict[str, Any]] = []
    broken = 0
    for part in joined(turn.parts):
        if isinstance(part, Picture):
            parts.append(show(part))
            continue
        text, count = _safe(part, control)
        broken += count
        if parts and parts[-1]["type"] == "text":
            parts[-1]["text"] += text
        else:
            parts.append({"type": "text", "text": text})
    if any(p["type"] != "text" for p in parts):
        return parts, broken
    return "".join(p["text"] for p in parts), broken


def _safe(part: Text, control: Collection[str]) -> tuple[str, int]:
    return neutralise(part.text, control) if part.untrusted else (part.text, 0)
