"""Stop asking a paid server before a limit on tokens or cost is passed.

Each request reserves the most that it can use until its bill is known. One that does not fit waits
for those in flight; if it still does not fit, it and all later ones are refused.

    budget = Budget(max_tokens=1_000_000)
    async with budget.spend(prompt, max_new_tokens) as bill: bill(prompt_tokens, answer_tokens)
"""

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from gen_msa.backends.base import BackendOptions
from gen_msa.chat import Chat

IMAGE_TOKENS = 6_000
"""The most that an image is taken for. A megapixel has 1,100 to 5,000 tokens in current models."""
_CHAT_TOKENS = 200
"""What a chat template adds at most."""
_POLL_SECONDS = 0.02


class LimitReached(Exception):
    """A request does not fit into the budget any more."""


def most_prompt_tokens(chat: Chat) -> int:
    """Return a bound on the tokens of a prompt: a token has a byte of text or more.

    Args:
        chat: The chat.
    """
    texts = (part.text for turn in chat.turns for part in turn.parts if hasattr(part, "text"))
    n_bytes = sum(len(text.encode("utf-8", "replace")) for text in texts)
    return n_bytes + IMAGE_TOKENS * len(chat.images) + _CHAT_TOKENS


class Budget:
    """Tokens and cost of one backend; several threads may share it."""

    def __init__(self, options: BackendOptions) -> None:
        self._max_tokens = options.max_tokens_total
        self._max_cost = options.max_cost
        self._prices = options.prices
        self._lock = threading.Lock()
        self._used = [0, 0]
        """Prompt and answer tokens that are billed."""
        self._reserved = [0, 0]
        self._waiting: deque[object] = deque()
        self._in_flight = 0
        self._is_closed = False

    @property
    def is_limited(self) -> bool:
        """Whether there is a limit."""
        return self._max_tokens is not None or self._max_cost is not None

    @asynccontextmanager
    async def spend(self, prompt: int, answer: int) -> AsyncIterator[Callable[[int, int], None]]:
        """Reserve the most that a request can use while the context is open.

        Args:
            prompt: The most tokens that its prompt can have.
            answer: The most tokens that its answer can have.

        Yields:
            Takes the tokens of the bill. Without a call nothing is billed; a bill of 0 tokens is
            none, and the reservation is taken for it.

        Raises:
            LimitReached: It does not fit, also once those in flight are billed.
        """
        await self._wait_for_turn(prompt, answer)
        bill = [0, 0]

        def take(prompt_tokens: int, answer_tokens: int) -> None:
            bill[:] = (prompt_tokens, answer_tokens) if prompt_tokens else (prompt, answer)

        try:
            yield take
        finally:
            with self._lock:
                self._in_flight -= 1
                self._reserved = [self._reserved[0] - prompt, self._reserved[1] - answer]
                self._used = [self._used[0] + bill[0], self._used[1] + bill[1]]

    async def _wait_for_turn(self, prompt: int, answer: int) -> None:
        """Reserve tokens; no request passes one that waits before it."""
        turn = object()
        with self._lock:
            self._waiting.append(turn)
        try:
            while self._waiting[0] is not turn or not self._try_reserve(prompt, answer):
                await asyncio.sleep(_POLL_SECONDS)
        finally:
            with self._lock:
                self._waiting.remove(turn)

    def _try_reserve(self, prompt: int, answer: int) -> bool:
        """Return whether there was room; False while requests in flight may still leave some."""
        with self._lock:
            fits = self._fits(prompt, answer)
            if self._is_closed or (not fits and not self._in_flight):
                self._is_closed = True
                raise LimitReached(self._describe())
            if fits:
                self._in_flight += 1
                self._reserved = [self._reserved[0] + prompt, self._reserved[1] + answer]
            return fits

    def _fits(self, prompt: int, answer: int) -> bool:
        prompt += self._used[0] + self._reserved[0]
        answer += self._used[1] + self._reserved[1]
        if self._max_tokens is not None and prompt + answer > self._max_tokens:
            return False
        if self._max_cost is None or self._prices is None:
            return True
        return self._prices.cost(prompt, answer) <= self._max_cost

    def _describe(self) -> str:
        used = f"{sum(self._used):,} tokens are used"
        if self._max_cost is not None and self._prices is not None:
            cost = self._prices.cost(*self._used)
            return f"max_cost={self._max_cost:g} would be passed: {used}, which cost {cost:,.4f}"
        return f"max_tokens_total={self._max_tokens:,} would be passed: {used}"
