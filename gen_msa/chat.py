"""What a model is asked and what it answers: chats, requests, completions.

The line between prompting (which knows words) and backends (which know tokens): neither knows the
other, and nothing here knows of sentiment.

    Request(chat=Chat(turns=(Turn(role="user", parts=(Text(text="Hi"),)),)), max_new_tokens=8)
"""

from typing import Literal

from pydantic import Field, JsonValue

from gen_msa.types import FrozenModel


class TextInput(FrozenModel):
    """Words of a turn. `untrusted` words come from a post and never become control tokens."""

    text: str
    untrusted: bool = False

    def as_text(self) -> str:
        """The words themselves."""
        return self.text


class ImageInput(FrozenModel):
    """A picture admitted by `gen_msa.media`: inside the root, whole, within limits."""

    path: str
    """Absolute, resolved."""
    sha256: str
    max_pixels: int
    """Width x height after resizing; the picture budget."""

    def as_text(self) -> str:
        """A stand-in that tells pictures apart: `[picture SHA12]`."""
        return f"[picture {self.sha256[:12]}]"


class Turn(FrozenModel):
    """One turn of a chat."""

    role: Literal["system", "user", "assistant"]
    parts: tuple[TextInput | ImageInput, ...]


class Chat(FrozenModel):
    """What a model is shown: turns of text and pictures, ending where the model should go on."""

    turns: tuple[Turn, ...]

    @property
    def images(self) -> tuple[ImageInput, ...]:
        """All pictures, in order."""
        return tuple(p for t in self.turns for p in t.parts if isinstance(p, ImageInput))

    def as_text(self) -> str:
        """The chat for a person to read; a picture is `[picture SHA12]`. No model is shown this."""
        return "\n".join(
            f"[{turn.role}]\n" + "".join(p.as_text() for p in turn.parts) for turn in self.turns
        )


class ChoiceSlot(FrozenModel):
    """A slot in the answer that takes one of a closed set of words, then goes on freely.

    The answer reads `lead + option + then + free text`; a backend that can score words fills the
    slot with the likeliest option and reports the log-probability of each.
    """

    prefix: str
    options: tuple[str, ...]
    suffix: str


class Request(FrozenModel):
    """One question to a backend, which knows nothing of sentiment."""

    chat: Chat
    max_new_tokens: int = Field(gt=0)
    choice: ChoiceSlot | None = None
    json_schema: dict[str, JsonValue] | None = None
    temperature: float = Field(default=0.0, ge=0.0)
    seed: int = 0
    """Which answer is drawn where the temperature is above 0; a greedy backend has no use for it.
    """
    quote_source: str = ""
    """A text that whatever the answer puts in double quotes is to stand in, verbatim; "" for any.
    A backend that holds the model to it says `verbatim` in `Completion.notes["quotes"]`."""


class Completion(FrozenModel):
    """A backend's answer to one `Request`."""

    text: str
    """Whole answer including a filled slot's lead and option; `""` when nothing came."""
    finish_reason: Literal["stop", "length", "error"]
    option_logprobs: dict[str, float] | None = None
    """Total log-probability (nats) of each option, when the backend could score them."""
    prompt_tokens: int = Field(default=0, ge=0)
    new_tokens: int = Field(default=0, ge=0)
    error: str = ""
    notes: dict[str, str] = Field(default_factory=dict)
    """What the backend wants known: `prefix: plain (mrope)`, `neutralised: 2`, …"""
