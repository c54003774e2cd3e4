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
from gen_msa.backends.local.session import BAD_REQUEST
from gen_msa.errors import UserError
from gen_msa.finetuning import batches
from gen_msa.finetuning.batches import Batch
from gen_msa.finetuning.loss import Totals
from gen_msa.finetuning.preparing import Prepared
from gen_msa.finetuning.recipe import Recipe


class Planner:
    """The plan of a run, seen from one of its processes."""

    def __init__(
        self,
        recipe: Recipe,
        prepared: Prepared,
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
        self.epoch_steps = len(self._epoch(0))
        """Optimiser steps of an epoch; the same in every epoch."""
        if not self.epoch_steps:
            raise UserError(
                "the weights of the sources leave no post to learn from",
                mend="raise data.0.weight: 1 takes each post once an epoch",
            )
        self.steps = self._count()
        """Optimiser steps of the run."""

    def left(self, done: int) -> Iterator[list[int]]:
        """The steps that are left after `done` of them, each a list of posts."""
        epochs = (self._epoch(n) for n in itertools.count(done // self.epoch_steps))
        whole = itertools.chain.from_iterable(epochs)
        yield from itertools.islice(whole, done % self.epoch_steps, self._after(done))

    def longest(self) -> list[int]:
        """The posts of the longest batch that every process could meet at once."""
        lengths = self.prepared.lengths
        order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
        return order[: self.recipe.per_device_train_batch_size * self.processes]

    def batches(self, step: list[int]) -> list[Batch]:
        """This process's batches of a step, weighed against the whole of it.

        A process that has no post left makes a batch that weighs nothing, to keep step.
        """
        p = self.prepared
        totals = p.weigher.totals([r for i in step for line in p.lines[i] for r in line.rows])
        parts = batches.share(step, self.recipe, self.rank, self.processes)
        return [self._batch(part or step[:1], totals, real=bool(part)) for part in parts]

    def fingerprint(self) -> str:
        """Hash of what every process must have alike: the rows, in order, and their lengths."""
        p = self.prepared
        rows = [[r.row.name, len(r.ids)] for post in p.lines for s in post for r in s.rows]
        told = json.dumps([rows, p.sources, p.lengths, sorted(p.refused)])
        return hashlib.sha256(told.encode()).hexdigest()[:16]

    def _epoch(self, number: int) -> list[list[int]]:
        p = self.prepared
        return batches.epoch(p.lengths, p.sources, self.recipe, number, self.processes)

    def _after(self, done: int) -> int:
        """Where the run ends, in steps counted from the epoch that `done` falls into."""
        return self.steps - done // self.epoch_steps * self.epoch_steps

    def _count(self) -> int:
        if self.recipe.max_steps > 0:
            return self.recipe.max_steps
        return max(math.ceil(self.epoch_steps * self.recipe.num_train_epochs), 1)

    def _batch(self, posts: list[int], totals: Totals, *, real: bool) -> Batch:
        """The posts as one batch; with `real` off it weighs nothing."""
        p = self.prepared
        lines = [line for i in posts for line in p.lines[i]]
        try:
            pictures, recalled = p.pictures(lines)
        except (*BAD_REQUEST, media.PictureProblem, OSError) as e:
            names = ", ".join(r.row.name for r in batches.rows_of(lines)[:8])
            raise UserError(
                f"a picture that was there at the start cannot be read any more: {e} ({names})",
                mend="put it back and run again: it goes on from the last checkpoint",
            ) from None
        made = batches.collate(
            lines,
            pictures,
            p.weigher,
            totals,
            pad=p.encoder.pad,
            positions=self._positions,
            dtype=self._dtype,
        )
        made.recalled = recalled
        if not real:
            made.weights.zero_()
            made.soft_weights.zero_()
            made.names, made.tokens = (), 0
        return made
