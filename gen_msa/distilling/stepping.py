"""One optimiser step: forward, loss, checks, update.

A loss or a gradient that is not a number stops the run before anything has moved, and names the
rows. Knows nothing of epochs, files or judging.

    Stepper(student, recipe, steps=400, weights=None).step(batch)       # the loss
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from gen_msa.distilling import losses
from gen_msa.distilling.recipe import Recipe
from gen_msa.errors import Diverged, UserError
from gen_msa.students import CLASSES, Batch, Output, Row, Student
from gen_msa.types import Polarity


class Stepper:
    """Student, optimiser and schedule of a run."""

    def __init__(
        self, student: Student, recipe: Recipe, *, steps: int, rows: Sequence[Row], fresh: set[str]
    ) -> None:
        """`rows` are those learned, for class weights; `fresh` names tensors that began new."""
        self._module: Any = student
        self._recipe = recipe
        self._weights = _class_weights(recipe.class_weights, rows)
        self._optimizer = torch.optim.AdamW(_groups(self._module, recipe, fresh))
        rising = math.ceil(recipe.warmup_ratio * steps)
        self._scheduler = torch.optim.lr_scheduler.LambdaLR(
            self._optimizer,
            lambda done: min((done + 1) / max(rising, 1), (steps - done) / max(steps - rising, 1)),
        )

    def step(self, batch: Batch, taught: Output | None = None) -> float:
        """One update; the loss before it."""
        loss = self.backward(batch, taught)
        self._optimizer.step()
        self._scheduler.step()
        return loss

    def backward(self, batch: Batch, taught: Output | None = None) -> float:
        """Gradients of a batch, clipped, with nothing moved. Raises `Diverged`.

        Raises `UserError` when a trained tensor got no gradient: it would never learn.
        """
        self._module.train()
        self._optimizer.zero_grad(set_to_none=True)
        loss = self.loss(batch, taught)
        if not torch.isfinite(loss):
            raise _diverged("the loss", batch)
        loss.backward()
        named = [(n, p) for n, p in self._module.named_parameters() if p.requires_grad]
        if idle := [n for n, p in named if p.grad is None]:
            raise UserError(f"no gradient reaches {', '.join(idle[:5])} of this student")
        norm = nn.utils.clip_grad_norm_([p for _, p in named], self._recipe.max_grad_norm)
        if not torch.isfinite(norm):
            raise _diverged("a gradient", batch)
        return float(loss.detach())

    def check(self) -> None:
        """Raise `Diverged` unless every weight is finite: a last step may have gone wild."""
        wild = [n for n, p in self._module.named_parameters() if not torch.isfinite(p).all()]
        if wild:
            raise Diverged(f"{wild[0]} is not finite any more", mend="lower learning_rate")

    def loss(self, batch: Batch, taught: Output | None = None) -> torch.Tensor:
        """The recipe's losses of a batch, and whatever the student itself adds to them.

        `taught`: what the teacher makes of the same rows.
        """
        said, asked = self._said(batch), self._recipe.losses
        weight = torch.ones(len(batch.ids)) if batch.weight is None else batch.weight
        total = sum(said.losses.values(), torch.zeros(()))
        if asked.hard and batch.target is not None:
            total = total + asked.hard * losses.hard(
                said.logits,
                batch.target,
                weight,
                by_class=self._weights,
                smoothing=self._recipe.label_smoothing,
            )
        shares = _shares(batch, taught)
        if asked.soft and shares is not None:
            total = total + asked.soft * losses.soft(
                said.logits, shares, weight, temperature=asked.temperature
            )
        if taught is not None:
            total = total + losses.features(said.features, taught.features, asked.features)
        return total

    def _said(self, batch: Batch) -> Output:
        """The student's forward; its products in bfloat16 if asked, its answers in 32 bits."""
        with torch.autocast("cpu", torch.bfloat16, enabled=self._recipe.bf16):
            said: Output = self._module(batch)
        features = {name: value.float() for name, value in said.features.items()}
        return replace(said, logits=said.logits.float(), features=features)

    @property
    def state(self) -> tuple[Any, Any]:
        """Optimiser and schedule: what a checkpoint keeps besides the weights."""
        return self._optimizer, self._scheduler

    @property
    def rate(self) -> float:
        """The learning rate of the next step."""
        return float(self._scheduler.get_last_lr()[0])


def _shares(batch: Batch, taught: Output | None) -> torch.Tensor | None:
    """Probabilities to learn: those of recorded teachers, else those of the one at hand."""
    if taught is None:
        return batch.soft
    live = taught.logits.softmax(1)
    if batch.soft is None:
        return live
    return torch.where(batch.soft.sum(1, keepdim=True) > 0, batch.soft, live)


def _groups(module: Any, recipe: Recipe, fresh: set[str]) -> list[dict[str, Any]]:
    """Parameters by rate and decay; biases and norms do not decay."""
    groups: dict[tuple[float, float], list[Any]] = {}
    for name, p in module.named_parameters():
        if p.requires_grad:
            rate = recipe.head_learning_rate if name in fresh else None
            decay = recipe.weight_decay if p.ndim > 1 else 0.0
            groups.setdefault((rate or recipe.learning_rate, decay), []).append(p)
    return [{"params": ps, "lr": lr, "weight_decay": wd} for (lr, wd), ps in groups.items()]


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
