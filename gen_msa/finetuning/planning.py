"""Which posts are learned at which step, and the batches that one process makes of a step.

Every process holds the same plan and its own place in it. Knows no model and no optimiser.

    planner = Planner(recipe, prepared, rank=0, processes=2)
    for step in planner.left(done=0): planner.batches(step)
"""

import hashlib
import itertools
import json
import math
from collections.abc import Iterator

import torch

from gen_msa import media
from gen_msa.backends.local.session import REQUEST_ERRORS
from gen_msa.errors import UserError
from gen_msa.finetuning import batches
from gen_msa.finetuning.batches import TrainingBatch
from gen_msa.finetuning.loss import StepTotals
from gen_msa.finetuning.preparing import PreparedRun
from gen_msa.finetuning.recipe import FinetuneRecipe


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
        yield from itertools.islice(all_steps, steps_done % self.epoch_steps, self._end_step(steps_done))

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
        totals = p.loss_weights.step_totals([r for i in step for sequence in p.sequences[i] for r in sequence.rows])
        rank_posts = batches.rank_batches(step, self.recipe, self.rank, self.processes)
        return [self._make_batch(posts or step[:1], totals, real=bool(posts)) for posts in rank_posts]

    def fingerprint(self) -> str:
        """Hash of what every process must have alike: the rows, in order, and their lengths."""
        p = self.prepared
        rows = [[r.example.name, len(r.ids)] for post in p.sequences for s in post for r in s.rows]
        text = json.dumps([rows, p.sources, p.lengths, sorted(p.skipped)])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def _epoch_steps(self, epoch_index: int) -> list[list[int]]:
        p = self.prepared
        return batches.epoch_steps(p.lengths, p.sources, self.recipe, epoch_index, self.processes)

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
            names = ", ".join(r.example.name for r in batches.rows_in(sequences)[:8])
            raise UserError(
                f"a picture that was there at the start cannot be read any more: {e} ({names})",
                hint="put it back and run again: it goes on from the last checkpoint",
            ) from None
        batch = batches.collate(
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
