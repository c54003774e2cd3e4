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


_now: ContextVar[tuple[float, int]] = ContextVar("temperature and seed", default=(0.0, 0))


@contextmanager
def drawing(*, temperature: float, seed: int) -> Iterator[None]:
    """What this thread asks meanwhile is asked with this temperature and seed."""
    before = _now.set((temperature, seed))
    try:
        yield
    finally:
        _now.reset(before)


class Steered:
    """`backend`, with the temperature and seed that `drawing` sets for this thread."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.samples = bool(getattr(backend, "samples", False))
        """Whether another seed can give another answer."""
        self.overlaps = bool(getattr(backend, "overlaps", False))
        self.revision = backend.revision
        self.sees_pictures = backend.sees_pictures
        self.lists_aspects = backend.lists_aspects

    def complete(self, requests: Sequence[Request]) -> list[Completion]:
        """One completion for each request, in order; `notes` gain tokens, seed, temperature."""
        temperature, seed = _now.get()
        how = {"temperature": temperature, "seed": seed}
        asked = [r.model_copy(update=how) for r in requests] if self.samples else requests
        notes = {k: str(v) for k, v in how.items()} if self.samples else {}
        return [_noted(c, notes) for c in self._backend.complete(asked)]

    def count_tokens(self, chat: Chat) -> TokenCount | None:
        """What the backend says."""
        return self._backend.count_tokens(chat)


def _noted(completion: Completion, notes: dict[str, str]) -> Completion:
    read, written = completion.prompt_tokens, completion.new_tokens
    if read or written:
        notes = {**notes, TOKENS: f"{read}+{written}"}
    return completion.model_copy(update={"notes": {**completion.notes, **notes}})
