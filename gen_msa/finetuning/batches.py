"""Which posts meet in a batch, and the tensors of a batch.

The plan is a pure function of lengths, weights and seed: every process knows the whole of it, which
makes the totals of a step known without talking and lets a resumed run go on where it stopped.

    plan(lengths, sources, recipe, processes=2)     # for each epoch its steps, each a list of posts
"""

import random
from collections.abc import Sequence as Many
from dataclasses import dataclass
from typing import Any

import torch

from gen_msa.finetuning.branches import Sequence
from gen_msa.finetuning.encode import Encoded
from gen_msa.finetuning.loss import FIELDS, Totals, Weigher
from gen_msa.finetuning.recipe import Recipe
from gen_msa.finetuning.vision import Recalled
from gen_msa.types import Polarity

EVEN = 8
"""Batches are padded to a multiple of so many tokens."""
BUCKET = 32
"""Batches whose posts are sorted by length together."""


def epoch(
    lengths: Many[int], sources: Many[int], recipe: Recipe, number: int, processes: int = 1
) -> list[list[int]]:
    """The optimiser steps of epoch `number`, each a list of indices into the posts.

    `lengths[i]` is the tokens of post i and `sources[i]` the source it came from. A step holds
    `per_device_train_batch_size x gradient_accumulation_steps x processes` posts, the last one what
    is left: none is lost, none comes twice but by its source's weight.
    """
    rng = random.Random(f"{recipe.seed}/{number}")
    order = _drawn(sources, recipe, rng)
    rng.shuffle(order)
    size = recipe.per_device_train_batch_size * recipe.gradient_accumulation_steps * processes
    if recipe.levers.bucketing:
        many = size * BUCKET
        chunks = [order[at : at + many] for at in range(0, len(order), many)]
        order = [i for c in chunks for i in sorted(c, key=lambda i: (-lengths[i], i))]
    steps = [order[at : at + size] for at in range(0, len(order), size)]
    if recipe.levers.bucketing:
        rng.shuffle(steps)
    return steps


def _drawn(sources: Many[int], recipe: Recipe, rng: random.Random) -> list[int]:
    """Every post as often as its source's weight says; the fraction is drawn anew each epoch."""
    order: list[int] = []
    for number, data in enumerate(recipe.data):
        own = [i for i, s in enumerate(sources) if s == number]
        whole, part = divmod(data.weight, 1)
        order += own * int(whole)
        order += rng.sample(own, round(part * len(own)))
    return order


def share(step: Many[int], recipe: Recipe, rank: int, processes: int) -> list[list[int]]:
    """The batches of one process in a step: its posts, cut into batches of the device's size.

    Every process gets the same number of batches; the last may be empty.
    """
    size = recipe.per_device_train_batch_size
    mine = list(step[rank::processes])
    most = -(-len(step) // processes)
    return [mine[at : at + size] for at in range(0, most, size)]


@dataclass
class Batch:
    """What the model is given, and what its answer is held against."""

    inputs: dict[str, Any]
    lines: torch.Tensor
    places: torch.Tensor
    """Token `places[i]` of line `lines[i]` tells answer token i."""
    targets: torch.Tensor
    weights: torch.Tensor
    fields: torch.Tensor
    soft_ids: torch.Tensor
    """[answer tokens, 3]: tokens that a teacher holds possible there."""
    soft_weights: torch.Tensor
    """[answer tokens, 3]: weight x probability of each; 0 where it says nothing."""
    names: tuple[str, ...]
    """Rows of the batch, for errors."""
    tokens: int
    """Tokens that are not padding."""
    recalled: Recalled | None = None
    """What the vision tower said of its pictures, when that is remembered."""

    def to(self, device: Any) -> "Batch":
        """The batch on a device."""
        moved = {
            k: v.to(device, non_blocking=True)
            for k, v in vars(self).items()
            if isinstance(v, torch.Tensor)
        }
        inputs = {k: v.to(device, non_blocking=True) for k, v in self.inputs.items()}
        return Batch(**{**vars(self), **moved, "inputs": inputs})


def collate(
    lines: Many[Sequence],
    pictures: dict[str, torch.Tensor],
    weigher: Weigher,
    totals: Totals,
    *,
    pad: int,
    positions: bool,
    dtype: torch.dtype = torch.float32,
) -> Batch:
    """One batch of lines, right-padded; `pictures` are the pixels of all its lines.

    `positions`: whether the model takes `position_ids` (else it makes its own). `dtype` is that of
    a block mask: the one attention is computed in.
    """
    # Few widths: kernels are made, and kept, for each shape there is.
    width = -(-max(len(s.ids) for s in lines) // EVEN) * EVEN
    ids = torch.tensor([[*s.ids, *[pad] * (width - len(s.ids))] for s in lines])
    inputs: dict[str, Any] = {"input_ids": ids, **pictures}
    for name in dict.fromkeys(n for s in lines for n in s.aligned):
        found = [s.aligned.get(name, (0,) * len(s.ids)) for s in lines]
        inputs[name] = torch.tensor([[*v, *[0] * (width - len(v))] for v in found])
    if any(s.branched for s in lines):
        inputs["attention_mask"] = block_mask(lines, width, dtype)
    else:
        inputs["attention_mask"] = torch.tensor(
            [[1] * len(s.ids) + [0] * (width - len(s.ids)) for s in lines]
        )
    if positions:
        inputs["position_ids"] = torch.tensor(
            [[*s.positions, *[0] * (width - len(s.ids))] for s in lines]
        )
    return Batch(
        inputs,
        **_answers(lines, weigher, totals),
        names=tuple(r.row.name for s in lines for r in s.rows),
        tokens=sum(len(s.ids) for s in lines),
    )


def block_mask(
    lines: Many[Sequence], width: int, dtype: torch.dtype = torch.float32
) -> torch.Tensor:
    """[lines, 1, width, width], 0 where a token may look and the least float elsewhere.

    A token sees what stands before it in the shared part and in its own branch. Padding sees
    itself, so that no row of the softmax is empty.
    """
    segments = torch.tensor([[*s.segments, *[-1] * (width - len(s.ids))] for s in lines])
    asks, told = segments[:, :, None], segments[:, None, :]
    causal = torch.ones(width, width, dtype=torch.bool).tril()
    allowed = causal & ((told == asks) | (told == 0)) & (asks >= 0)
    allowed |= torch.eye(width, dtype=torch.bool)
    mask = torch.zeros(allowed.shape, dtype=dtype)
    mask = mask.masked_fill(~allowed, torch.finfo(dtype).min)
    return mask[:, None]


def _answers(lines: Many[Sequence], weigher: Weigher, totals: Totals) -> dict[str, torch.Tensor]:
    where: list[tuple[int, int, int]] = []
    weights: list[float] = []
    fields: list[int] = []
    soft: list[tuple[int, tuple[tuple[int, float], ...], Encoded]] = []
    for i, line in enumerate(lines):
        for row, (start, end) in zip(line.rows, line.answers, strict=True):
            soft += [(len(where) + at, one, row) for at, one in row.soft]
            where += [(i, at - 1, line.ids[at]) for at in range(start, end)]
            weights += weigher.weights(row, totals)
            fields += [FIELDS.index(f) for f in row.fields]
    table = torch.tensor(where)
    soft_ids = torch.zeros((len(where), len(Polarity)), dtype=torch.long)
    soft_weights = torch.zeros(soft_ids.shape)
    for at, thought, row in soft:
        for k, (token, mass) in enumerate(thought):
            soft_ids[at, k] = token
            soft_weights[at, k] = weigher.soft_weight(row, totals) * mass
    return {
        "lines": table[:, 0],
        "places": table[:, 1],
        "targets": table[:, 2],
        "weights": torch.tensor(weights),
        "fields": torch.tensor(fields),
        "soft_ids": soft_ids,
        "soft_weights": soft_weights,
    }


def rows_of(lines: Many[Sequence]) -> list[Encoded]:
    """Every row of some lines."""
    return [row for line in lines for row in line.rows]
