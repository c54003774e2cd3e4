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

from gen_msa.finetuning.branches import PackedSequence
from gen_msa.finetuning.encode import TokenizedExample
from gen_msa.finetuning.loss import FIELDS, StepTotals, LossWeights
from gen_msa.finetuning.recipe import FinetuneRecipe
from gen_msa.finetuning.vision import CachedFeatures
from gen_msa.types import Polarity

PAD_MULTIPLE = 8
"""Batches are padded to a multiple of so many tokens."""
BUCKET_STEPS = 32
"""Batches whose posts are sorted by length together."""


def epoch_steps(
    lengths: Many[int], sources: Many[int], recipe: FinetuneRecipe, epoch_index: int, processes: int = 1
) -> list[list[int]]:
    """The optimiser steps of epoch `number`, each a list of indices into the posts.

    `lengths[i]` is the tokens of post i and `sources[i]` the source it came from. A step holds
    `per_device_train_batch_size x gradient_accumulation_steps x processes` posts, the last one what
    is left: none is lost, none comes twice but by its source's weight.
    """
    rng = random.Random(f"{recipe.seed}/{epoch_index}")
    order = _resampled(sources, recipe, rng)
    rng.shuffle(order)
    size = recipe.per_device_train_batch_size * recipe.gradient_accumulation_steps * processes
    if recipe.optimizations.bucketing:
        bucket_size = size * BUCKET_STEPS
        chunks = [order[start : start + bucket_size] for start in range(0, len(order), bucket_size)]
        order = [i for c in chunks for i in sorted(c, key=lambda i: (-lengths[i], i))]
    steps = [order[start : start + size] for start in range(0, len(order), size)]
    if recipe.optimizations.bucketing:
        rng.shuffle(steps)
    return steps


def _resampled(sources: Many[int], recipe: FinetuneRecipe, rng: random.Random) -> list[int]:
    """Every post as often as its source's weight says; the fraction is drawn anew each epoch."""
    order: list[int] = []
    for source_index, data in enumerate(recipe.data):
        post_indices = [i for i, s in enumerate(sources) if s == source_index]
        repeats, fraction = divmod(data.weight, 1)
        order += post_indices * int(repeats)
        order += rng.sample(post_indices, round(fraction * len(post_indices)))
    return order


def rank_batches(step: Many[int], recipe: FinetuneRecipe, rank: int, processes: int) -> list[list[int]]:
    """The batches of one process in a step: its posts, cut into batches of the device's size.

    Every process gets the same number of batches; the last may be empty.
    """
    size = recipe.per_device_train_batch_size
    rank_posts = list(step[rank::processes])
    posts_per_rank = -(-len(step) // processes)
    return [rank_posts[start : start + size] for start in range(0, posts_per_rank, size)]


@dataclass
class TrainingBatch:
    """What the model is given, and what its answer is held against."""

    inputs: dict[str, Any]
    sequences: torch.Tensor
    label_positions: torch.Tensor
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
    cached_features: CachedFeatures | None = None
    """What the vision tower said of its pictures, when that is remembered."""

    def to(self, device: Any) -> "TrainingBatch":
        """The batch on a device."""
        tensors = {
            k: v.to(device, non_blocking=True)
            for k, v in vars(self).items()
            if isinstance(v, torch.Tensor)
        }
        inputs = {k: v.to(device, non_blocking=True) for k, v in self.inputs.items()}
        return TrainingBatch(**{**vars(self), **tensors, "inputs": inputs})


def collate(
    sequences: Many[PackedSequence],
    images: dict[str, torch.Tensor],
    loss_weights: LossWeights,
    totals: StepTotals,
    *,
    pad: int,
    positions: bool,
    dtype: torch.dtype = torch.float32,
) -> TrainingBatch:
    """One batch of lines, right-padded; `pictures` are the pixels of all its lines.

    `positions`: whether the model takes `position_ids` (else it makes its own). `dtype` is that of
    a block mask: the one attention is computed in.
    """
    # Few widths: kernels are made, and kept, for each shape there is.
    width = -(-max(len(s.ids) for s in sequences) // PAD_MULTIPLE) * PAD_MULTIPLE
    ids = torch.tensor([[*s.ids, *[pad] * (width - len(s.ids))] for s in sequences])
    inputs: dict[str, Any] = {"input_ids": ids, **images}
    for name in dict.fromkeys(n for s in sequences for n in s.aligned):
        values = [s.aligned.get(name, (0,) * len(s.ids)) for s in sequences]
        inputs[name] = torch.tensor([[*v, *[0] * (width - len(v))] for v in values])
    if any(s.is_packed for s in sequences):
        inputs["attention_mask"] = block_mask(sequences, width, dtype)
    else:
        inputs["attention_mask"] = torch.tensor(
            [[1] * len(s.ids) + [0] * (width - len(s.ids)) for s in sequences]
        )
    if positions:
        inputs["position_ids"] = torch.tensor(
            [[*s.positions, *[0] * (width - len(s.ids))] for s in sequences]
        )
    return TrainingBatch(
        inputs,
        **_answer_tensors(sequences, loss_weights, totals),
        names=tuple(r.example.name for s in sequences for r in s.rows),
        tokens=sum(len(s.ids) for s in sequences),
    )


def block_mask(
    sequences: Many[PackedSequence], width: int, dtype: torch.dtype = torch.float32
) -> torch.Tensor:
    """[lines, 1, width, width], 0 where a token may look and the least float elsewhere.

    A token sees what stands before it in the shared part and in its own branch. Padding sees
    itself, so that no row of the softmax is empty.
    """
    segments = torch.tensor([[*s.segments, *[-1] * (width - len(s.ids))] for s in sequences])
    query_segments, key_segments = segments[:, :, None], segments[:, None, :]
    causal = torch.ones(width, width, dtype=torch.bool).tril()
    allowed = causal & ((key_segments == query_segments) | (key_segments == 0)) & (query_segments >= 0)
    allowed |= torch.eye(width, dtype=torch.bool)
    mask = torch.zeros(allowed.shape, dtype=dtype)
    mask = mask.masked_fill(~allowed, torch.finfo(dtype).min)
    return mask[:, None]


def _answer_tensors(sequences: Many[PackedSequence], loss_weights: LossWeights, totals: StepTotals) -> dict[str, torch.Tensor]:
    positions: list[tuple[int, int, int]] = []
    weights: list[float] = []
    fields: list[int] = []
    soft_entries: list[tuple[int, tuple[tuple[int, float], ...], TokenizedExample]] = []
    for i, sequence in enumerate(sequences):
        for row, (start, end) in zip(sequence.rows, sequence.answers, strict=True):
            soft_entries += [(len(positions) + index, candidates, row) for index, candidates in row.soft_targets]
            positions += [(i, index - 1, sequence.ids[index]) for index in range(start, end)]
            weights += loss_weights.token_weights(row, totals)
            fields += [FIELDS.index(f) for f in row.fields]
    table = torch.tensor(positions)
    soft_ids = torch.zeros((len(positions), len(Polarity)), dtype=torch.long)
    soft_weights = torch.zeros(soft_ids.shape)
    for index, distribution, row in soft_entries:
        for k, (token, mass) in enumerate(distribution):
            soft_ids[index, k] = token
            soft_weights[index, k] = loss_weights.soft_weight(row, totals) * mass
    return {
        "lines": table[:, 0],
        "places": table[:, 1],
        "targets": table[:, 2],
        "weights": torch.tensor(weights),
        "fields": torch.tensor(fields),
        "soft_ids": soft_ids,
        "soft_weights": soft_weights,
    }


def rows_in(sequences: Many[PackedSequence]) -> list[TokenizedExample]:
    """Every row of some lines."""
    return [row for sequence in sequences for row in sequence.rows]
