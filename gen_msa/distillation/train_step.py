"""One training step of a student: for each phase forward, loss, checks and update.

A loss or a gradient that is not finite stops the run before any weight has changed, and names the
rows of the batch.

    train_step = StudentTrainStep(model, recipe, steps=400, rows=rows, new_params=set())
    train_step.run(batch)       # the loss
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from gen_msa.distillation.recipe import DistillRecipe
from gen_msa.errors import Diverged, UserError, did_you_mean
from gen_msa.models import (
    CLASSES,
    AspectExample,
    Batch,
    HasRowMemory,
    Model,
    MultiPhase,
    Output,
    Phase,
)
from gen_msa.training.distributed import ProcessGroup
from gen_msa.types import Polarity

# The losses of a student: labels, teachers' probabilities, teachers' features.

SumFn = Callable[[Tensor], Tensor]
"""Sum of a scalar over all processes that share a batch."""
_EPSILON = 1e-12
"""Lower bound of a sum of weights: a batch in which no row counts has loss 0."""


def sum_local(value: Tensor) -> Tensor:
    """Return the value itself: the `reduce_sum` of one process.

    Args:
        value: A scalar.
    """
    return value


def label_cross_entropy(
    logits: Tensor,
    target: Tensor,
    weight: Tensor,
    *,
    by_class: Tensor | None = None,
    smoothing: float = 0.0,
    reduce_sum: SumFn = sum_local,
) -> Tensor:
    """Compute the weighted mean cross-entropy with the labels.

    Args:
        logits: `(rows, classes)`.
        target: `(rows,)` class indices; -1 where a row has no label.
        weight: `(rows,)` how much each row counts.
        by_class: `(classes,)` weight of a row by its label; None for equal weights.
        smoothing: Share (0..1) of the target that is spread over all classes.
        reduce_sum: Sums a scalar over the processes that share the batch.

    Returns:
        A scalar in nats; 0 if no row has a label.
    """
    row_losses = functional.cross_entropy(
        logits,
        target,
        weight=by_class,
        ignore_index=-1,
        label_smoothing=smoothing,
        reduction="none",
    )
    row_weights = weight * (target >= 0)
    if by_class is not None:
        row_weights = row_weights * by_class[target.clamp(min=0)]
        return (row_losses * weight).sum() / reduce_sum(row_weights.sum()).clamp(min=_EPSILON)
    return (row_losses * row_weights).sum() / reduce_sum(row_weights.sum()).clamp(min=_EPSILON)


def distillation_kl(
    logits: Tensor,
    teacher_probs: Tensor,
    weight: Tensor,
    *,
    temperature: float = 1.0,
    reduce_sum: SumFn = sum_local,
) -> Tensor:
    """Compute KL(teacher || student) at a temperature, times its square (Hinton et al. 2015).

    Args:
        logits: The student's, `(rows, classes)`.
        teacher_probs: `(rows, classes)`, each row sums to 1; zeros where there is no teacher.
        weight: `(rows,)` how much each row counts.
        temperature: Above 0; higher ones weigh the unlikely classes more.
        reduce_sum: Sums a scalar over the processes that share the batch.

    Returns:
        A scalar >= 0 in nats: the weighted mean over rows that have a teacher.
    """
    taught_weight = weight * (teacher_probs.sum(1) > 0)
    # p^(1/T), normalised, is the softmax of the teacher's logits divided by T.
    tempered_probs = teacher_probs.clamp(min=1e-8).pow(1 / temperature)
    tempered_probs = tempered_probs / tempered_probs.sum(1, keepdim=True)
    log_probs = functional.log_softmax(logits / temperature, dim=1)
    row_losses = (tempered_probs * (tempered_probs.log() - log_probs)).sum(1)
    return (
        temperature**2
        * (row_losses * taught_weight).sum()
        / reduce_sum(taught_weight.sum()).clamp(min=_EPSILON)
    )


def feature_l1(
    student_features: Mapping[str, Tensor],
    teacher_features: Mapping[str, Tensor],
    weights: Mapping[str, float],
) -> Tensor:
    """Compute the weighted sum of mean absolute differences between features of equal shape.

    The mean is over all numbers of a feature, whatever the rows weigh.

    Args:
        student_features: Name -> `(rows, ...)`.
        teacher_features: Name -> `(rows, ...)`.
        weights: Name of a feature -> its weight; other features are not compared.

    Returns:
        A scalar, at least 0 for weights of at least 0; 0 without weights.

    Raises:
        UserError: If one of the two lacks a feature, or has it in another shape.
    """
    total = torch.zeros(())
    for name, weight in weights.items():
        for owner, available in (
            ("the student", student_features),
            ("the teacher", teacher_features),
        ):
            if name not in available:
                names = ", ".join(available) or "none"
                raise UserError(f"losses.feature_l1: {owner} has no {name}; it has {names}")
        if student_features[name].shape != teacher_features[name].shape:
            shapes = " and ".join(
                str(tuple(t.shape)) for t in (student_features[name], teacher_features[name])
            )
            raise UserError(f"losses.feature_l1: {name} is {shapes} in student and teacher")
        total = total + weight * (student_features[name] - teacher_features[name]).abs().mean()
    return total


SINGLE_PHASE = Phase("all")
"""The one phase of a model that is not `MultiPhase`."""


@dataclass(frozen=True)
class PhaseOptimizer:
    """A phase with the optimiser and schedule of its parameters."""

    phase: Phase
    parameters: Mapping[str, nn.Parameter]
    """Those that it updates, by name."""
    optimizer: Any
    scheduler: Any

    def step(self) -> None:
        """Update the parameters by their gradients, and advance the schedule."""
        self.optimizer.step()
        self.scheduler.step()

    @property
    def learning_rate(self) -> float:
        """Return the learning rate of the next step."""
        return float(self.scheduler.get_last_lr()[0])


def plan_updates(
    student: Model, recipe: DistillRecipe, *, steps: int, new_params: set[str]
) -> list[tuple[PhaseOptimizer, ...]]:
    """Plan the updates of the steps of each epoch; a phase is the same object wherever it occurs.

    Args:
        student: The model.
        recipe: The recipe of the run.
        steps: Optimiser steps of all epochs.
        new_params: Names of parameters that did not come from pretrained weights.

    Returns:
        For each epoch its phases in order, each with its optimiser and learning-rate schedule.

    Raises:
        UserError: For an epoch without a phase, two phases of one name, a parameter that no phase
            updates, or a learning rate of an unknown phase.
    """
    epochs = recipe.num_train_epochs
    phases_by_epoch = [
        tuple(student.phases(e)) if isinstance(student, MultiPhase) else (SINGLE_PHASE,)
        for e in range(epochs)
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
        updates[phase] = PhaseOptimizer(
            phase, phase_params, optimizer, _lr_schedule(optimizer, recipe, num_steps)
        )
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
        raise UserError(
            f"{recipe.student} has different phases named {', '.join(sorted(duplicates))}"
        )
    for name in recipe.phase_learning_rates:
        if name not in names:
            raise UserError(
                f"phase_learning_rates: no phase {name!r}; there are {', '.join(names)}",
                hint=did_you_mean(name, names),
            )
    for phase in phases:
        if not any(n.startswith(phase.param_prefixes) for n in params):
            raise UserError(f"phase {phase.name} of {recipe.student} updates no parameter")
    if unmoved := [n for n in params if not any(n.startswith(p.param_prefixes) for p in phases)]:
        raise UserError(
            f"no phase of this run updates {', '.join(unmoved[:5])} of {recipe.student}"
        )


def _param_groups(
    params: Mapping[str, nn.Parameter], phase: Phase, recipe: DistillRecipe, new_params: set[str]
) -> list[dict[str, Any]]:
    """Group parameters by learning rate and weight decay; biases and norms do not decay."""
    phase_rate = recipe.phase_learning_rates.get(phase.name)
    groups: dict[tuple[float, float], list[Any]] = {}
    for name, p in params.items():
        rate = recipe.head_learning_rate if name in new_params else None
        decay = recipe.weight_decay if p.ndim > 1 else 0.0
        groups.setdefault((phase_rate or rate or recipe.learning_rate, decay), []).append(p)
    return [{"params": ps, "lr": lr, "weight_decay": wd} for (lr, wd), ps in groups.items()]


def _lr_schedule(optimizer: Any, recipe: DistillRecipe, steps: int) -> Any:
    """Build the schedule: a linear rise to the learning rate, then a linear fall to 0."""
    warmup_steps = math.ceil(recipe.warmup_ratio * steps)
    return torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min(
            (step + 1) / max(warmup_steps, 1), (steps - step) / max(steps - warmup_steps, 1)
        ),
    )


class StudentTrainStep:
    """Model, optimisers and schedules of a run."""

    def __init__(
        self,
        student: Model,
        recipe: DistillRecipe,
        *,
        steps: int,
        rows: Sequence[AspectExample],
        new_params: set[str],
        group: ProcessGroup | None = None,
    ) -> None:
        """Build optimisers and schedules.

        Args:
            student: The model, on the device of `group`.
            recipe: The recipe of the run.
            steps: Optimiser steps of all epochs.
            rows: The training rows, for class weights.
            new_params: Names of parameters that did not come from pretrained weights.
            group: The processes that share each batch; None for this one alone.
        """
        self._student = student
        self._module: Any = cast(Any, student)
        self._recipe = recipe
        self._group = group or ProcessGroup()
        weights = _class_weights(recipe.class_weights, rows)
        self._weights = None if weights is None else weights.to(self._group.device)
        self._plan = plan_updates(student, recipe, steps=steps, new_params=new_params)
        self._updates = list(
            {u.phase: u for step_updates in self._plan for u in step_updates}.values()
        )
        self._phase_losses = {k for u in self._updates if (k := u.phase.loss)}
        self._params = [p for p in self._module.parameters() if p.requires_grad]
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, from 0, of the next steps."""
        self._epoch = epoch

    def run(self, batch: Batch, teacher_output: Output | None = None) -> float:
        """Run the updates of one step, one after the other.

        Args:
            batch: The rows of all processes.
            teacher_output: The teacher's output for this process' rows.

        Returns:
            The loss of the last update, before it.

        Raises:
            Diverged: If a loss or gradient is not finite.
        """
        loss, output = 0.0, None
        for update in self._plan[self._epoch]:
            loss, output = self._backward(update, batch, teacher_output)
            update.step()
        if output and isinstance(self._student, HasRowMemory):
            gathered = self._group.all_gather(output, len(batch.ids))
            self._student.on_step_end(batch, gathered, self._epoch)
        return loss

    def probe(self, batch: Batch, teacher_output: Output | None = None) -> float:
        """Compute the gradients of every phase of the run, without an update.

        Args:
            batch: The rows of all processes.
            teacher_output: The teacher's output for this process' rows.

        Returns:
            The loss of the first phase.

        Raises:
            Diverged: If a loss or gradient is not finite.
            UserError: If a parameter gets no gradient.
        """
        losses_and_outputs = [self._backward(u, batch, teacher_output)[0] for u in self._updates]
        return losses_and_outputs[0]

    def _backward(
        self, update: PhaseOptimizer, batch: Batch, teacher_output: Output | None
    ) -> tuple[float, Output]:
        """Compute the clipped gradients of one phase; return the loss and the output.

        Raises:
            Diverged: If the loss or a gradient is not finite.
            UserError: If a parameter of the phase gets no gradient: it would never be trained.
        """
        params = update.parameters
        if len(self._updates) > 1:
            phase_params = set(params.values())
            for p in self._params:
                p.requires_grad_(p in phase_params)
        self._module.train()
        update.optimizer.zero_grad(set_to_none=True)
        loss, output = self.compute_loss(batch, teacher_output, update.phase)
        total = self._group.all_reduce_sum(loss.detach())
        if not torch.isfinite(total):
            raise _diverged_error("the loss", batch)
        if loss.requires_grad:
            loss.backward()
        if without_grad := [n for n, p in params.items() if p.grad is None]:
            raise UserError(f"no gradient reaches {', '.join(without_grad[:5])} of this student")
        self._group.all_reduce_gradients(params.values())
        norm = nn.utils.clip_grad_norm_(list(params.values()), self._recipe.max_grad_norm)
        if not torch.isfinite(norm):
            raise _diverged_error("a gradient", batch)
        return float(total), output

    def check_weights(self) -> None:
        """Check that every weight is finite: the last step may have diverged.

        Raises:
            Diverged: If one is not.
        """
        non_finite = [n for n, p in self._module.named_parameters() if not torch.isfinite(p).all()]
        if non_finite:
            raise Diverged(f"{non_finite[0]} is not finite any more", hint="lower learning_rate")

    def compute_loss(
        self, batch: Batch, teacher_output: Output | None = None, phase: Phase = SINGLE_PHASE
    ) -> tuple[torch.Tensor, Output]:
        """Compute the loss of a phase for this process' rows.

        Summed over all processes it is the recipe's loss of the batch plus the losses that the
        model adds; or the one loss that the phase has for itself.

        Args:
            batch: The rows of all processes.
            teacher_output: The teacher's output for this process' rows.
            phase: The phase.

        Returns:
            A scalar, and the model's output.
        """
        fraction, batch = self._group.local_fraction(batch), self._group.local_rows(batch)
        output = self._forward(batch)
        if phase.loss:
            if phase.loss not in output.losses:
                names = ", ".join(output.losses) or "none"
                raise UserError(f"phase {phase.name}: no loss {phase.loss}; there are {names}")
            return output.losses[phase.loss] * fraction, output
        model_losses = [
            loss for name, loss in output.losses.items() if name not in self._phase_losses
        ]
        total = sum(model_losses, torch.zeros((), device=self._group.device)) * fraction
        return total + self._recipe_losses(batch, output, teacher_output, fraction), output

    def _recipe_losses(
        self, batch: Batch, output: Output, teacher_output: Output | None, fraction: float
    ) -> torch.Tensor:
        """Compute the losses that the recipe weighs."""
        config, reduce_sum = self._recipe.losses, self._group.all_reduce_sum
        total = torch.zeros((), device=self._group.device)
        weight = batch.weight
        if weight is None:
            weight = torch.ones(len(batch.ids), device=self._group.device)
        if config.label and batch.target is not None:
            total = total + config.label * label_cross_entropy(
                output.logits,
                batch.target,
                weight,
                by_class=self._weights,
                smoothing=self._recipe.label_smoothing,
                reduce_sum=reduce_sum,
            )
        target_probs = _target_probs(batch, teacher_output)
        if config.distill_kl and target_probs is not None:
            total = total + config.distill_kl * distillation_kl(
                output.logits,
                target_probs,
                weight,
                temperature=config.temperature,
                reduce_sum=reduce_sum,
            )
        if teacher_output is not None:
            feature_loss = feature_l1(output.features, teacher_output.features, config.feature_l1)
            total = total + feature_loss * fraction
        return total

    def _forward(self, batch: Batch) -> Output:
        """Run the model, with products in bfloat16 if the recipe says so; outputs are float32."""
        device_type = self._group.device.type
        with torch.autocast(device_type, torch.bfloat16, enabled=self._recipe.bf16):
            output: Output = self._module(batch)
        features = {name: value.float() for name, value in output.features.items()}
        model_losses = {name: value.float() for name, value in output.losses.items()}
        return replace(output, logits=output.logits.float(), features=features, losses=model_losses)

    @property
    def optimizers(self) -> list[tuple[Any, Any]]:
        """Return optimiser and schedule of each phase, for a checkpoint."""
        return [(u.optimizer, u.scheduler) for u in self._updates]

    @property
    def learning_rate(self) -> float:
        """Return the learning rate of the next step, of its last phase."""
        return self._plan[self._epoch][-1].learning_rate


def _target_probs(batch: Batch, teacher_output: Output | None) -> torch.Tensor | None:
    """Return the probabilities to learn: those of recorded teachers, else of the live one."""
    if teacher_output is None:
        return batch.teacher_probs
    teacher_probs = teacher_output.logits.softmax(1)
    if batch.teacher_probs is None:
        return teacher_probs
    return torch.where(
        batch.teacher_probs.sum(1, keepdim=True) > 0, batch.teacher_probs, teacher_probs
    )


def _class_weights(
    setting: Mapping[Polarity, float] | str, rows: Sequence[AspectExample]
) -> torch.Tensor | None:
    if setting == "none":
        return None
    if not isinstance(setting, str):
        return torch.tensor([setting.get(c, 1.0) for c in CLASSES])
    counts = [sum(r.target is c for r in rows) for c in CLASSES]
    # A class without a row is never a target; its weight only has to be a number.
    return torch.tensor([len(rows) / (len(CLASSES) * n) if n else 1.0 for n in counts])


def _diverged_error(quantity: str, batch: Batch) -> Diverged:
    listing = ", ".join(batch.ids[:8]) + (
        f" and {len(batch.ids) - 8} more" if len(batch.ids) > 8 else ""
    )
    return Diverged(
        f"{quantity} is not a finite number; rows of the batch: {listing}",
        hint="lower learning_rate, or look at these rows; the best student so far is kept",
    )
