"""The phases of a run: which tensors each step moves, by which loss, with which optimiser.

A student that is not `Phased` has one phase, which moves everything by all of its losses. Each
phase has its own AdamW and its own schedule over the steps in which it takes part. Knows nothing of
batches or of how a loss is made.

    plan(student, recipe, steps=400, fresh=set())[epoch]        # the updates of each of its steps
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from gen_msa.distilling.recipe import DistillRecipe
from gen_msa.errors import UserError, did_you_mean
from gen_msa.students import Phase, MultiPhase, Model

SINGLE_PHASE = Phase("all")
"""The one phase of a student that is not `Phased`."""


@dataclass(frozen=True)
class PhaseOptimizer:
    """A phase, and what moves its tensors."""

    phase: Phase
    parameters: Mapping[str, nn.Parameter]
    """Those that it moves, by name."""
    optimizer: Any
    scheduler: Any

    def step(self) -> None:
        """Move by the gradients that are there; the rate goes on by a step."""
        self.optimizer.step()
        self.scheduler.step()

    @property
    def learning_rate(self) -> float:
        """The learning rate of its next step."""
        return float(self.scheduler.get_last_lr()[0])


def plan_updates(
    student: Model, recipe: DistillRecipe, *, steps: int, new_params: set[str]
) -> list[tuple[PhaseOptimizer, ...]]:
    """For each epoch the updates of its steps; a phase is the same object wherever it is.

    `steps` are those of all epochs, `fresh` the tensors that began new. Raises `UserError` for an
    epoch without a phase, two phases of one name, a tensor that none moves, a rate for none.
    """
    epochs = recipe.num_train_epochs
    phases_by_epoch = [
        tuple(student.phases(e)) if isinstance(student, MultiPhase) else (SINGLE_PHASE,) for e in range(epochs)
    ]
    phases = list(dict.fromkeys(p for epoch_phases in phases_by_epoch for p in epoch_phases))
    module: Any = student
    params = {n: p for n, p in module.named_parameters() if p.requires_grad}
    _check_phases(phases_by_epoch, phases, params, recipe)
    updates = {}
    for phase in phases:
        phase_params = {n: p for n, p in params.items() if n.startswith(phase.param_prefixes)}
        optimizer = torch.optim.AdamW(_param_groups(phase_params, phase, recipe, new_params))
        num_steps = steps * sum(phase in epoch_phases for epoch_phases in phases_by_epoch) // epochs
        updates[phase] = PhaseOptimizer(phase, phase_params, optimizer, _lr_schedule(optimizer, recipe, num_steps))
    return [tuple(updates[p] for p in epoch_phases) for epoch_phases in phases_by_epoch]


def _check_phases(
    phases_by_epoch: list[tuple[Phase, ...]],
    phases: list[Phase],
    params: Mapping[str, nn.Parameter],
    recipe: DistillRecipe,
) -> None:
    names = [p.name for p in phases]
    if not all(phases_by_epoch):
        raise UserError(f"{recipe.student} has no phase in epoch {phases_by_epoch.index(())}")
    if duplicates := {n for n in names if names.count(n) > 1}:
        raise UserError(f"{recipe.student} has different phases named {', '.join(sorted(duplicates))}")
    for name in recipe.phase_learning_rates:
        if name not in names:
            raise UserError(
                f"phase_learning_rates: no phase {name!r}; there are {', '.join(names)}",
                hint=did_you_mean(name, names),
            )
    for phase in phases:
        if not any(n.startswith(phase.param_prefixes) for n in params):
            raise UserError(f"phase {phase.name} of {recipe.student} moves no tensor")
    if unmoved := [n for n in params if not any(n.startswith(p.param_prefixes) for p in phases)]:
        raise UserError(f"no phase of this run moves {', '.join(unmoved[:5])} of {recipe.student}")


def _param_groups(
    params: Mapping[str, nn.Parameter], phase: Phase, recipe: DistillRecipe, new_params: set[str]
) -> list[dict[str, Any]]:
    """Parameters by rate and decay; biases and norms do not decay."""
    phase_rate = recipe.phase_learning_rates.get(phase.name)
    groups: dict[tuple[float, float], list[Any]] = {}
    for name, p in params.items():
        rate = recipe.head_learning_rate if name in new_params else None
        decay = recipe.weight_decay if p.ndim > 1 else 0.0
        groups.setdefault((phase_rate or rate or recipe.learning_rate, decay), []).append(p)
    return [{"params": ps, "lr": lr, "weight_decay": wd} for (lr, wd), ps in groups.items()]


def _lr_schedule(optimizer: Any, recipe: DistillRecipe, steps: int) -> Any:
    """The rate rises to its height, and falls in a line to 0."""
    warmup_steps = math.ceil(recipe.warmup_ratio * steps)
    return torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min((step + 1) / max(warmup_steps, 1), (steps - step) / max(steps - warmup_steps, 1)),
    )
