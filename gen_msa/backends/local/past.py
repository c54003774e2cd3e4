"""What a batch has read so far: its keys and values, which of them count, and the next scores.

`RoomyLayer` writes new tokens into room kept free, where transformers' own layer copies all of the
past at every token. Rows can be picked out, repeated, and put together with rows of another batch.
Knows no model.

    half = select(state, [0, 2])
    both = merge([half, other])        # plain caches only
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicLayer, DynamicSlidingWindowLayer

PREALLOCATED_TOKENS = 64
"""Tokens of room made at a time."""


@dataclass
class DecodeState:
    """A batch in mid-answer."""

    cache: Any
    attention_mask: torch.Tensor
    """`(rows, tokens so far)`; 0 where a row is padded."""
    logits: torch.Tensor
    """`(rows, vocabulary)`: scores of the next token."""
    rope_deltas: torch.Tensor | None = None
    """`(rows, 1)` by which picture tokens move the text's positions, where a family has that."""


class PreallocatedCacheLayer(DynamicLayer):  # type: ignore[misc]
    """Keys and values of one layer, `(rows, heads, tokens, width)`, with room for more tokens."""

    _buffers: tuple[torch.Tensor, torch.Tensor] | None = None

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append tokens; returns all keys and values."""
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
        """Take these as the whole past."""
        self.keys, self.values = keys, values
        self.dtype, self.device = keys.dtype, keys.device
        self.is_initialized = True

    def reorder_cache(self, beam_idx: torch.Tensor) -> None:
        """Keep the given rows, in the given order, in memory of their own."""
        self._buffers = None
        self.set_kv(self.keys.index_select(0, beam_idx), self.values.index_select(0, beam_idx))


def preallocated_cache() -> Any:
    """An empty cache for a model whose layers all keep a plain past."""
    return Cache(layer_class_to_replicate=PreallocatedCacheLayer)


def select_rows(state: DecodeState, rows: Sequence[int]) -> DecodeState:
    """A new state of the given rows, in that order, repeats allowed; the old one stays."""
    index = torch.tensor(list(rows), device=state.attention_mask.device)
    cache = _copy_cache(state.cache)
    for layer in cache.layers:
        layer.reorder_cache(index.to(getattr(layer, "device", None) or index.device))
    rope_deltas = None if state.rope_deltas is None else state.rope_deltas[index]
    return DecodeState(cache, state.attention_mask[index], state.logits[index], rope_deltas)


def merge_states(states: Sequence[DecodeState]) -> DecodeState:
    """Rows of several states of roomy caches as one, with all padding moved to the left and cut.

    Keys carry their positions with them, so where they lie in the cache is of no matter.
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
    """`(rows, width)` places of the past, those that count last and in order."""
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
    """A cache whose rows can be reordered without touching the old one's tensors."""
    copyable_types = (DynamicLayer, DynamicSlidingWindowLayer, PreallocatedCacheLayer)
    if any(type(layer) not in copyable_types for layer in cache.layers):
        return copy.deepcopy(cache)
    copied = copy.copy(cache)
    copied.layers = [copy.copy(layer) for layer in cache.layers]
    return copied
