"""What a model is asked and what it answers: chats, requests, completions.

The interface between prompting, which works with text, and backends, which work with tokens.

    Request(chat=Chat(turns=(Turn(role="user", parts=(TextInput(text="Hi"),)),)), max_new_tokens=8)
"""

from typing import Literal

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
