"""What a backend is, the options that all understand, and the registry of backends.

Knows no backend, and loads no model library.

    backends["echo"]("", BackendOptions()).complete([request])
"""

import logging
from collections.abc import Collection, Sequence
from typing import Literal, NamedTuple, Protocol

from gen_msa.chat import Chat, Completion, Request
from gen_msa.registry import Registry
from gen_msa.settings import Settings


class BackendOptions(Settings):
    """What every backend understands; one that cannot honour a setting says so at start."""

    batch_size: int = 16
    """Requests decoded together (transformers), or at most in flight (http)."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    device: str = "auto"
    share_prefix: bool = True
    """Encode what requests have in common once: in this process (transformers, vllm), or by asking
    a post's first question before its others, so that a server has kept the rest (http)."""
    timeout: float = 120.0
    """Seconds for one call (http)."""
    retries: int = 5
    """Further tries of a call that failed for a passing reason (http)."""
    api_key_variable: str = "OPENAI_API_KEY"
    """Environment variable that holds the key (http); the key itself is never a setting."""
    adapter: str = ""
    """Folder of the adapter that the server wears, if it lies here too: its prompt, cues and
    picture budget are then held to, as where this process holds the weights (http)."""
    slots: bool | None = None
    """Hold a vLLM server to the prompt's own form, a label in its slot, as adapters are trained;
    other servers get a JSON schema. None: where `adapter` is given (http)."""
    script: str = ""
    """File of scripted answers (echo)."""


class TokenCount(NamedTuple):
    """Tokens of a chat as the model would be shown it."""

    total: int
    image: int


class Backend(Protocol):
    """A model that completes chats."""

    revision: str
    """Changes whenever its answers could: hash of weights and adapter, or the server's name."""
    supports_images: bool
    can_list_aspects: bool
    """Whether it is strong enough to be asked which aspects a post has."""
    # One with `samples = True` draws answers by `Request.temperature` and `Request.seed`; others
    # always say the likeliest. One with `overlaps = True` may be asked by several threads at once,
    # keeps to its own limits for all of them together, and gains by it.

    def complete(self, requests: Sequence[Request]) -> list[Completion]:
        """One completion for each request, in order. Never raises for a single bad request."""
        ...

    def count_tokens(self, chat: Chat) -> TokenCount | None:
        """Tokens the chat costs, or None when only the server knows."""
        ...


class BackendFactory(Protocol):
    """What a module of this room registers; `target` is what follows the colon."""

    def __call__(self, target: str, options: BackendOptions) -> Backend:
        """Make the backend; loads its model."""
        ...


backends: Registry[BackendFactory] = Registry("backend", "gen_msa.backends", "gen_msa.backends")


# What a backend says at start about options it cannot honour.

_log = logging.getLogger("gen_msa.backends")


def ignored_options(options: BackendOptions, supported: Collection[str]) -> list[str]:
    """The options that were set away from their default and are not in `honoured`, sorted."""
    changed = options.model_dump(exclude_defaults=True)
    return sorted(set(changed) - set(supported))


def warn_ignored(backend: str, options: BackendOptions, supported: Collection[str]) -> None:
    """Log a warning that names every option `backend` was given and cannot honour."""
    for name in ignored_options(options, supported):
        _log.warning("%s has no use for backend.%s; it is ignored", backend, name)
