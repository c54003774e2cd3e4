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

ROOM = 64
"""Tokens of room made at a time."""


@dataclass
class State:
    """A batch in mid-answer."""

    cache: Any
    mask: torch.Tensor
    """`(rows, tokens so far)`; 0 where a row is padded."""
    logits: torch.Tensor
    """`(rows, vocabulary)`: scores of the next token."""
    shift: torch.Tensor | None = None
    """`(rows, 1)` by which picture tokens move the text's positions, where a family has that."""


class RoomyLayer(DynamicLayer):  # type: ignore[misc]
    """Keys and values of one layer, `(rows, heads, tokens, width)`, with room for more tokens."""

    _room: tuple[torch.Tensor, torch.Tensor] | None = None

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append tokens; returns all keys and values."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        old = self.get_seq_length()
        end = old + key_states.shape[-2]
        if self._room is None or self._room[0].shape[-2] < end:
            self._room = (
                _roomier(self.keys, key_states, old, end + ROOM),
                _roomier(self.values, value_states, old, end + ROOM),
            )
        keys, values = self._room
        keys[:, :, old:end] = key_states
        values[:, :, old:end] = value_states
        self.hold(keys[:, :, :end], values[:, :, :end])
        return self.keys, self.values

    def hold(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Take these as the whole past."""
        self.keys, self.values = keys, values
        self.dtype, self.device = keys.dtype, keys.device
        self.is_initialized = True

    def reorder_cache(self, beam_idx: torch.Tensor) -> None:
        """Keep the given rows, in the given order, in memory of their own."""
        self._room = None
        self.hold(self.keys.index_select(0, beam_idx), self.values.index_select(0, beam_idx))


def roomy_cache() -> Any:
    """An empty cache for a model whose layers all keep a plain past."""
    return Cache(layer_class_to_replicate=RoomyLayer)


def select(state: State, rows: Sequence[int]) -> State:
    """A new state of the given rows, in that order, repeats allowed; the old one stays."""
    index = torch.tensor(list(rows), device=state.mask.device)
    cache = _fork(state.cache)
    for layer in cache.layers:
        layer.reorder_cache(index.to(getattr(layer, "device", None) or index.device))
    shift = None if state.shift is None else state.shift[index]
    return State(cache, state.mask[index], state.logits[index], shift)


def merge(states: Sequence[State]) -> State:
    """Rows of several states of roomy caches as one, with all padding moved to the left and cut.

    Keys carry their positions with them, so where they lie in the cache is of no matter.
    """
    width = max(int(s.mask.sum(dim=1).max()) for s in states)
    orders = [_counted_last(s.mask, width) for s in states]
    cache = roomy_cache()
    for layers in zip(*(s.cache.layers for s in states), strict=True):
        layer = RoomyLayer()
        layer.hold(
            torch.cat([_moved(x.keys, o) for x, o in zip(layers, orders, strict=True)]),
            torch.cat([_moved(x.values, o) for x, o in zip(layers, orders, strict=True)]),
        )
        cache.layers.append(layer)
    counts = torch.cat([s.mask.sum(dim=1, keepdim=True) for s in states])
    places = torch.arange(width, device=counts.device)[None]
    mask = (places >= width - counts).long()
    return State(cache, mask, torch.cat([s.logits for s in states]))


def _counted_last(mask: torch.Tensor, width: int) -> torch.Tensor:
    """`(rows, width)` places of the past, those that count last and in order."""
    order = mask.argsort(dim=1, stable=True)[:, -width:]
    missing = width - order.shape[1]
    return torch.cat([order[:, :1].expand(-1, missing), order], dim=1) if missing else order


def _moved(past: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    index = order[:, None, :, None].expand(-1, past.shape[1], -1, past.shape[3])
    return past.gather(2, index)


def _roomier(past: torch.Tensor, new: torch.Tensor, old: int, size: int) -> torch.Tensor:
    room = new.new_empty((*new.shape[:2], size, new.shape[3]))
    if old:
        room[:, :, :old] = past
    return room


def _fork(cache: Any) -> Any:
    """A cache whose rows can be reordered without touching the old one's tensors."""
    safe = (DynamicLayer, DynamicSlidingWindowLayer, RoomyLayer)
    if any(type(layer) not in safe for layer in cache.layers):
        return copy.deepcopy(cache)
    new = copy.copy(cache)
    new.layers = [copy.copy(layer) for layer in cache.layers]
    return new
