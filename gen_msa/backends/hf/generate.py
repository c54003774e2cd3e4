"""Complete many requests with one model: batches, memory limits, completions.

A bad request becomes a completion with `finish_reason="error"`; when memory runs out, unfinished
requests are generated again in batches of half the size, and that is noted.

    TextGenerator(model, processor, options, load_image).complete(requests)
"""

import gc
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from jinja2 import TemplateError

from gen_msa.backends.base import BackendOptions, TokenCount
from gen_msa.backends.hf import batching, model_traits
from gen_msa.backends.hf.batching import RequestGroup, TokenizedRequest
from gen_msa.backends.hf.chat_tokens import ChatTokenizer
from gen_msa.backends.hf.decode import ContinuousBatch, Generation, QuoteConstraint
from gen_msa.backends.hf.engine import HfEngine, PrefillBatch, Prefiller
from gen_msa.backends.hf.image_inputs import ImageExpander, ImageLoader
from gen_msa.chat import Chat, Completion, Request
from gen_msa.errors import UserError
from gen_msa.media import ImageError

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
            () if self.unshared_reason else batching.instruction_prefix(rows, self.placeholders)
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
            else batching.group_requests(rows, shared, size)
        )
        return deque(batching.batch_groups(groups, size))

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
