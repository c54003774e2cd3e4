"""A backend that draws: every request gets a temperature and a seed, and the answer says so.

Stands between a prompted reader and its model, so that a question can be asked again and be
answered differently, and so that tokens are known whatever becomes of the answer. Knows nothing of
gates.

    with drawing(temperature=0.7, seed=2): Steered(backend).complete(requests)
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from gen_msa.backends import Backend, TokenCount
from gen_msa.chat import Chat, Completion, Request

TOKENS = "tokens"
"""Key of `Opinion.how`: `PROMPT+ANSWER`, both numbers."""


_sampling_params: ContextVar[tuple[float, int]] = ContextVar("temperature and seed", default=(0.0, 0))


@contextmanager
def sampling(*, temperature: float, seed: int) -> Iterator[None]:
    """What this thread asks meanwhile is asked with this temperature and seed."""
    token = _sampling_params.set((temperature, seed))
    try:
        yield
    finally:
        _sampling_params.reset(token)


class SamplingBackend:
    """`backend`, with the temperature and seed that `drawing` sets for this thread."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.samples = bool(getattr(backend, "samples", False))
        """Whether another seed can give another answer."""
        self.is_concurrent = bool(getattr(backend, "overlaps", False))
        self.revision = backend.revision
        self.supports_images = backend.supports_images
        self.can_list_aspects = backend.can_list_aspects

    def complete(self, requests: Sequence[Request]) -> list[Completion]:
        """One completion for each request, in order; `notes` gain tokens, seed, temperature."""
        temperature, seed = _sampling_params.get()
        sampling_params = {"temperature": temperature, "seed": seed}
        sampled_requests = [r.model_copy(update=sampling_params) for r in requests] if self.samples else requests
        notes = {k: str(v) for k, v in sampling_params.items()} if self.samples else {}
        return [_with_token_notes(c, notes) for c in self._backend.complete(sampled_requests)]

    def count_tokens(self, chat: Chat) -> TokenCount | None:
        """What the backend says."""
        return self._backend.count_tokens(chat)


def _with_token_notes(completion: Completion, notes: dict[str, str]) -> Completion:
    prompt_tokens, new_tokens = completion.prompt_tokens, completion.new_tokens
    if prompt_tokens or new_tokens:
        notes = {**notes, TOKENS: f"{prompt_tokens}+{new_tokens}"}
    return completion.model_copy(update={"notes": {**completion.notes, **notes}})
