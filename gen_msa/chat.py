"""What a model is asked and what it answers: chats, requests, completions.

The interface between prompting, which works with text, and backends, which work with tokens.

    Request(chat=Chat(turns=(Turn(role="user", parts=(TextInput(text="Hi"),)),)), max_new_tokens=8)
"""

import functools
import re
from collections.abc import Callable, Collection, Iterable
from typing import Any, Literal

from pydantic import Field, JsonValue

from gen_msa.types import FrozenModel


class TextInput(FrozenModel):
    """Text of a turn. `untrusted` text comes from a post and never becomes control tokens."""

    text: str
    untrusted: bool = False

    def as_text(self) -> str:
        """Return the text itself."""
        return self.text


class ImageInput(FrozenModel):
    """An image that `gen_msa.media` has checked: inside the media root and within limits."""

    path: str
    """Absolute, resolved."""
    sha256: str
    max_pixels: int
    """Width x height after resizing: the image budget."""

    def as_text(self) -> str:
        """Return a placeholder that distinguishes images: `[image SHA12]`."""
        return f"[image {self.sha256[:12]}]"


class Turn(FrozenModel):
    """One turn of a chat."""

    role: Literal["system", "user", "assistant"]
    parts: tuple[TextInput | ImageInput, ...]


class Chat(FrozenModel):
    """Input of a model: turns of text and images; the model writes the next turn."""

    turns: tuple[Turn, ...]

    @property
    def images(self) -> tuple[ImageInput, ...]:
        """Return all images, in order."""
        return tuple(p for t in self.turns for p in t.parts if isinstance(p, ImageInput))

    def as_text(self) -> str:
        """Return the chat for a person to read, with `[image SHA12]` for images."""
        return "\n".join(
            f"[{turn.role}]\n" + "".join(p.as_text() for p in turn.parts) for turn in self.turns
        )


class ChoiceSlot(FrozenModel):
    """A slot in the answer that takes one of a closed set of options, then goes on freely.

    The answer is `prefix + option + suffix + free text`. A backend that can score text fills the
    slot with the most likely option and reports the log-probability of each.
    """

    prefix: str
    options: tuple[str, ...]
    suffix: str


class Request(FrozenModel):
    """One question to a backend; its text is all that a backend sees of the task."""

    chat: Chat
    max_new_tokens: int = Field(gt=0)
    choice: ChoiceSlot | None = None
    json_schema: dict[str, JsonValue] | None = None
    temperature: float = Field(default=0.0, ge=0.0)
    seed: int = 0
    """Seed of sampling at a temperature above 0; greedy decoding ignores it."""
    quote_source: str = ""
    """Text that must contain, verbatim, whatever the answer puts in double quotes.

    "" for no constraint. A backend that enforces it sets `Completion.notes["quotes"]` to
    `verbatim`.
    """


class Completion(FrozenModel):
    """A backend's answer to one `Request`."""

    text: str
    """Full answer including a filled slot's prefix and option; `""` when there is none."""
    finish_reason: Literal["stop", "length", "error"]
    option_logprobs: dict[str, float] | None = None
    """Total log-probability (nats) of each option, when the backend can score them."""
    prompt_tokens: int = Field(default=0, ge=0)
    new_tokens: int = Field(default=0, ge=0)
    error: str = ""
    notes: dict[str, str] = Field(default_factory=dict)
    """What the backend reports: `prefix: not shared (mrope)`, `escaped_control_tokens: 2`, …"""


# Escape control tokens in untrusted text, and convert chats to messages.

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
