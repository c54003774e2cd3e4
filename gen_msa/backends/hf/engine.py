"""Run the model's forward pass: encode prompts, score a slot's options, append tokens.

Padding is always on the left, never between a cached prefix and its suffix, so sliding windows and
three-axis positions stay exact.

    engine = HfEngine(model, end_ids=frozenset({2}), plain_cache=True)
    state = engine.prefill([[1, 2, 3], [4, 5]])
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicLayer, DynamicSlidingWindowLayer

from gen_msa.backends.hf import chat_tokens, model_traits
from gen_msa.backends.hf.chat_tokens import TokenizedRequest, TokenizedSlot
from gen_msa.backends.hf.image_inputs import ModelInputs, stack_tensors

PREALLOCATED_TOKENS = 64
"""Tokens by which a cache grows."""


@dataclass
class DecodeState:
    """State of a batch: key-value cache, which tokens count, and the next token's logits."""

    cache: Any
    attention_mask: torch.Tensor
    """`(rows, tokens so far)`; 0 where a row is padded."""
    logits: torch.Tensor
    """`(rows, vocabulary)`: logits of the next token."""
    rope_deltas: torch.Tensor | None = None
    """`(rows, 1)`: shift of the text's positions by image tokens, for models with mRoPE."""


class PreallocatedCacheLayer(DynamicLayer):  # type: ignore[misc]
    """Keys and values of one layer, `(rows, heads, tokens, head_dim)`, with memory for more tokens.

    Appending a token then writes in place, where `DynamicLayer` copies the whole cache.
    """

    _buffers: tuple[torch.Tensor, torch.Tensor] | None = None

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append tokens.

        Args:
            key_states: Keys, `(rows, heads, new_tokens, head_dim)`.
            value_states: Values, of the same shape.
            *args: Ignored.
            **kwargs: Ignored.

        Returns:
            All keys and all values, `(rows, heads, tokens, head_dim)`.
        """
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        old_length = self.get_seq_length()
        end = old_length + key_states.shape[-2]
        if self._buffers is None or self._buffers[0].shape[-2] < end:
            self._buffers = (
                _grow_buffer(self.keys, key_states, old_length, end + PREALLOCATED_TOKENS),
                _grow_buffer(self.values, value_states, old_length, end + PREALLOCATED_TOKENS),
            )
        keys, values = self._buffers
        keys[:, :, old_length:end] = key_states
        values[:, :, old_length:end] = value_states
        self.set_kv(keys[:, :, :end], values[:, :, :end])
        return self.keys, self.values

    def set_kv(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Replace the cache.

        Args:
            keys: Keys, `(rows, heads, tokens, head_dim)`.
            values: Values, of the same shape.
        """
        self.keys, self.values = keys, values
        self.dtype, self.device = keys.dtype, keys.device
        self.is_initialized = True

    def reorder_cache(self, beam_idx: torch.Tensor) -> None:
        """Select rows by index, `(rows,)`, into new memory.

        Args:
            beam_idx: Row to keep in each place, `(rows,)`; a row may occur several times.
        """
        self._buffers = None
        self.set_kv(self.keys.index_select(0, beam_idx), self.values.index_select(0, beam_idx))


def preallocated_cache() -> Any:
    """Create an empty cache for a model whose layers all have a plain key-value cache."""
    return Cache(layer_class_to_replicate=PreallocatedCacheLayer)


def select_rows(state: DecodeState, rows: Sequence[int]) -> DecodeState:
    """Select rows of a state.

    Args:
        state: The state; it stays unchanged.
        rows: Indices in the new order; repeats are allowed.

    Returns:
        A new state.
    """
    index = torch.tensor(list(rows), device=state.attention_mask.device)
    cache = _copy_cache(state.cache)
    for layer in cache.layers:
        layer.reorder_cache(index.to(getattr(layer, "device", None) or index.device))
    rope_deltas = None if state.rope_deltas is None else state.rope_deltas[index]
    return DecodeState(cache, state.attention_mask[index], state.logits[index], rope_deltas)


def merge_states(states: Sequence[DecodeState]) -> DecodeState:
    """Concatenate states whose caches are `preallocated_cache`s, padding on the left.

    Keys hold their rotary positions, so their index in the cache does not matter.

    Args:
        states: States of one model.

    Returns:
        A state of all rows, in order; its length is that of the longest row without padding.
    """
    width = max(int(s.attention_mask.sum(dim=1).max()) for s in states)
    orders = [_right_aligned_order(s.attention_mask, width) for s in states]
    cache = preallocated_cache()
    for layers in zip(*(s.cache.layers for s in states), strict=True):
        layer = PreallocatedCacheLayer()
        layer.set_kv(
            torch.cat([_gather_tokens(x.keys, o) for x, o in zip(layers, orders, strict=True)]),
            torch.cat([_gather_tokens(x.values, o) for x, o in zip(layers, orders, strict=True)]),
        )
        cache.layers.append(layer)
    counts = torch.cat([s.attention_mask.sum(dim=1, keepdim=True) for s in states])
    positions = torch.arange(width, device=counts.device)[None]
    attention_mask = (positions >= width - counts).long()
    return DecodeState(cache, attention_mask, torch.cat([s.logits for s in states]))


def _right_aligned_order(attention_mask: torch.Tensor, width: int) -> torch.Tensor:
    """Return `(rows, width)` indices of cached tokens, those that count last and in order."""
    order = attention_mask.argsort(dim=1, stable=True)[:, -width:]
    missing = width - order.shape[1]
    return torch.cat([order[:, :1].expand(-1, missing), order], dim=1) if missing else order


def _gather_tokens(past: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    index = order[:, None, :, None].expand(-1, past.shape[1], -1, past.shape[3])
    return past.gather(2, index)


def _grow_buffer(past: torch.Tensor, new: torch.Tensor, old_length: int, size: int) -> torch.Tensor:
    buffer = new.new_empty((*new.shape[:2], size, new.shape[3]))
    if old_length:
        buffer[:, :, :old_length] = past
    return buffer


def _copy_cache(cache: Any) -> Any:
    """Copy a cache so that its rows can be reordered without changing the original's tensors."""
    copyable_types = (DynamicLayer, DynamicSlidingWindowLayer, PreallocatedCacheLayer)
    if any(type(layer) not in copyable_types for layer in cache.layers):
        return copy.deepcopy(cache)
    copied = copy.copy(cache)
    copied.layers = [copy.copy(layer) for layer in cache.layers]
    return copied


class HfEngine:
    """One model with the tokens that end an answer."""

    def __init__(self, model: Any, end_ids: frozenset[int], *, plain_cache: bool) -> None:
        """Wrap a model.

        Args:
            model: A causal language model in evaluation mode.
            end_ids: Tokens that end an answer.
            plain_cache: Whether every layer's cache is a plain row of keys and values, so that
                states can
                be merged.
        """
        self.model = model
        self.end_ids = end_ids
        self.plain_cache = plain_cache
        self._forward_params = model_traits.forward_params(model)
        self._rope_module = model_traits.rope_module(model)

    def prefill(
        self,
        ids: Sequence[Sequence[int]],
        past_state: DecodeState | None = None,
        extra_inputs: dict[str, torch.Tensor] | None = None,
    ) -> DecodeState:
        """Encode rows of tokens, left-padded.

        Args:
            ids: Token ids of each row.
            past_state: State that row i continues; its cache is modified and must not be used
                again.
            extra_inputs: Tensors of images by name of the model's argument.

        Returns:
            The state after the last token of each row.
        """
        width = max(len(row) for row in ids)
        pad = min(self.end_ids, default=0)
        device = self.model.device
        input_ids = torch.tensor([[pad] * (width - len(r)) + list(r) for r in ids], device=device)
        attention_mask = torch.tensor(
            [[0] * (width - len(r)) + [1] * len(r) for r in ids], device=device
        )
        if past_state is None:
            return self._first_prefill(input_ids, attention_mask, extra_inputs or {})
        attention_mask = torch.cat([past_state.attention_mask, attention_mask], dim=1)
        logits, cache = self._forward(
            input_ids, attention_mask, past_state.cache, past_state.rope_deltas, extra_inputs or {}
        )
        return DecodeState(cache, attention_mask, logits[:, -1], past_state.rope_deltas)

    def append_tokens(self, state: DecodeState, tokens: Sequence[Sequence[int]]) -> None:
        """Append tokens to every row, in place.

        Args:
            state: State of the rows.
            tokens: Token ids, the same number for each row.
        """
        input_ids = torch.tensor(tokens, device=state.attention_mask.device)
        state.attention_mask = torch.cat([state.attention_mask, torch.ones_like(input_ids)], dim=1)
        logits, state.cache = self._forward(
            input_ids, state.attention_mask, state.cache, state.rope_deltas, {}
        )
        state.logits = logits[:, -1]

    def option_logprobs(
        self, state: DecodeState, rows: Sequence[TokenizedRequest]
    ) -> list[list[float]]:
        """Score every option of every row's slot.

        Args:
            state: State after the prompts, `logits` of shape `(rows, vocabulary)`; it stays
                unchanged.
            rows: Request of each row.

        Returns:
            Log-probability (nats) of each option; `[]` for a row without a slot.
        """
        slots = [row.slot or TokenizedSlot((), ()) for row in rows]
        if not any(s.option_tokens for s in slots):
            return [[] for _ in rows]
        first_logprobs = state.logits.float().log_softmax(-1)
        scores = [
            [
                float(first_logprobs[i, o[0]]) if n else 0.0
                for o, n in zip(s.option_tokens, s.n_scored, strict=True)
            ]
            for i, s in enumerate(slots)
        ]
        multi_token = [
            (i, k) for i, s in enumerate(slots) for k, n in enumerate(s.n_scored) if n > 1
        ]
        for offset in range(0, len(multi_token), len(rows)):
            pairs = multi_token[offset : offset + len(rows)]
            tokens = [slots[i].option_tokens[k][: slots[i].n_scored[k]] for i, k in pairs]
            extra_logprobs = self._continuation_logprobs(state, [i for i, _ in pairs], tokens)
            for (i, k), value in zip(pairs, extra_logprobs, strict=True):
                scores[i][k] += value
        return scores

    def _continuation_logprobs(
        self, state: DecodeState, rows: list[int], tokens: list[tuple[int, ...]]
    ) -> list[float]:
        """Score each run of tokens after its first, on a copy of the rows' cache."""
        width = max(len(t) for t in tokens) - 1
        row_state = select_rows(state, rows)
        input_ids = torch.tensor([[*t[:-1], *[0] * (width + 1 - len(t))] for t in tokens])
        input_ids = input_ids.to(row_state.attention_mask.device)
        attention_mask = torch.cat([row_state.attention_mask, torch.ones_like(input_ids)], dim=1)
        logits, _ = self._forward(
            input_ids,
            attention_mask,
            row_state.cache,
            row_state.rope_deltas,
            {},
            all_positions=True,
        )
        logprobs = logits[:, -width:].float().log_softmax(-1)
        return [
            sum(float(logprobs[i, j, t[j + 1]]) for j in range(len(t) - 1))
            for i, t in enumerate(tokens)
        ]

    def _first_prefill(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        extra_inputs: dict[str, torch.Tensor],
    ) -> DecodeState:
        rope_deltas = None
        if self._rope_module is not None:
            # The model would use the value that an earlier batch left.
            self._rope_module.rope_deltas = None
            if not any(name.endswith("grid_thw") for name in extra_inputs):
                rope_deltas = attention_mask.new_zeros((len(attention_mask), 1))
        cache = preallocated_cache() if self.plain_cache else None
        logits, cache = self._forward(input_ids, attention_mask, cache, rope_deltas, extra_inputs)
        if self._rope_module is not None and rope_deltas is None:
            rope_deltas = self._rope_module.rope_deltas
        return DecodeState(cache, attention_mask, logits[:, -1], rope_deltas)

    def _forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        cache: Any,
        rope_deltas: torch.Tensor | None,
        extra_inputs: dict[str, torch.Tensor],
        *,
        all_positions: bool = False,
    ) -> tuple[torch.Tensor, Any]:
        """Return logits after the last token (or after every one), and the extended cache."""
        inputs: dict[str, Any] = {
            **extra_inputs,
            "input_ids": input_ids,
            "attention_mask": attention_mask,
        }
        if "position_ids" in self._forward_params and (
            self._rope_module is None or rope_deltas is not None
        ):
            position_ids = (attention_mask.cumsum(-1) - 1).clamp(min=0)[:, -input_ids.shape[1] :]
            inputs["position_ids"] = (
                position_ids
                if rope_deltas is None
                else (position_ids + rope_deltas)[None].expand(3, -1, -1)
            )
        if "logits_to_keep" in self._forward_params and not all_positions:
            inputs["logits_to_keep"] = 1
        out = self.model(**inputs, past_key_values=cache, use_cache=True)
        return out.logits, out.past_key_values


PrefillBatch = list[list[tuple[TokenizedRequest, ModelInputs]]]
"""Posts, each with its requests and their model inputs."""


class Prefiller:
    """Encodes the prompts of batches; keeps the state of the last instruction."""

    def __init__(self, engine: HfEngine, placeholders: frozenset[int], *, share: bool) -> None:
        """Prepare for a model.

        Args:
            engine: Runs the model.
            placeholders: Token ids that stand for an image.
            share: Encode common prefixes once.
        """
        self.engine = engine
        self.placeholders = placeholders
        self.share = share
        self._instruction: tuple[tuple[int, ...], DecodeState] | None = None

    def clear(self) -> None:
        """Free the memory of the instruction's state."""
        self._instruction = None

    def prefill(self, batch: PrefillBatch, instruction: tuple[int, ...]) -> DecodeState:
        """Encode the prompts of a batch.

        Args:
            batch: Posts, each with its rows.
            instruction: Token ids that all rows begin with.

        Returns:
            The state after all prompts, in the order of the batch's rows.
        """
        posts = [[x.ids for _, x in post] for post in batch]
        n_instruction = len(instruction)
        if any(tuple(ids[:n_instruction]) != instruction for post in posts for ids in post):
            n_instruction = 0
        shared_lengths = [self._shared_length(ids) for ids in posts] if self.share else []
        # Rows that differ before their images end cannot be encoded in pieces.
        if None in shared_lengths or (n_instruction == 0 and 0 in shared_lengths) or not self.share:
            model_inputs = [x for post in batch for _, x in post]
            return self.engine.prefill(
                [x.ids for x in model_inputs], None, self._extra_inputs(model_inputs)
            )
        extra_inputs = self._extra_inputs([post[0][1] for post in batch])
        return self._prefill_shared(
            posts, [n or 0 for n in shared_lengths], extra_inputs, instruction[:n_instruction]
        )

    def _shared_length(self, rows: list[list[int]]) -> int | None:
        """Count the tokens that rows of a post share, images included; None if images differ."""
        end = min(len(row) for row in rows) - 1
        for row in rows[1:]:
            end = min(end, chat_tokens.common_prefix_length(rows[0], row))
        return None if any(self.placeholders.intersection(row[end:]) for row in rows) else end

    def _prefill_shared(
        self,
        posts: list[list[list[int]]],
        shared_lengths: list[int],
        extra_inputs: dict[str, torch.Tensor],
        instruction: tuple[int, ...],
    ) -> DecodeState:
        n_instruction = len(instruction)
        past_state = (
            select_rows(self._instruction_state(instruction), [0] * len(posts))
            if n_instruction
            else None
        )
        if all(len(rows) == 1 for rows in posts):
            return self.engine.prefill(
                [rows[0][n_instruction:] for rows in posts], past_state, extra_inputs
            )
        middles = [
            rows[0][n_instruction:end] for rows, end in zip(posts, shared_lengths, strict=True)
        ]
        if past_state is None or any(middles):
            past_state = self.engine.prefill(middles, past_state, extra_inputs)
        post_indices = [i for i, rows in enumerate(posts) for _ in rows]
        tails = [row[end:] for rows, end in zip(posts, shared_lengths, strict=True) for row in rows]
        return self.engine.prefill(tails, select_rows(past_state, post_indices))

    def _instruction_state(self, instruction: tuple[int, ...]) -> DecodeState:
        if self._instruction is None or self._instruction[0] != instruction:
            self._instruction = instruction, self.engine.prefill([instruction])
        return self._instruction[1]

    def _extra_inputs(self, model_inputs: Sequence[ModelInputs]) -> dict[str, torch.Tensor]:
        """Return image tensors on the model's device; left-pad per-token ones like the tokens."""
        model = self.engine.model
        tensors = stack_tensors([x.tensors for x in model_inputs])
        width = max(len(x.ids) for x in model_inputs)
        for name in {n: None for x in model_inputs for n in x.per_token}:
            rows = [x.per_token.get(name, [0] * len(x.ids)) for x in model_inputs]
            tensors[name] = torch.tensor([[0] * (width - len(r)) + r for r in rows])
        if self.share:
            # A model whose prefixes can be shared needs only pixels.
            tensors = {n: t for n, t in tensors.items() if not n.endswith("token_type_ids")}
        floats = {n: t.to(model.dtype) for n, t in tensors.items() if t.is_floating_point()}
        return {n: t.to(model.device) for n, t in {**tensors, **floats}.items()}
