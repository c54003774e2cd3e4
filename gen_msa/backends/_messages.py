"""A chat as the list of messages that OpenAI-shaped doors take.

Knows no server and no tokenizer. Words of a post are neutralised here; texts that stand side by
side become one, because some chat templates put a line break between two.

    messages(chat, lambda p: {"type": "image_url", "image_url": {"url": "data:…"}})
"""

from collections.abc import Callable, Collection
from typing import Any

from gen_msa.backends.neutral import merge_adjacent_texts, escape_control_tokens
from gen_msa.chat import Chat, ImageInput, TextInput, Turn

ImagePartBuilder = Callable[[ImageInput], dict[str, Any]]


def build_messages(
    chat: Chat, image_part: ImagePartBuilder, control_tokens: Collection[str] = ()
) -> tuple[list[dict[str, Any]], int]:
    """The messages, and how many control strings were broken up in words of a post.

    `show` makes the part that stands for a picture; `control` holds a tokenizer's own strings.
    """
    out: list[dict[str, Any]] = []
    n_escaped = 0
    for turn in chat.turns:
        content, count = _turn_content(turn, image_part, control_tokens)
        n_escaped += count
        out.append({"role": turn.role, "content": content})
    return out, n_escaped


def _turn_content(
    turn: Turn, image_part: ImagePartBuilder, control_tokens: Collection[str]
) -> tuple[str | list[dict[str, Any]], int]:
    parts: list[dict[str, Any]] = []
    n_escaped = 0
    for part in merge_adjacent_texts(turn.parts):
        if isinstance(part, ImageInput):
            parts.append(image_part(part))
            continue
        text, count = _escape_untrusted(part, control_tokens)
        n_escaped += count
        if parts and parts[-1]["type"] == "text":
            parts[-1]["text"] += text
        else:
            parts.append({"type": "text", "text": text})
    if any(p["type"] != "text" for p in parts):
        return parts, n_escaped
    return "".join(p["text"] for p in parts), n_escaped


def _escape_untrusted(part: TextInput, control_tokens: Collection[str]) -> tuple[str, int]:
    return escape_control_tokens(part.text, control_tokens) if part.untrusted else (part.text, 0)
