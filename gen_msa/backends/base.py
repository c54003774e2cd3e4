"""Protocol of a backend, the options common to all, and the registry of backends.

backends["echo"]("", BackendOptions()).complete([request])
"""

import logging
from collections.abc import Collection, Sequence
from typing import Literal, NamedTuple, Protocol

from pydantic import Field

from gen_msa.chat import Chat, Completion, Request
from gen_msa.registry import Registry
from gen_msa.settings import Settings


class Prices(Settings):
    """Prices per million tokens, in any currency."""

    input: float = Field(ge=0.0)
    output: float = Field(ge=0.0)

    def cost(self, prompt_tokens: float, answer_tokens: float) -> float:
        """Return the cost of this many prompt and answer tokens.

        Args:
            prompt_tokens: Tokens of prompts.
            answer_tokens: Tokens of answers.
        """
        return (prompt_tokens * self.input + answer_tokens * self.output) / 1_000_000


class BackendOptions(Settings):
    """Options common to all backends; one that cannot honour an option warns at start."""

    batch_size: int = 16
    """Requests decoded together (transformers), or limit of requests in flight (http)."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    device: str = "auto"
    share_prefix: bool = True
    """Encode what requests have in common once: in this process (transformers, vllm), or by sending
    a post's first request before its others, so that the server has it cached (http)."""
    timeout: float = 120.0
    """Seconds for one call (http)."""
    retries: int = 5
    """Further attempts of a call that failed with a transient error (http)."""
    api_key_variable: str = "OPENAI_API_KEY"
    """Environment variable that holds the key (http); the key itself is never a setting."""
    adapter: str = ""
    """Local folder of the adapter that the server uses: its prompt, cues and image limits are then
    enforced, as for a model in this process (http)."""
    slots: bool | None = None
    """Make a vLLM server fill the prompt's label slot, as in training; without, a JSON schema is
    sent, which other servers take too. None: true where `adapter` is given (http)."""
    send_to: tuple[str, ...] = ()
    """Hosts other than this machine that posts may be sent to, e.g. `[api.example.com]` (http)."""
    script: str = ""
    """JSONL file of scripted answers (echo)."""
    prices: Prices | None = None
    """Prices of the tokens (http)."""
    max_tokens_total: int | None = Field(default=None, ge=1)
    """Tokens that all requests together may use; one that could pass them is not sent (http)."""
    max_cost: float | None = Field(default=None, gt=0.0)
    """The same for the cost by `prices` (http)."""


class TokenCount(NamedTuple):
    """Tokens of a chat as the model would see it."""

    total: int
    image: int


class Backend(Protocol):
    """A model that completes chats.

    An attribute `samples = True` says that answers depend on `Request.temperature` and
    `Request.seed`;
    other backends are greedy. `is_concurrent = True` says that several threads may call the backend
    at
    once, that it limits their requests together, and that it is faster so.
    """

    revision: str
    """Changes whenever the answers could: hash of weights and adapter, or the server's name."""
    supports_images: bool
    can_list_aspects: bool
    """Whether the model is strong enough to list the aspects of a post."""

    def complete(self, requests: Sequence[Request]) -> list[Completion]:
        """Complete requests.

        Returns:
            One completion for each request, in order. A bad request gives a completion with
            `finish_reason="error"`; the others are completed.
        """
        ...

    def count_tokens(self, chat: Chat) -> TokenCount | None:
        """Return the tokens of the chat, or None when only the server knows."""
        ...


class BackendFactory(Protocol):
    """What a module of this package registers; `target` is the part after the colon.

    A backend that sends requests to a host has `remote_host(target) -> str` too, which names it.
    It sends nothing to a host that is neither this machine nor in `BackendOptions.send_to`.
    """

    def __call__(self, target: str, options: BackendOptions) -> Backend:
        """Load the model.

        Args:
            target: The part after the colon in `--model BACKEND:TARGET`.
            options: Options common to all backends.

        Returns:
            The backend, ready to complete chats.
        """
        ...


backends: Registry[BackendFactory] = Registry("backend", "gen_msa.backends", "gen_msa.backends")


# Warnings about options that a backend does not support.

_log = logging.getLogger("gen_msa.backends")


def ignored_options(options: BackendOptions, supported: Collection[str]) -> list[str]:
    """List options that are set and not supported.

    Args:
        options: Options as given.
        supported: Names of the options that the backend honours.

    Returns:
        Names of options that differ from their default and are not supported, sorted.
    """
    changed = options.model_dump(exclude_defaults=True)
    return sorted(set(changed) - set(supported))


def warn_ignored(backend: str, options: BackendOptions, supported: Collection[str]) -> None:
    """Log a warning for each option that is set and not supported.

    Args:
        backend: Name of the backend, for the message.
        options: Options as given.
        supported: Names of the options that the backend honours.
    """
    for name in ignored_options(options, supported):
        _log.warning("%s does not support backend.%s; it is ignored", backend, name)
