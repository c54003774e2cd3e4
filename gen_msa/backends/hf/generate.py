"""Complete many requests with one model: greedy decoding, batches, memory limits.

A bad request becomes a completion with `finish_reason="error"`; when memory runs out, unfinished
requests are generated again in batches of half the size, and that is noted.

    TextGenerator(model, processor, options, load_image).complete(requests)
"""

import gc
import re
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from jinja2 import TemplateError

from gen_msa.backends.base import BackendOptions, TokenCount
from gen_msa.backends.hf import chat_tokens, model_traits
from gen_msa.backends.hf.chat_tokens import ChatTokenizer, RequestGroup, TokenizedRequest
from gen_msa.backends.hf.engine import (
    DecodeState,
    HfEngine,
    PrefillBatch,
    Prefiller,
    merge_states,
    select_rows,
)
from gen_msa.backends.hf.image_inputs import ImageExpander, ImageLoader
from gen_msa.chat import Chat, Completion, Request
from gen_msa.errors import UserError
from gen_msa.media import ImageError

# Generate answers greedily, token by token, with continuous batching.

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


REQUEST_ERRORS = (
    UserError,
    ImageError,
    OSError,
    ValueError,
    TypeError,
    LookupError,
    TemplateError,
)
"""Errors of a template, a processor or the image loader that concern one request only."""

CompletionsByIndex = dict[int, Completion]


class TextGenerator:
    """A loaded model, ready to complete requests."""

    def __init__(
        self, model: Any, processor: Any, options: BackendOptions, load_image: ImageLoader
    ) -> None:
        """Inspect the model and prepare it.

        Args:
            model: A causal language model in evaluation mode.
            processor: Its processor; its tokenizer if it takes no images.
            options: `batch_size` and `share_prefix` are used.
            load_image: Loads an image as a PIL image.

        Raises:
            UserError: The model is not supported.
        """
        reason = model_traits.unsupported_reason(model)
        if reason:
            raise UserError(f"{type(model).__name__} is not supported: {reason}")
        self.options = options
        self.chat_tokenizer = ChatTokenizer(processor)
        self.placeholders = model_traits.image_token_ids(model, processor)
        reason = model_traits.prefix_sharing_unsupported_reason(model)
        self.engine = HfEngine(model, _end_ids(model, self.chat_tokenizer), plain_cache=not reason)
        self.unshared_reason = reason or ("" if options.share_prefix else "switched off")
        """Why prefixes are not shared; "" if they are."""
        self._prefiller = Prefiller(self.engine, self.placeholders, share=not self.unshared_reason)
        self._image_expander = ImageExpander(self.chat_tokenizer, load_image, self.placeholders)
        self._context_length = getattr(
            model_traits.text_config(model), "max_position_embeddings", None
        )

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def complete(self, requests: Sequence[Request]) -> list[Completion]:
        """Complete each request, in order; a bad one gives an error completion."""
        completions: CompletionsByIndex = {}
        rows: list[TokenizedRequest] = []
        for i, request in enumerate(requests):
            try:
                rows.append(self.chat_tokenizer.tokenize_request(i, request))
            except REQUEST_ERRORS as e:
                completions[i] = _error_completion(e)
        for generation, memory_note in self._generate(rows, completions):
            i = generation.request.index
            completions[i] = self._completion(requests[i], generation, memory_note)
        self._prefiller.clear()
        return [completions[i] for i in range(len(requests))]

    def count_tokens(self, chat: Chat) -> TokenCount:
        """Count the tokens of the chat, and those of its images with their delimiters."""
        prompt = self.chat_tokenizer.render_prompt(chat)
        row = TokenizedRequest(0, tuple(prompt.ids), prompt.text, prompt.images, None, 1, {})
        total = len(self._image_expander.expand(row).ids)
        n_text_tokens = sum(t not in self.placeholders for t in prompt.ids)
        return TokenCount(total, total - n_text_tokens if prompt.images else 0)

    def _generate(
        self, rows: list[TokenizedRequest], completions: CompletionsByIndex
    ) -> Iterator[tuple[Generation, str]]:
        """Yield finished generations and a note on memory; failed rows go to `completions`."""
        quote_constraint = QuoteConstraint(self.chat_tokenizer.decode, self.engine.end_ids)
        active_batch, max_rows, memory_note = (
            ContinuousBatch(self.engine, quote_constraint),
            self.options.batch_size,
            "",
        )
        instruction = (
            () if self.unshared_reason else chat_tokens.instruction_prefix(rows, self.placeholders)
        )
        queue = self._queue(rows, len(instruction), max_rows)
        unanswered: dict[int, TokenizedRequest] = {}
        while queue or unanswered:
            finished: list[Generation] = []
            try:
                while queue and self._has_capacity(
                    len(active_batch.active_requests), queue[0], max_rows
                ):
                    batch = self._expand_batch(queue.popleft(), completions)
                    new_rows = [row for post in batch for row, _ in post]
                    unanswered.update((r.index, r) for r in new_rows)
                    if new_rows:
                        finished += active_batch.add(
                            self._prefiller.prefill(batch, instruction), new_rows
                        )
                finished += active_batch.step()
            except (MemoryError, RuntimeError) as e:
                if not _is_out_of_memory(e):
                    raise
                active_batch.clear()
                retried = self._take_unanswered(unanswered, finished)
                max_rows = max(len(retried) // 2, 1)
                memory_note = f"{max_rows} (out of memory with {len(retried)})"
                if len(retried) == 1:
                    completions[retried.pop().index] = _error_completion(
                        MemoryError("out of memory for one request")
                    )
                queued_rows = [r for queued_batch in queue for g in queued_batch for r in g.rows]
                queued_rows = sorted([*retried, *queued_rows], key=lambda r: r.index)
                queue = self._queue(queued_rows, len(instruction), max_rows)
            for generation in finished:
                unanswered.pop(generation.request.index)
                yield generation, memory_note

    def _queue(
        self, rows: list[TokenizedRequest], shared: int, max_rows: int
    ) -> deque[list[RequestGroup]]:
        """Queue batches of half the limit, so that new rows find room as others finish."""
        size = -(-max_rows // 2) if self.engine.plain_cache else max_rows
        groups = (
            [RequestGroup((row,)) for row in rows]
            if self.unshared_reason
            else chat_tokens.group_requests(rows, shared, size)
        )
        return deque(chat_tokens.batch_groups(groups, size))

    def _has_capacity(self, n_active: int, batch: list[RequestGroup], max_rows: int) -> bool:
        """Return whether a batch can join: none is active, or rows can be merged and fit."""
        size = sum(len(g.rows) for g in batch)
        return n_active == 0 or (self.engine.plain_cache and n_active + size <= max_rows)

    def _expand_batch(
        self, batch: list[RequestGroup], completions: CompletionsByIndex
    ) -> PrefillBatch:
        """Expand the images of a batch; requests that fail go to `completions`."""
        out: PrefillBatch = []
        for group in batch:
            post = []
            for row in group.rows:
                try:
                    inputs = self._image_expander.expand(row)
                    self._check_fits(row, len(inputs.ids))
                    post.append((row, inputs))
                except REQUEST_ERRORS as e:
                    completions[row.index] = _error_completion(e)
            if post:
                out.append(post)
        return out

    def _check_fits(self, row: TokenizedRequest, length: int) -> None:
        slot = max((len(f) for f in row.slot.option_tokens), default=0) if row.slot else 0
        needed = length + slot + row.max_new_tokens
        if self._context_length and needed > self._context_length:
            raise ValueError(
                f"{needed} tokens exceed the model's context of {self._context_length}"
            )

    def _take_unanswered(
        self, unanswered: dict[int, TokenizedRequest], finished: Iterable[Generation]
    ) -> list[TokenizedRequest]:
        """Take requests to generate again out of `unanswered`, and free memory."""
        self._prefiller.clear()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        finished_ids = {g.request.index for g in finished}
        return [unanswered.pop(i) for i in [*unanswered] if i not in finished_ids]

    def _completion(self, request: Request, generation: Generation, memory_note: str) -> Completion:
        if not generation.is_finite:
            return _error_completion(ArithmeticError("the model's logits are NaN"))
        row = generation.request
        notes = {
            **row.notes,
            "prefix": f"not shared ({self.unshared_reason})" if self.unshared_reason else "shared",
        }
        if memory_note:
            notes["batch"] = memory_note
        text, logprobs, choice = "", None, request.choice
        if choice is not None and generation.option is not None:
            text = choice.prefix + choice.options[generation.option] + choice.suffix
            logprobs = dict(zip(choice.options, generation.logprobs, strict=True))
        return Completion(
            text=text + self.chat_tokenizer.decode(generation.ids, generation.forced_ids),
            finish_reason=generation.finish_reason or "length",
            option_logprobs=logprobs,
            prompt_tokens=generation.prompt_tokens,
            new_tokens=len(generation.forced_ids) + len(generation.ids),
            notes=notes,
        )


def _end_ids(model: Any, chat_tokenizer: ChatTokenizer) -> frozenset[int]:
    token_ids = chat_tokenizer.end_ids()
    for config in (model.generation_config, model_traits.text_config(model)):
        ids = getattr(config, "eos_token_id", None)
        token_ids |= {ids} if isinstance(ids, int) else set(ids or ())
    return frozenset(token_ids)


def _is_out_of_memory(error: Exception) -> bool:
    message = str(error).lower()
    phrases = ("out of memory", "can't allocate memory", "not enough memory", "alloc_failed")
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or any(
        m in message for m in phrases
    )


def _error_completion(error: Exception) -> Completion:
    message = f"{type(error).__name__}: {error}"
    return Completion(text="", finish_reason="error", error=message)
