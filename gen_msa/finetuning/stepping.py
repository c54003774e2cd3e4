"""One optimiser step: batches forward and backward, checks, update.

Knows nothing of epochs, checkpoints or judging. A loss or a gradient that is not a number stops the
run before the optimiser has moved anything, and names the rows.

    stepper.step(batches)       # -> Stepped(loss=…, by_field=…, norm=…)
"""

import math
import random
from collections.abc import Sequence
from contextlib import AbstractContextManager
from contextlib import nullcontext as nothing
from dataclasses import dataclass, field
from typing import Any

import torch

from gen_msa.errors import Diverged
from gen_msa.finetuning import sharding
from gen_msa.finetuning.adapting import precision, trainable
from gen_msa.finetuning.batches import Batch
from gen_msa.finetuning.gradients import check_gradients
from gen_msa.finetuning.loss import FIELDS, LabelledHead, Losses, of_logits
from gen_msa.finetuning.processes import share_gradients
from gen_msa.finetuning.recipe import Recipe
from gen_msa.finetuning.vision import Memory


@dataclass
class Stepped:
    """What one optimiser step was."""

    loss: float
    by_field: dict[str, float] = field(default_factory=dict)
    """Field -> mean cross-entropy (nats) of its tokens, weighted as in the loss."""
    norm: float = 0.0
    tokens: int = 0
    rows: int = 0


class Stepper:
    """Model, optimiser and schedule of a run."""

    def __init__(
        self,
        accelerator: Any,
        model: Any,
        optimizer: Any,
        scheduler: Any,
        recipe: Recipe,
        memory: Memory | None = None,
    ) -> None:
        self.accelerator = accelerator
        self.recipe = recipe
        self.scheduler = scheduler
        self.bare = model
        self.memory = memory
        self.head = LabelledHead(model, on=recipe.levers.labelled_head)
        self.split = sharding.is_split(model)
        if self.split:
            self.model, self.optimizer = sharding.bare(model), optimizer
        else:
            share_gradients(accelerator, trainable(model))
            self.model, self.optimizer = accelerator.prepare(model, optimizer)
        self._unproven: list[str] | None = None
        """Trained tensors not seen to get a gradient yet; None before the first step."""

    def release(self) -> None:
        """Delete the references to the wrapped model and optimiser; no step can follow."""
        del self.model, self.optimizer

    def step(self, batches: Sequence[Batch], number: int = 0) -> Stepped:
        """One update from this process's batches of step `number`; the others do theirs."""
        # Each step and process draws its own dropout: a run that is gone on from draws the same.
        drawn = f"{self.recipe.seed}/{number}/{self.accelerator.process_index}"
        torch.manual_seed(random.Random(drawn).getrandbits(63))
        done = self.backward(batches)
        if self._unproven is None or self._unproven:
            self._prove(pictures=any("pixel_values" in b.inputs for b in batches))
        done.norm = self._clipped()
        if not math.isfinite(done.norm):
            names = [n for b in batches for n in b.names]
            raise _diverged("the gradient", names)
        self.optimizer.step()
        self.scheduler.step()
        self.optimizer.zero_grad(set_to_none=True)
        return done

    def backward(self, batches: Sequence[Batch]) -> Stepped:
        """Losses and gradients of a step, added up over its batches and processes."""
        parts: list[Losses] = []
        for i, batch in enumerate(batches):
            last = i == len(batches) - 1
            # Gradients that wait would be whole ones, which a split model has no room for.
            meet = last or self.split
            waiting = nothing() if meet else self.accelerator.no_sync(self.model)
            with waiting:
                losses = self.losses(batch)
                # Processes average their gradients; the loss is a sum over all of them.
                self.accelerator.backward(losses.total * self.accelerator.num_processes)
            parts.append(losses)
        if self.split:
            sharding.average_copies(self.model.parameters())
        done = self._summed(parts, batches)
        if not math.isfinite(done.loss):
            # Every process sees the sum and stops; only the one that had the rows can name them.
            bad = [i for i, p in enumerate(parts) if not bool(torch.isfinite(p.total.detach()))]
            raise _diverged("the loss", [n for i in bad for n in batches[i].names])
        return done

    def losses(self, batch: Batch) -> Losses:
        """The forward pass and the loss of one batch."""
        batch = batch.to(self.accelerator.device)
        self.head.at(batch.lines, batch.places)
        with precision(self.bare, self.recipe), self._seeing(batch):
            logits = self.model(**batch.inputs).logits
        soft = batch.soft_ids, batch.soft_weights
        return of_logits(self.head.taken(logits), batch.targets, batch.weights, batch.fields, soft)

    def _seeing(self, batch: Batch) -> AbstractContextManager[None]:
        """Within it the vision tower says of the batch's pictures what it said before."""
        if self.memory is None or batch.recalled is None:
            return nothing()
        return self.memory.recalling(batch.recalled)

    def _clipped(self) -> float:
        """Norm of the gradient before clipping.

        The projector is clipped alone: a fresh one's gradient is a hundred times that of LoRA,
        which would stand still beside it.
        """
        parts: dict[str, list[Any]] = {}
        for group in self.optimizer.param_groups:
            parts.setdefault(group["name"].partition(",")[0], []).extend(group["params"])
        most = self.recipe.max_grad_norm
        found = [self.accelerator.clip_grad_norm_(p, most) for p in parts.values()]
        return math.hypot(*(sharding.number(n) for n in found))

    def _prove(self, *, pictures: bool) -> None:
        """Every trained tensor must once have got a gradient; some can only at a later step."""
        found = set(check_gradients(self.bare, pictures=pictures))
        before = found if self._unproven is None else self._unproven
        self._unproven = [name for name in before if name in found]

    def _summed(self, parts: Sequence[Losses], batches: Sequence[Batch]) -> Stepped:
        names = (*FIELDS, "soft")
        table = [sum(float(p.total.detach()) for p in parts)]
        for name in names:
            found = [p.by_field[name] for p in parts if name in p.by_field]
            table += [sum(a for a, _ in found), sum(b for _, b in found)]
        table += [sum(b.tokens for b in batches), sum(len(b.names) for b in batches)]
        total = torch.tensor(table, dtype=torch.float64, device=self.accelerator.device)
        if self.accelerator.num_processes > 1:
            total = self.accelerator.reduce(total, reduction="sum")
        loss, *rest = total.tolist()
        pairs = zip(names, rest[0:-2:2], rest[1:-2:2], strict=True)
        fields = {name: above / below for name, above, below in pairs if below > 0}
        return Stepped(loss, fields, tokens=int(rest[-2]), rows=int(rest[-1]))


def _diverged(what: str, names: Sequence[str]) -> Diverged:
    shown = ", ".join(names[:8] or ["those of another process"]) + (
        f" and {len(names) - 8} more" if len(names) > 8 else ""
    )
    return Diverged(
        f"{what} is not a finite number; rows of the batch: {shown}",
        mend="lower learning_rate, or look at these rows; going on starts at the last checkpoint",
    )
