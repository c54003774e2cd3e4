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

from gen_msa.distilling.recipe import Recipe
from gen_msa.errors import UserError, did_you_mean
from gen_msa.students import Phase, Phased, Student

WHOLE = Phase("all")
"""The one phase of a student that is not `Phased`."""


@dataclass(frozen=True)
class Update:
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
    def rate(self) -> float:
        """The learning rate of its next step."""
        return float(self.scheduler.get_last_lr()[0])


def plan(
    student: Student, recipe: Recipe, *, steps: int, fresh: set[str]
) -> list[tuple[Update, ...]]:
    """For each epoch the updates of its steps; a phase is the same object wherever it is.

    `steps` are those of all epochs, `fresh` the tensors that began new. Raises `UserError` for an
    epoch without a phase, two phases of one name, a tensor that none moves, a rate for none.
    """
    epochs = recipe.num_train_epochs
    told = [
        tuple(student.phases(e)) if isinstance(student, Phased) else (WHOLE,) for e in range(epochs)
    ]
    phases = list(dict.fromkeys(p for some in told for p in some))
    module: Any = student
    named = {n: p for n, p in module.named_parameters() if p.requires_grad}
    _check(told, phases, named, recipe)
    made = {}
    for phase in phases:
        own = {n: p for n, p in named.items() if n.startswith(phase.trains)}
        optimizer = torch.optim.AdamW(_groups(own, phase, recipe, fresh))
        count = steps * sum(phase in some for some in told) // epochs
        made[phase] = Update(phase, own, optimizer, _schedule(optimizer, recipe, count))
    return [tuple(made[p] for p in some) for some in told]


def _check(
    told: list[tuple[Phase, ...]],
    phases: list[Phase],
    named: Mapping[str, nn.Parameter],
    recipe: Recipe,
) -> None:
    names = [p.name for p in phases]
    if not all(told):
        raise UserError(f"{recipe.student} has no phase in epoch {told.index(())}")
    if twice := {n for n in names if names.count(n) > 1}:
        raise UserError(f"{recipe.student} has different phases named {', '.join(sorted(twice))}")
    for name in recipe.phase_learning_rates:
        if name not in names:
            raise UserError(
                f"phase_learning_rates: no phase {name!r}; there are {', '.join(names)}",
                mend=did_you_mean(name, names),
            )
    for phase in phases:
        if not any(n.startswith(phase.trains) for n in named):
            raise UserError(f"phase {phase.name} of {recipe.student} moves no tensor")
    if idle := [n for n in named if not any(n.startswith(p.trains) for p in phases)]:
        raise UserError(f"no phase of this run moves {', '.join(idle[:5])} of {recipe.student}")


def _groups(
    named: Mapping[str, nn.Parameter], phase: Phase, recipe: Recipe, fresh: set[str]
) -> list[dict[str, Any]]:
    """Parameters by rate and decay; biases and norms do not decay."""
    own = recipe.phase_learning_rates.get(phase.name)
    groups: dict[tuple[float, float], list[Any]] = {}
    for name, p in named.items():
        rate = recipe.head_learning_rate if name in fresh else None
        decay = recipe.weight_decay if p.ndim > 1 else 0.0
        groups.setdefault((own or rate or recipe.learning_rate, decay), []).append(p)
    return [{"params": ps, "lr": lr, "weight_decay": wd} for (lr, wd), ps in groups.items()]


def _schedule(optimizer: Any, recipe: Recipe, steps: int) -> Any:
    """The rate rises to its height, and falls in a line to 0."""
    rising = math.ceil(recipe.warmup_ratio * steps)
    return torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda done: min((done + 1) / max(rising, 1), (steps - done) / max(steps - rising, 1)),
    )
