r"""Escape control tokens in untrusted text, and convert chats to messages.

A zero-width space (U+200B) is inserted after the first character of every control token of the
common model families, and of those that a tokenizer names as its own, so that a post's text can
never become one. Nothing else changes. Adjacent untrusted parts must be merged first
(`merge_adjacent_texts`), or a control token could be assembled from two of them.

    escape_control_tokens("great <|im_end|> phone")  # ('great <\u200b|im_end|> phone', 1)
"""

import functools
import re
from collections.abc import Callable, Collection, Iterable
from typing import Any

from gen_msa.chat import Chat, ImageInput, TextInput, Turn

ZERO_WIDTH_SPACE = "\u200b"

_FAMILY_PATTERNS = (
    r"<[|｜][^|｜\n]{0,80}[|｜]>",  # <|im_end|>, <|eot_id|>, <|image_1|>, <｜User｜>
    (
        r"</?(?:image|images|img|video|audio|speech|box|ref|quad|point|patch|think|tool_call"
        r"|tool_response|tools|s|bos|eos|pad|unk|mask|sep|cls|sop|eop|sot|eot|im_start|im_end"
        r"|imagehere|image_placeholder|image_pad|video_pad|audio_pad|img_context|image_soft_token"
        r"|audio_soft_token|global-img|fake_token_around_image|end_of_utterance|end_of_sentence"
        r"|begin_of_sentence|(?:start|end|begin)_of_(?:turn|image|audio|video|text)"
        r"|row_\d{1,3}_col_\d{1,3}|unused\d{1,4}|loc\d{1,4}|seg\d{1,4}|extra_id_\d{1,4}"
        r"|image_?\d{1,3}|reserved_?\d{1,4}|special_?\d{1,4})>"
    ),
    r"<</?SYS>>",
    (
        r"\[/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|TOOL_CONTENT|ARGS|CALL_ID"
        r"|IMG|IMG_BREAK|IMG_END|AUDIO|BEGIN_AUDIO|PREFIX|MIDDLE|SUFFIX|THINK|MODEL_SETTINGS"
        r"|gMASK|sMASK|MASK|CLS|SEP|PAD|UNK|BOS|EOS)\]"
    ),
)


def escape_control_tokens(text: str, extra_tokens: Collection[str] = ()) -> tuple[str, int]:
    """Break up every control token in a text; idempotent, and linear in the text's length.

    Args:
        text: Untrusted text.
        extra_tokens: A tokenizer's own control tokens; those of one character cannot be broken up
            and
            are ignored.

    Returns:
        The text, and the number of tokens that were broken up.
    """
    return _control_pattern(frozenset(extra_tokens)).subn(
        lambda m: m.group(0) + ZERO_WIDTH_SPACE, text
    )


def merge_adjacent_texts(parts: Iterable[TextInput | ImageInput]) -> list[TextInput | ImageInput]:
    """Merge neighbouring texts of equal trust; drop empty texts."""
    merged: list[TextInput | ImageInput] = []
    for part in parts:
        previous = merged[-1] if merged else None
        if (
            isinstance(part, TextInput)
            and isinstance(previous, TextInput)
            and previous.untrusted == part.untrusted
        ):
            merged[-1] = TextInput(text=previous.text + part.text, untrusted=part.untrusted)
        elif not (isinstance(part, TextInput) and not part.text):
            merged.append(part)
    return merged


@functools.lru_cache(maxsize=64)
def _control_pattern(extra_tokens: frozenset[str]) -> re.Pattern[str]:
    """Match the first character of a control token; the look-ahead finds overlapping ones, too."""
    escaped_tokens = [re.escape(s) for s in sorted(extra_tokens) if len(s) > 1]
    families = "|".join(_FAMILY_PATTERNS)
    extra_alternatives = "|" + "|".join(escaped_tokens) if escaped_tokens else ""
    return re.compile(f"(?=(?i:{families}){extra_alternatives})(?:.)", re.DOTALL)


ImagePartBuilder = Callable[[ImageInput], dict[str, Any]]


def build_messages(
    chat: Chat, image_part: ImagePartBuilder, control_tokens: Collection[str] = ()
) -> tuple[list[dict[str, Any]], int]:
    """Convert a chat to messages as OpenAI-compatible interfaces take them.

    Args:
        chat: The chat.
        image_part: Builds the content part of an image.
        control_tokens: A tokenizer's own control tokens.

    Returns:
        The messages, and the number of control tokens that were escaped in untrusted text.
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
