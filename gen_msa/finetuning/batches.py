"""Which posts meet in a batch, and the tensors of a batch.

The plan is a pure function of lengths, weights and seed: every process knows the whole of it, which
makes the totals of a step known without talking and lets a resumed run go on where it stopped.

    plan(lengths, sources, recipe, processes=2)     # for each epoch its steps, each a list of posts
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
from gen_msa.finetuning.prefix_packing import PackedSequence
from gen_msa.finetuning.prepare import PreparedRun
from gen_msa.finetuning.recipe import FinetuneRecipe
from gen_msa.finetuning.tokenization import TokenizedExample
from gen_msa.types import Polarity

PAD_MULTIPLE = 8
"""Batches are padded to a multiple of so many tokens."""
BUCKET_STEPS = 32
"""Batches whose posts are sorted by length together."""


def epoch_steps(
    lengths: Sequence[int],
    sources: Sequence[int],
    recipe: FinetuneRecipe,
    epoch_index: int,
    processes: int = 1,
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


def _resampled(sources: Sequence[int], recipe: FinetuneRecipe, rng: random.Random) -> list[int]:
    """Every post as often as its source's weight says; the fraction is drawn anew each epoch."""
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
    sequences: Sequence[PackedSequence],
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
    sequences: Sequence[PackedSequence], width: int, dtype: torch.dtype = torch.float32
) -> torch.Tensor:
    """[lines, 1, width, width], 0 where a token may look and the least float elsewhere.

    A token sees what stands before it in the shared part and in its own branch. Padding sees
    itself, so that no row of the softmax is empty.
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
    """Every row of some lines."""
    return [row for sequence in sequences for row in sequence.rows]


# Which posts are learned at which step, and the batches that one process makes of a step.


class EpochSampler:
    """The plan of a run, seen from one of its processes."""

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
        """`positions` and `dtype` are what `collate` takes.

        Raises `UserError` when the sources' weights leave no post to an epoch.
        """
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
                "the weights of the sources leave no post to learn from",
                hint="raise data.0.weight: 1 takes each post once an epoch",
            )
        self.steps = self._total_steps()
        """Optimiser steps of the run."""

    def remaining_steps(self, steps_done: int) -> Iterator[list[int]]:
        """The steps that are left after `done` of them, each a list of posts."""
        epochs = (self._epoch_steps(n) for n in itertools.count(steps_done // self.epoch_steps))
        all_steps = itertools.chain.from_iterable(epochs)
        yield from itertools.islice(
            all_steps, steps_done % self.epoch_steps, self._end_step(steps_done)
        )

    def longest_batch(self) -> list[int]:
        """The posts of the longest batch that every process could meet at once."""
        lengths = self.prepared.lengths
        order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
        return order[: self.recipe.per_device_train_batch_size * self.processes]

    def step_batches(self, step: list[int]) -> list[TrainingBatch]:
        """This process's batches of a step, weighed against the whole of it.

        A process that has no post left makes a batch that weighs nothing, to keep step.
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
        """Hash of what every process must have alike: the rows, in order, and their lengths."""
        p = self.prepared
        rows = [[r.example.name, len(r.ids)] for post in p.sequences for s in post for r in s.rows]
        text = json.dumps([rows, p.sources, p.lengths, sorted(p.skipped)])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def _epoch_steps(self, epoch_index: int) -> list[list[int]]:
        p = self.prepared
        return epoch_steps(p.lengths, p.sources, self.recipe, epoch_index, self.processes)

    def _end_step(self, steps_done: int) -> int:
        """Where the run ends, in steps counted from the epoch that `done` falls into."""
        return self.steps - steps_done // self.epoch_steps * self.epoch_steps

    def _total_steps(self) -> int:
        if self.recipe.max_steps > 0:
            return self.recipe.max_steps
        return max(math.ceil(self.epoch_steps * self.recipe.num_train_epochs), 1)

    def _make_batch(self, posts: list[int], totals: StepTotals, *, real: bool) -> TrainingBatch:
        """The posts as one batch; with `real` off it weighs nothing."""
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
