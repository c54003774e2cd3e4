"""Generate answers greedily, token by token, with continuous batching.

A request first takes the tokens of its slot, then its own until it ends or reaches its limit. Where
the model has a plain key-value cache, requests of the next batch join while others are still
generated, so that the batch stays full.

    batch = ContinuousBatch(engine)
    batch.add(engine.prefill([row.ids]), [row])
    finished = batch.step()
"""

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch

from gen_msa.backends.hf.batching import TokenizedRequest
from gen_msa.backends.hf.engine import DecodeState, HfEngine, merge_states, select_rows

DecodeFunction = Callable[[Sequence[int], Sequence[int]], str]


class QuoteConstraint:
    """Chooses tokens so that everything in double quotes is verbatim from a given text."""

    def __init__(self, decode: DecodeFunction, end_ids: Collection[int]) -> None:
        """Prepare the constraint.

        Args:
            decode: Returns the text of token ids after a context.
            end_ids: Tokens that end an answer.
        """
        self._decode = decode
        self._end_ids = end_ids

    def choose_token(
        self,
        ids: Sequence[int],
        context: Sequence[int],
        text: str,
        scores: torch.Tensor,
        best_token: int,
    ) -> int:
        """Choose the next token.

        Args:
            ids: Tokens of the answer so far.
            context: Tokens before the answer.
            text: Text that quotes must occur in.
            scores: Logits of the next token, `(vocabulary,)`.
            best_token: The likeliest token.

        Returns:
            `best_token` if it keeps quotes verbatim, else the likeliest token that does.
        """
        answer_text = self._decode(ids, context)
        if self._is_allowed(
            answer_text, [*ids, best_token], context, text
        ) or not _quotes_are_verbatim(answer_text, text):
            # Allowed; or a quote is not verbatim already, and no token can change that.
            return best_token
        order = scores.argsort(descending=True).tolist()
        allowed = (t for t in order if self._is_allowed(answer_text, [*ids, t], context, text))
        return next(allowed, best_token)

    def _is_allowed(
        self, answer_text: str, ids: Sequence[int], context: Sequence[int], text: str
    ) -> bool:
        """Return whether an answer that reads `answer_text` may continue as `ids`."""
        next_text = self._decode(ids, context)
        quote = _open_quote(next_text)
        if quote is None:
            return _quotes_are_verbatim(next_text, text)
        if ids[-1] in self._end_ids or (
            next_text == answer_text and not _multibyte_follows(quote, text)
        ):
            # The end, no progress, or half a character where no multi-byte one can follow.
            return False
        return _quotes_are_verbatim(next_text, text)


def _open_quote(answer_text: str) -> str | None:
    """Return the text of a quote that is not closed yet; None if there is none."""
    parts = answer_text.split('"')
    return parts[-1] if len(parts) % 2 == 0 else None


def _quotes_are_verbatim(answer_text: str, text: str) -> bool:
    """Return whether every quote so far is verbatim."""
    _, *parts = answer_text.split('"')
    closed = parts[: len(parts) // 2 * 2 : 2]
    quote = _open_quote(answer_text)
    closed_are_verbatim = all(occurs_at_word(q, text, to_word_end=True) for q in closed)
    return closed_are_verbatim and (quote is None or occurs_at_word(quote, text, to_word_end=False))


def _multibyte_follows(quote: str, text: str) -> bool:
    """Return whether a non-ASCII character follows `quote` somewhere in `text`."""
    quote_ends = (m.end() for m in re.finditer(re.escape(quote), text))
    return any(not c.isascii() for end in quote_ends for c in text[end : end + 1])


def occurs_at_word(phrase: str, text: str, *, to_word_end: bool) -> bool:
    """Check whether a phrase occurs in a text from the start of a word.

    Args:
        phrase: Phrase to search for.
        text: Text to search in.
        to_word_end: Whether the phrase must also end where a word ends.

    Returns:
        Whether it occurs so.
    """
    if to_word_end and not phrase.strip():
        return False
    at = text.find(phrase)
    while at >= 0:
        end = at + len(phrase)
        if not _splits_word(text, at) and not (to_word_end and _splits_word(text, end)):
            return True
        at = text.find(phrase, at + 1) if phrase else -1
    return False


def _splits_word(text: str, at: int) -> bool:
    """Return whether offset `at` is inside a word."""
    return 0 < at < len(text) and text[at - 1].isalnum() and text[at].isalnum()


@dataclass
class Generation:
    """Tokens that were added to a request: those of the slot, then the model's own."""

    request: TokenizedRequest
    option: int | None
    logprobs: list[float]
    """Log-probability (nats) of each option of the slot."""
    forced_ids: tuple[int, ...]
    remaining_tokens: int
    """Tokens that the model may still choose."""
    prompt_tokens: int
    is_finite: bool
    """False when logits were NaN."""
    ids: list[int] = field(default_factory=list)
    finish_reason: Literal["stop", "length"] | None = None
    n_forced_fed: int = 0
    """Tokens of the slot that were fed to the model."""


class ContinuousBatch:
    """Requests that are generated together."""

    def __init__(self, engine: HfEngine, quote_constraint: QuoteConstraint | None = None) -> None:
        """Create an empty batch.

        Args:
            engine: Runs the model.
            quote_constraint: Keeps quotes verbatim for requests that ask for it; None for no
                constraint.
        """
        self.engine = engine
        self._quote_constraint = quote_constraint
        self._state: DecodeState | None = None
        self._generations: list[Generation] = []
        """The generation in each row of the state; a finished one stays until rows are removed."""

    @property
    def active_requests(self) -> list[TokenizedRequest]:
        """Return the requests that are not finished."""
        return [a.request for a in self._generations if a.finish_reason is None]

    def add(self, state: DecodeState, rows: Sequence[TokenizedRequest]) -> list[Generation]:
        """Add requests whose prompts are encoded, and fill their slots.

        Args:
            state: State after the prompts, one row for each request.
            rows: The requests.

        Returns:
            Generations that are finished already.
        """
        is_finite = (~state.logits.isnan().any(dim=-1)).tolist()
        scores = self.engine.option_logprobs(state, rows)
        counts = state.attention_mask.sum(dim=1).tolist()
        columns = zip(rows, scores, counts, is_finite, strict=True)
        added = [_start_generation(*values) for values in columns]
        finished = [a for a in added if a.finish_reason]
        unfinished = [k for k, a in enumerate(added) if not a.finish_reason]
        if not unfinished:
            return finished
        if finished:
            state = select_rows(state, unfinished)
        generations = [added[k] for k in unfinished]
        n_common_forced = min(len(a.forced_ids) for a in generations)
        if n_common_forced:
            self.engine.append_tokens(state, [a.forced_ids[:n_common_forced] for a in generations])
        for generation in generations:
            generation.n_forced_fed = n_common_forced
        if self._state is None:
            self._state, self._generations = state, generations
        else:
            active = [k for k, a in enumerate(self._generations) if a.finish_reason is None]
            self._state = merge_states([select_rows(self._state, active), state])
            self._generations = [*(self._generations[k] for k in active), *generations]
        return finished

    def step(self) -> list[Generation]:
        """Generate one token for every request; return the generations that it finished."""
        if self._state is None:
            return []
        best_tokens = self._best_tokens(self._state.logits)
        was_active = [a.finish_reason is None for a in self._generations]
        tokens = [
            [self._advance(a, t)] for a, t in zip(self._generations, best_tokens, strict=True)
        ]
        finished = [
            a
            for a, active_before in zip(self._generations, was_active, strict=True)
            if active_before and a.finish_reason
        ]
        active = [k for k, a in enumerate(self._generations) if a.finish_reason is None]
        if not active:
            self.clear()
            return finished
        # Removing rows copies the cache, so it is done when an eighth of the batch is finished.
        if 8 * len(active) <= 7 * len(self._generations):
            self._state = select_rows(self._state, active)
            self._generations = [self._generations[k] for k in active]
            tokens = [tokens[k] for k in active]
        self.engine.append_tokens(self._state, tokens)
        return finished

    def clear(self) -> None:
        """Drop every request."""
        self._state, self._generations = None, []

    def _best_tokens(self, scores: torch.Tensor) -> list[int]:
        """Return the likeliest token of every row that keeps its quotes verbatim."""
        best_tokens: list[int] = scores.argmax(-1).tolist()
        if self._quote_constraint is not None:
            for k, a in enumerate(self._generations):
                if (
                    a.request.quotes
                    and a.finish_reason is None
                    and a.n_forced_fed == len(a.forced_ids)
                ):
                    quote_args = a.ids, a.forced_ids, a.request.quotes
                    best_tokens[k] = self._quote_constraint.choose_token(
                        *quote_args, scores[k], best_tokens[k]
                    )
        return best_tokens

    def _advance(self, generation: Generation, best_token: int) -> int:
        """Return the token a row continues with; `best_token` is the model's choice."""
        if generation.finish_reason is not None:
            return best_token
        if generation.n_forced_fed < len(generation.forced_ids):
            generation.n_forced_fed += 1
            return generation.forced_ids[generation.n_forced_fed - 1]
        if best_token in self.engine.end_ids:
            generation.finish_reason = "stop"
        else:
            generation.ids.append(best_token)
            generation.remaining_tokens -= 1
            if generation.remaining_tokens == 0:
                generation.finish_reason = "length"
        return best_token


def _start_generation(
    row: TokenizedRequest, scores: list[float], count: int, is_finite: bool
) -> Generation:
    """Start a generation with its slot filled by the likeliest option (the first of equals)."""
    if row.slot is None or not scores:
        return Generation(
            row,
            None,
            [],
            (),
            row.max_new_tokens,
            count,
            is_finite,
            finish_reason=None if is_finite else "stop",
        )
    option = scores.index(max(scores)) if is_finite else 0
    remaining_tokens = max(row.max_new_tokens - row.slot.n_scored[option], 0)
    finish_reason: Literal["length"] | None = None if remaining_tokens and is_finite else "length"
    return Generation(
        row,
        option,
        scores,
        row.slot.option_tokens[option],
        remaining_tokens,
        count,
        is_finite,
        finish_reason=finish_reason,
    )
