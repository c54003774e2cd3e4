"""A backend that draws: every request gets a temperature and a seed, and the answer says so.

Stands between a prompted reader and its model, so that a question can be asked again and be
answered differently, and so that tokens are known whatever becomes of the answer. Knows nothing of
gates.

    steered = Steered(backend); steered.seed, steered.temperature = 2, 0.7
"""

from collections.abc import Sequence

from gen_msa.backends import Backend, TokenCount
from gen_msa.chat import Chat, Completion, Request

TOKENS = "tokens"
"""Key of `Opinion.how`: `PROMPT+ANSWER`, both numbers."""


class Steered:
    """`backend`, with the temperature and seed that are set now."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.samples = bool(getattr(backend, "samples", False))
        """Whether another seed can give another answer."""
        self.temperature = 0.0
        self.seed = 0
        self.revision = backend.revision
        self.sees_pictures = backend.sees_pictures
        self.lists_aspects = backend.lists_aspects

    def complete(self, requests: Sequence[Request]) -> list[Completion]:
        """One completion for each request, in order; `notes` gain tokens, seed, temperature."""
        how = {"temperature": self.temperature, "seed": self.seed}
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
