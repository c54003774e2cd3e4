"""Plans which posts share a batch, and builds the tensors of a batch.

The plan is a pure function of lengths, weights and seed: every process knows all of it, so that the
totals of a step need no communication and a resumed run continues where it stopped.

    sampler = EpochSampler(recipe, prepared, rank=0, processes=2)
    for step in sampler.remaining_steps(0):      # post indices
        batches = sampler.step_batches(step)     # of this process
"""

import hashlib
import itertools
import json
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from gen_msa import media
from gen_msa.backends.hf.generate import REQUEST_ERRORS
from gen_msa.errors import UserError
from gen_msa.finetuning.feature_cache import CachedFeatures
from gen_msa.finetuning.loss import FIELDS, LossWeights, StepTotals
from gen_msa.finetuning.prepare import PreparedRun
from gen_msa.finetuning.recipe import FinetuneRecipe
from gen_msa.finetuning.tokenization import PackedSequence, TokenizedExample
from gen_msa.types import Polarity

PAD_MULTIPLE = 8
"""Batches are padded to a multiple of this many tokens."""
BUCKET_STEPS = 32
"""Steps whose posts are sorted by length together."""


def epoch_steps(
    lengths: Sequence[int],
    sources: Sequence[int],
    recipe: FinetuneRecipe,
    epoch_index: int,
    processes: int = 1,
) -> list[list[int]]:
    """Return the optimiser steps of an epoch, each a list of post indices.

    A step holds `per_device_train_batch_size x gradient_accumulation_steps x processes` posts, the
    last one the remainder: no post is lost, and repetitions follow the source weights.

    Args:
        lengths: Tokens of each post.
        sources: Index of the source of each post.
        recipe: Batch size, source weights, bucketing and seed.
        epoch_index: The epoch, from 0.
        processes: How many processes train together.
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


def _resampled(sources: Sequence[int], recipe: FinetuneRecipe, rng: random.Random) -> list[int]:
    """Return post indices repeated by source weight; the fraction is drawn anew each epoch."""
    order: list[int] = []
    for source_index, data in enumerate(recipe.data):
        post_indices = [i for i, s in enumerate(sources) if s == source_index]
        repeats, fraction = divmod(data.weight, 1)
        order += post_indices * int(repeats)
        order += rng.sample(post_indices, round(fraction * len(post_indices)))
    return order


def rank_batches(
    step: Sequence[int], recipe: FinetuneRecipe, rank: int, processes: int
) -> list[list[int]]:
    """Return the batches of one process in a step, each a list of post indices.

    Every process gets the same number of batches; the last may be empty.

    Args:
        step: Post indices of the step.
        recipe: The batch size.
        rank: The process, from 0.
        processes: How many processes train together.
    """
    size = recipe.per_device_train_batch_size
    rank_posts = list(step[rank::processes])
    posts_per_rank = -(-len(step) // processes)
    return [rank_posts[start : start + size] for start in range(0, posts_per_rank, size)]


@dataclass
class TrainingBatch:
    """The inputs of a forward pass and the targets of its answer tokens, `n` in all."""

    inputs: dict[str, Any]
    sequences: torch.Tensor
    label_positions: torch.Tensor
    """Shape (n,): position `label_positions[i]` of sequence `sequences[i]` predicts token i."""
    targets: torch.Tensor
    weights: torch.Tensor
    fields: torch.Tensor
    soft_ids: torch.Tensor
    """Shape (n, 3): candidate tokens of a teacher."""
    soft_weights: torch.Tensor
    """Shape (n, 3): weight x probability of each; 0 without a teacher."""
    names: tuple[str, ...]
    """Rows of the batch, for messages."""
    tokens: int
    """Tokens without padding."""
    cached_features: CachedFeatures | None = None
    """Cached outputs of the vision encoder, if the feature cache is used."""

    def to(self, device: Any) -> "TrainingBatch":
        """Return the batch on a device."""
        tensors = {
            k: v.to(device, non_blocking=True)
            for k, v in vars(self).items()
            if isinstance(v, torch.Tensor)
        }
        inputs = {k: v.to(device, non_blocking=True) for k, v in self.inputs.items()}
        return TrainingBatch(**{**vars(self), **tensors, "inputs": inputs})


def collate(
    sequences: Sequence[PackedSequence],
    images: dict[str, torch.Tensor],
    loss_weights: LossWeights,
    totals: StepTotals,
    *,
    pad: int,
    positions: bool,
    dtype: torch.dtype = torch.float32,
) -> TrainingBatch:
    """Build one batch of sequences, right-padded.

    Args:
        sequences: The sequences, in order.
        images: Image inputs of all of them, as the processor makes them.
        loss_weights: Weights of the answer tokens.
        totals: Totals of the optimiser step, for those weights.
        pad: The padding token.
        positions: Whether the model takes `position_ids`; else it computes its own.
        dtype: Dtype of a block mask: the one that attention is computed in.

    Returns:
        Inputs of shape (sequences, width), where `width` is the longest sequence rounded up to a
        multiple of `PAD_MULTIPLE`, and targets, weights and fields of all answer tokens.
    """
    # Few widths: kernels are compiled and cached per shape.
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
    sequences: Sequence[PackedSequence], width: int, dtype: torch.dtype = torch.float32
) -> torch.Tensor:
    """Return an additive attention mask of shape (sequences, 1, width, width).

    It is 0 where a token may attend and the least value of `dtype` elsewhere. A token attends to
    what precedes it in the shared prefix and in its own branch. Padding attends to itself, so that
    no row of the softmax is empty.

    Args:
        sequences: Packed sequences of at most `width` tokens.
        width: Padded length.
        dtype: Dtype of the mask.
    """
    segments = torch.tensor([[*s.segments, *[-1] * (width - len(s.ids))] for s in sequences])
    query_segments, key_segments = segments[:, :, None], segments[:, None, :]
    causal = torch.ones(width, width, dtype=torch.bool).tril()
    allowed = (
        causal & ((key_segments == query_segments) | (key_segments == 0)) & (query_segments >= 0)
    )
    allowed |= torch.eye(width, dtype=torch.bool)
    mask = torch.zeros(allowed.shape, dtype=dtype)
    mask = mask.masked_fill(~allowed, torch.finfo(dtype).min)
    return mask[:, None]


def _answer_tensors(
    sequences: Sequence[PackedSequence], loss_weights: LossWeights, totals: StepTotals
) -> dict[str, torch.Tensor]:
    positions: list[tuple[int, int, int]] = []
    weights: list[float] = []
    fields: list[int] = []
    soft_entries: list[tuple[int, tuple[tuple[int, float], ...], TokenizedExample]] = []
    for i, sequence in enumerate(sequences):
        for row, (start, end) in zip(sequence.rows, sequence.answers, strict=True):
            soft_entries += [
                (len(positions) + index, candidates, row) for index, candidates in row.soft_targets
            ]
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
        "sequences": table[:, 0],
        "label_positions": table[:, 1],
        "targets": table[:, 2],
        "weights": torch.tensor(weights),
        "fields": torch.tensor(fields),
        "soft_ids": soft_ids,
        "soft_weights": soft_weights,
    }


def rows_in(sequences: Sequence[PackedSequence]) -> list[TokenizedExample]:
    """Return every row of some sequences."""
    return [row for sequence in sequences for row in sequence.rows]


class EpochSampler:
    """The plan of a run, as one of its processes sees it.

    Args:
        recipe: The recipe of the run.
        prepared: The tokenized training data.
        rank: The process, from 0.
        processes: How many processes train together.
        positions: See `collate`.
        dtype: See `collate`.

    Raises:
        UserError: If the source weights leave no post for an epoch.
    """

    def __init__(
        self,
        recipe: FinetuneRecipe,
        prepared: PreparedRun,
        *,
        rank: int = 0,
        processes: int = 1,
        positions: bool = True,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.recipe = recipe
        self.prepared = prepared
        self.rank = rank
        self.processes = processes
        self._positions = positions
        self._dtype = dtype
        self.epoch_steps = len(self._epoch_steps(0))
        """Optimiser steps of an epoch; the same in every epoch."""
        if not self.epoch_steps:
            raise UserError(
                "the weights of the sources leave no post for an epoch",
                hint="raise data.0.weight: 1 takes each post once per epoch",
            )
        self.steps = self._total_steps()
        """Optimiser steps of the run."""

    def remaining_steps(self, steps_done: int) -> Iterator[list[int]]:
        """Yield the steps after the first `steps_done`, each a list of post indices."""
        epochs = (self._epoch_steps(n) for n in itertools.count(steps_done // self.epoch_steps))
        all_steps = itertools.chain.from_iterable(epochs)
        yield from itertools.islice(
            all_steps, steps_done % self.epoch_steps, self._end_step(steps_done)
        )

    def longest_batch(self) -> list[int]:
        """Return the posts of the longest batch that all processes could get in one pass."""
        lengths = self.prepared.lengths
        order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
        return order[: self.recipe.per_device_train_batch_size * self.processes]

    def step_batches(self, step: list[int]) -> list[TrainingBatch]:
        """Return the batches of this process for a step, weighted against the whole step.

        A process without posts gets a batch of weight zero, so that all make as many passes.
        """
        p = self.prepared
        totals = p.loss_weights.step_totals(
            [r for i in step for sequence in p.sequences[i] for r in sequence.rows]
        )
        rank_posts = rank_batches(step, self.recipe, self.rank, self.processes)
        return [
            self._make_batch(posts or step[:1], totals, real=bool(posts)) for posts in rank_posts
        ]

    def fingerprint(self) -> str:
        """Return a hash of the rows and their lengths, which all processes must share."""
        p = self.prepared
        rows = [[r.example.name, len(r.ids)] for post in p.sequences for s in post for r in s.rows]
        text = json.dumps([rows, p.sources, p.lengths, sorted(p.skipped)])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def _epoch_steps(self, epoch_index: int) -> list[list[int]]:
        p = self.prepared
        return epoch_steps(p.lengths, p.sources, self.recipe, epoch_index, self.processes)

    def _end_step(self, steps_done: int) -> int:
        """Return the last step of the run, counted from the epoch of `steps_done`."""
        return self.steps - steps_done // self.epoch_steps * self.epoch_steps

    def _total_steps(self) -> int:
        if self.recipe.max_steps > 0:
            return self.recipe.max_steps
        return max(math.ceil(self.epoch_steps * self.recipe.num_train_epochs), 1)

    def _make_batch(self, posts: list[int], totals: StepTotals, *, real: bool) -> TrainingBatch:
        """Build the posts as one batch; it has weight zero unless `real`."""
        p = self.prepared
        sequences = [sequence for i in posts for sequence in p.sequences[i]]
        try:
            images, cached = p.image_inputs(sequences)
        except (*REQUEST_ERRORS, media.ImageError, OSError) as e:
            names = ", ".join(r.example.name for r in rows_in(sequences)[:8])
            raise UserError(
                f"an image that was readable at the start cannot be read any more: {e} ({names})",
                hint="restore it and run again: training resumes from the last checkpoint",
            ) from None
        batch = collate(
            sequences,
            images,
            p.loss_weights,
            totals,
            pad=p.example_tokenizer.pad,
            positions=self._positions,
            dtype=self._dtype,
        )
        batch.cached_features = cached
        if not real:
            batch.weights.zero_()
            batch.soft_weights.zero_()
            batch.names, batch.tokens = (), 0
        return batch
