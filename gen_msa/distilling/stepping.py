"""One step: for each of its phases forward, loss, checks, update; then what is remembered of it.

A loss or a gradient that is not a number stops the run before anything has moved, and names the
rows. Knows nothing of epochs' order, files or judging.

    Stepper(student, recipe, steps=400, rows=rows, fresh=set()).step(batch)       # the loss
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from torch import nn

from gen_msa.distilling import losses, phasing
from gen_msa.distilling.phasing import Update
from gen_msa.distilling.recipe import Recipe
from gen_msa.distilling.sharing import Crew
from gen_msa.errors import Diverged, UserError
from gen_msa.students import CLASSES, Batch, Output, Phase, Remembering, Row, Student
from gen_msa.types import Polarity


class Stepper:
    """Student, optimisers and schedules of a run."""

    def __init__(
        self,
        student: Student,
        recipe: Recipe,
        *,
        steps: int,
        rows: Sequence[Row],
        fresh: set[str],
        crew: Crew | None = None,
    ) -> None:
        """`rows` are those learned, for class weights; `fresh` names tensors that began new.

        `crew`: the processes that share each batch, on whose device the student is; None: this one.
        """
        self._student = student
        self._module: Any = cast(Any, student)
        self._recipe = recipe
        self._crew = crew or Crew()
        weights = _class_weights(recipe.class_weights, rows)
        self._weights = None if weights is None else weights.to(self._crew.device)
        self._plan = phasing.plan(student, recipe, steps=steps, fresh=fresh)
        self._updates = list({u.phase: u for some in self._plan for u in some}.values())
        self._named = {k for u in self._updates if (k := u.phase.loss)}
        self._trained = [p for p in self._module.parameters() if p.requires_grad]
        self._epoch = 0

    def begin(self, epoch: int) -> None:
        """The next steps are those of this epoch, from 0."""
        self._epoch = epoch

    def step(self, batch: Batch, taught: Output | None = None) -> float:
        """The updates of a step, one after the other; the last one's loss, before it.

        `batch` has the rows of all processes, `taught` what a teacher makes of this one's.
        """
        loss, said = 0.0, None
        for update in self._plan[self._epoch]:
            loss, said = self._backward(update, batch, taught)
            update.step()
        if said and isinstance(self._student, Remembering):
            whole = self._crew.whole(said, len(batch.ids))
            self._student.learned(batch, whole, self._epoch)
        return loss

    def probe(self, batch: Batch, taught: Output | None = None) -> float:
        """Gradients of every phase of the run, with nothing moved; the first one's loss.

        Raises as `step` does.
        """
        found = [self._backward(u, batch, taught)[0] for u in self._updates]
        return found[0]

    def _backward(
        self, update: Update, batch: Batch, taught: Output | None
    ) -> tuple[float, Output]:
        """Gradients of a phase, clipped, with nothing moved. Raises `Diverged`.

        Raises `UserError` when a tensor that it moves got no gradient: it would never learn.
        """
        named = update.parameters
        if len(self._updates) > 1:
            own = set(named.values())
            for p in self._trained:
                p.requires_grad_(p in own)
        self._module.train()
        update.optimizer.zero_grad(set_to_none=True)
        loss, said = self.loss(batch, taught, update.phase)
        value = self._crew.sum(loss.detach())
        if not torch.isfinite(value):
            raise _diverged("the loss", batch)
        if loss.requires_grad:
            loss.backward()
        if idle := [n for n, p in named.items() if p.grad is None]:
            raise UserError(f"no gradient reaches {', '.join(idle[:5])} of this student")
        self._crew.add_gradients(named.values())
        norm = nn.utils.clip_grad_norm_(list(named.values()), self._recipe.max_grad_norm)
        if not torch.isfinite(norm):
            raise _diverged("a gradient", batch)
        return float(value), said

    def check(self) -> None:
        """Raise `Diverged` unless every weight is finite: a last step may have gone wild."""
        wild = [n for n, p in self._module.named_parameters() if not torch.isfinite(p).all()]
        if wild:
            raise Diverged(f"{wild[0]} is not finite any more", mend="lower learning_rate")

    def loss(
        self, batch: Batch, taught: Output | None = None, phase: Phase = phasing.WHOLE
    ) -> tuple[torch.Tensor, Output]:
        """A phase's loss of this process' rows, and the student's forward.

        Summed over all processes it is the recipe's losses of the batch, and whatever the student
        itself adds to them; or the one loss that the phase has for itself.
        """
        share, batch = self._crew.share(batch), self._crew.part(batch)
        said = self._said(batch)
        if phase.loss:
            if phase.loss not in said.losses:
                known = ", ".join(said.losses) or "none"
                raise UserError(f"phase {phase.name}: no loss {phase.loss}; there are {known}")
            return said.losses[phase.loss] * share, said
        added = [loss for name, loss in said.losses.items() if name not in self._named]
        total = sum(added, torch.zeros((), device=self._crew.device)) * share
        return total + self._asked(batch, said, taught, share), said

    def _asked(
        self, batch: Batch, said: Output, taught: Output | None, share: float
    ) -> torch.Tensor:
        """The losses that the recipe asks for."""
        asked, over = self._recipe.losses, self._crew.sum
        total = torch.zeros((), device=self._crew.device)
        weight = batch.weight
        if weight is None:
            weight = torch.ones(len(batch.ids), device=self._crew.device)
        if asked.hard and batch.target is not None:
            total = total + asked.hard * losses.hard(
                said.logits,
                batch.target,
                weight,
                by_class=self._weights,
                smoothing=self._recipe.label_smoothing,
                over=over,
            )
        shares = _shares(batch, taught)
        if asked.soft and shares is not None:
            total = total + asked.soft * losses.soft(
                said.logits, shares, weight, temperature=asked.temperature, over=over
            )
        if taught is not None:
            found = losses.features(said.features, taught.features, asked.features)
            total = total + found * share
        return total

    def _said(self, batch: Batch) -> Output:
        """The student's forward; its products in bfloat16 if asked, its answers in 32 bits."""
        kind = self._crew.device.type
        with torch.autocast(kind, torch.bfloat16, enabled=self._recipe.bf16):
            said: Output = self._module(batch)
        features = {name: value.float() for name, value in said.features.items()}
        own = {name: value.float() for name, value in said.losses.items()}
        return replace(said, logits=said.logits.float(), features=features, losses=own)

    @property
    def state(self) -> list[tuple[Any, Any]]:
        """Optimiser and schedule of each phase: what a checkpoint keeps besides the weights."""
        return [(u.optimizer, u.scheduler) for u in self._updates]

    @property
    def rate(self) -> float:
        """The learning rate of the next step, of its last phase."""
        return self._plan[self._epoch][-1].rate


def _shares(batch: Batch, taught: Output | None) -> torch.Tensor | None:
    """Probabilities to learn: those of recorded teachers, else those of the one at hand."""
    if taught is None:
        return batch.soft
    live = taught.logits.softmax(1)
    if batch.soft is None:
        return live
    return torch.where(batch.soft.sum(1, keepdim=True) > 0, batch.soft, live)


def _class_weights(
    asked: Mapping[Polarity, float] | str, rows: Sequence[Row]
) -> torch.Tensor | None:
    if asked == "none":
        return None
    if not isinstance(asked, str):
        return torch.tensor([asked.get(c, 1.0) for c in CLASSES])
    counts = [sum(r.target is c for r in rows) for c in CLASSES]
    # A class without a row is never a target; its weight only has to be a number.
    return torch.tensor([len(rows) / (len(CLASSES) * n) if n else 1.0 for n in counts])


def _diverged(what: str, batch: Batch) -> Diverged:
    shown = ", ".join(batch.ids[:8]) + (
        f" and {len(batch.ids) - 8} more" if len(batch.ids) > 8 else ""
    )
    return Diverged(
        f"{what} is not a finite number; rows of the batch: {shown}",
        mend="lower learning_rate, or look at these rows; the best student so far is kept",
    )
