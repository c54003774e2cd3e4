"""Write and read checkpoints, and decide whether a run may resume from one.

    model.safetensors       weights: all of a student, or those of the adapter that are trained
    optimizer.safetensors   the optimisers' tensors, each prefixed by its optimiser's number
    memory.safetensors      what a student remembers of rows, by their number (if anything)
    rng_states.safetensors  the random states of all processes (if they matter)
    state.json              progress of the run, its settings, and the schedules

A checkpoint is written to a staging folder, sealed with a manifest and renamed, so it is there
completely or not at all. It holds full tensors, so it can be read by processes that shard the model
otherwise. Safetensors and JSON only.

    save_checkpoint(folder / "checkpoint-120", state, stateful)
    state, rng_states = restore_checkpoint(folder / "checkpoint-120", stateful)
"""

import json
import math
import re
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from gen_msa import manifest, settings
from gen_msa.errors import UserError, write_errors
from gen_msa.training import fsdp

# Decides whether a run may resume from a checkpoint: whether both train the same thing.

STEPS = "steps"
"""Run setting: optimiser steps of the complete run. A run may become longer and not shorter."""


@dataclass(frozen=True)
class ResumePolicy:
    """Which run settings may differ between a checkpoint and the run that resumes from it."""

    may_differ: tuple[str, ...]
    """Those that may, besides `STEPS`; they are reported."""
    step_size: tuple[str, ...] = ()
    """Those whose product, the number of posts in a step, must stay; each of them may differ."""
    adjustable: str = ""
    """That of `step_size` which a hint proposes to change."""
    length_keys: str = "num_train_epochs"
    """The recipe keys that decide `STEPS`."""

    @property
    def reported(self) -> tuple[str, ...]:
        """Return all settings that may differ."""
        return (STEPS, *self.step_size, *self.may_differ)


def incompatibilities(
    then: Mapping[str, Any],
    now: Mapping[str, Any],
    policy: ResumePolicy,
    ignored: Collection[str] = (),
) -> list[str]:
    """Return what makes two runs incompatible, one line each; empty if `now` may resume `then`.

    Args:
        then: Run settings stored in the checkpoint.
        now: Run settings of the run that wants to resume.
        policy: Which settings may differ.
        ignored: Further settings that are not compared.
    """
    if not set(policy.reported) <= set(then):
        return ["it does not record the settings that it was made with"]
    free = {*policy.reported, *ignored}
    lines = settings.differences(_without(then, free), _without(now, free))
    if _posts_per_step(then, policy) != _posts_per_step(now, policy):
        lines += settings.differences(
            _select(then, policy.step_size), _select(now, policy.step_size)
        )
    if STEPS not in ignored and then[STEPS] > now[STEPS]:
        shorter = settings.differences(_select(then, (STEPS,)), _select(now, (STEPS,)))
        lines += [f"{shorter[0]} ({policy.length_keys})"]
    return lines


def check(
    checkpoint: Path,
    then: Mapping[str, Any],
    now: Mapping[str, Any],
    policy: ResumePolicy,
    ignored: Collection[str] = (),
) -> None:
    """Check that a run may resume from a checkpoint.

    Args:
        checkpoint: The checkpoint's folder, for the message.
        then: Run settings stored in the checkpoint.
        now: Run settings of the run that wants to resume.
        policy: Which settings may differ.
        ignored: Further settings that are not compared.

    Raises:
        UserError: If the checkpoint belongs to another run; it names what differs.
    """
    lines = incompatibilities(then, now, policy, ignored)
    if not lines:
        return
    hint = "choose another output_dir, or start over in this one: --no-resume (resume=false)"
    if set(policy.reported) <= set(then) and (accumulation := _accumulation(then, now, policy)):
        hint = (
            f"{policy.adjustable}={accumulation} keeps {_posts_per_step(then, policy)} posts a "
            f"step; or {hint}"
        )
    raise UserError(
        f"{checkpoint} belongs to another run and would be overwritten: {'; '.join(lines)}",
        hint=hint,
    )


def allowed_changes(
    then: Mapping[str, Any], now: Mapping[str, Any], policy: ResumePolicy
) -> list[str]:
    """Return what differs in a run that may resume all the same, one line each.

    Args:
        then: Run settings stored in the checkpoint.
        now: Run settings of the run that resumes.
        policy: Which settings may differ.
    """
    return settings.differences(_select(then, policy.reported), _select(now, policy.reported))


def _posts_per_step(values: Mapping[str, Any], policy: ResumePolicy) -> int:
    """Return the posts of an optimiser step, over all processes."""
    return math.prod(values[name] for name in policy.step_size)


def _accumulation(then: Mapping[str, Any], now: Mapping[str, Any], policy: ResumePolicy) -> int:
    """Return the value of the adjustable setting that keeps the posts of a step; 0 for none."""
    if _posts_per_step(then, policy) == _posts_per_step(now, policy):
        return 0
    per_pass = math.prod(now[name] for name in policy.step_size if name != policy.adjustable)
    accumulation, remainder = divmod(_posts_per_step(then, policy), per_pass)
    return 0 if remainder else accumulation


def _select(values: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: values[name] for name in names if name in values}


def _without(values: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in names}


# Convert an optimizer's state to flat tensors and JSON, so that a checkpoint needs no pickle.


def flatten(state: dict[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Split a torch optimizer's state into tensors and JSON values.

    Returns:
        Tensors by `PARAMETER.NAME` (PARAMETER is the index of the parameter), and a JSON tree of
        the parameter groups and of all scalars.
    """
    tensors, scalars = {}, {}
    for param_index, param_state in state["state"].items():
        for name, value in param_state.items():
            if isinstance(value, Tensor):
                tensors[f"{param_index}.{name}"] = value.contiguous()
            else:
                scalars[f"{param_index}.{name}"] = value
    return tensors, {"groups": state["param_groups"], "rest": scalars}


def unflatten(tensors: dict[str, Tensor], metadata: dict[str, Any]) -> dict[str, Any]:
    """Rebuild the state that `flatten` was given.

    Args:
        tensors: Tensors by `PARAMETER.NAME`.
        metadata: The JSON tree of `flatten`.

    Returns:
        A state for `Optimizer.load_state_dict`.
    """
    state: dict[int, dict[str, Any]] = {}
    for key, value in [*tensors.items(), *metadata["rest"].items()]:
        param_index, _, name = key.partition(".")
        state.setdefault(int(param_index), {})[name] = value
    return {"state": state, "param_groups": metadata["groups"]}


def resume_schedule(scheduler: Any, state: dict[str, Any]) -> None:
    """Load the state of a `LambdaLR` and set the learning rates that its own schedule has next.

    A saved state holds the rates of the schedule it was saved under, which a run of more steps does
    not follow; with the same schedule both are equal.

    Args:
        scheduler: Scheduler to change, with its optimizer.
        state: Saved `state_dict` of a scheduler.
    """
    scheduler.load_state_dict(state)
    rates = [
        base * rate(scheduler.last_epoch)
        for base, rate in zip(scheduler.base_lrs, scheduler.lr_lambdas, strict=True)
    ]
    for group, rate in zip(scheduler.optimizer.param_groups, rates, strict=True):
        group["lr"] = rate
    scheduler._last_lr = rates


RESUME_HINT = "run again: training resumes from the last complete checkpoint"
"""Hint of a checkpoint or model that cannot be written."""
_NAME = re.compile(r"checkpoint-(\d+)")
_WEIGHTS_FILE = "model.safetensors"
_OPTIMIZER_FILE = "optimizer.safetensors"
_MEMORY_FILE = "memory.safetensors"
_RNG_FILE = "rng_states.safetensors"
_STATE_FILE = "state.json"


@dataclass
class TrainState:
    """The progress of a run."""

    step: int = 0
    """Optimiser steps done."""
    rows: int = 0
    tokens: int = 0
    """Tokens fed to a language model; 0 for a student, where they are not counted."""
    best_score: float = -1.0
    """Best dev score so far (0..1), or the last step if there is no dev source; -1 before both."""
    best_step: int = 0
    evals_since_best: int = 0
    """Validations since the best one."""
    history: list[dict[str, Any]] = field(default_factory=list)
    """Validations: step and metrics."""
    settings: dict[str, Any] = field(default_factory=dict)
    """The run settings (`resuming`), which decide what is trained, as one flat mapping."""

    def record_validation(self, metrics: Mapping[str, Any], score: float) -> bool:
        """Add a validation, and return whether it is the best so far.

        Args:
            metrics: Step and metrics, as plain JSON.
            score: What checkpoints are compared by; higher is better.

        Returns:
            True if `score` is higher than all before; an equal score is not.
        """
        is_best = score > self.best_score
        self.evals_since_best = 0 if is_best else self.evals_since_best + 1
        self.history.append(dict(metrics))
        if is_best:
            self.best_score, self.best_step = score, self.step
        return is_best


@dataclass(frozen=True)
class Stateful:
    """What changes while a model is trained."""

    module: Any
    optimizers: Sequence[tuple[Any, Any]]
    """Optimiser and schedule, of each phase where there are several."""
    trainable_only: bool = False
    """Save only the parameters that are trained: the others are those of a base model."""
    memory: dict[str, Tensor] = field(default_factory=dict)
    """What a student remembers of rows, by their id; it is filled in place."""

    def tensors(self) -> dict[str, Tensor]:
        """Return the saved tensors of the module by name; they share its memory."""
        if self.trainable_only:
            params = self.module.named_parameters()
            return {name: p.detach() for name, p in params if p.requires_grad}
        return dict(self.module.state_dict())


def save_checkpoint(
    folder: Path,
    state: TrainState,
    stateful: Stateful,
    rng_states: Mapping[str, Tensor] | None = None,
    *,
    is_main: bool = True,
) -> None:
    """Write one checkpoint in place of an older one of the same name.

    The processes that share a model call it together; only the main one writes.

    Args:
        folder: The checkpoint.
        state: Progress of the run.
        stateful: Module, optimisers, and row memory.
        rng_states: Random states of all processes, if the run depends on them.
        is_main: Whether this process writes.

    Raises:
        UserError: When the checkpoint cannot be written; what was there stays.
    """
    weights = fsdp.gather_full(stateful.tensors(), is_main=is_main)
    optimizers = [
        (fsdp.gather_full(optimizer.state_dict(), is_main=is_main), scheduler.state_dict())
        for optimizer, scheduler in stateful.optimizers
    ]
    if not is_main:
        return
    optimizer_tensors: dict[str, Tensor] = {}
    scalars = []
    for number, (optimizer_state, scheduler_state) in enumerate(optimizers):
        tensors, optimizer_scalars = flatten(optimizer_state)
        optimizer_tensors |= {f"{number}/{name}": tensor for name, tensor in tensors.items()}
        scalars.append({"optimizer": optimizer_scalars, "scheduler": scheduler_state})
    memory = {str(i): v.clone().contiguous() for i, v in enumerate(stateful.memory.values())}
    content = {
        "train_state": asdict(state),
        "optimizers": scalars,
        "memory": list(stateful.memory),
    }
    with (
        write_errors(f"the checkpoint {folder}", hint=RESUME_HINT),
        manifest.atomic_directory(folder) as staging,
    ):
        save_file(_separate(weights, stateful), staging / _WEIGHTS_FILE)
        save_file(optimizer_tensors, staging / _OPTIMIZER_FILE)
        if memory:
            save_file(memory, staging / _MEMORY_FILE)
        if rng_states:
            save_file(dict(rng_states), staging / _RNG_FILE)
        (staging / _STATE_FILE).write_text(json.dumps(content), encoding="utf-8")


def _separate(weights: Mapping[str, Tensor], stateful: Stateful) -> dict[str, Tensor]:
    """Return the weights with storage of their own: safetensors refuses tied tensors."""
    if stateful.trainable_only:  # Parameters, each of which has one name.
        return {name: tensor.contiguous() for name, tensor in weights.items()}
    return {name: tensor.clone().contiguous() for name, tensor in weights.items()}


def restore_checkpoint(folder: Path, stateful: Stateful) -> tuple[TrainState, dict[str, Tensor]]:
    """Load a complete checkpoint into what is trained.

    Args:
        folder: A checkpoint; `check_checkpoint` says whether this run may resume from it.
        stateful: Module, optimisers and memory to fill in place.

    Returns:
        Progress of the run, and the random states of all processes (empty if none were saved).

    Raises:
        UserError: When other tensors are trained than were then.
    """
    weights, current = load_file(folder / _WEIGHTS_FILE), stateful.tensors()
    if differing := sorted(set(weights) ^ set(current))[:3]:
        raise UserError(
            f"{folder} was made by another recipe: it differs in {', '.join(differing)}"
        )
    with torch.no_grad():
        for name, tensor in current.items():
            tensor.copy_(fsdp.shard_like(weights[name], tensor))
    content = json.loads((folder / _STATE_FILE).read_text(encoding="utf-8"))
    optimizer_tensors = load_file(folder / _OPTIMIZER_FILE)
    for number, (scalars, (optimizer, scheduler)) in enumerate(
        zip(content["optimizers"], stateful.optimizers, strict=True)
    ):
        prefix = f"{number}/"
        tensors = {
            name.removeprefix(prefix): tensor
            for name, tensor in optimizer_tensors.items()
            if name.startswith(prefix)
        }
        _restore_optimizer(optimizer, unflatten(tensors, scalars["optimizer"]))
        resume_schedule(scheduler, scalars["scheduler"])
    memory = _load_if_present(folder / _MEMORY_FILE)
    stateful.memory.clear()
    # In the order in which the rows were first met: sums over all of them are the same again.
    stateful.memory.update({row: memory[str(i)] for i, row in enumerate(content["memory"])})
    return TrainState(**content["train_state"]), _load_if_present(folder / _RNG_FILE)


def _restore_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for number, param_state in state["state"].items():
        for name, value in param_state.items():
            if isinstance(value, Tensor):
                param_state[name] = fsdp.shard_like(value, parameters[number])
    optimizer.load_state_dict(state)
    # Saved by processes that shard the model, or read by such.
    fsdp.disable_foreach_if_mixed(optimizer.param_groups)


def _load_if_present(path: Path) -> dict[str, Tensor]:
    return load_file(path) if path.is_file() else {}


def check_checkpoint(
    folder: Path,
    settings: Mapping[str, Any],
    policy: ResumePolicy,
    ignored: Collection[str] = (),
) -> None:
    """Check that a run may resume from a checkpoint, or replace it; a missing one is no problem.

    Args:
        folder: The checkpoint, which need not be intact.
        settings: Run settings of this run.
        policy: Which settings may differ.
        ignored: Further settings that are not compared.

    Raises:
        UserError: If the checkpoint belongs to another run; it names what differs.
    """
    if (then := _load_settings(folder)) is not None:
        check(folder, then, settings, policy, ignored)


def latest_checkpoint(
    folder: Path, settings: Mapping[str, Any], policy: ResumePolicy
) -> tuple[Path | None, list[str]]:
    """Find the newest complete checkpoint of a run.

    Args:
        folder: The output folder, with checkpoints named `checkpoint-STEP`.
        settings: Run settings of this run.
        policy: Which settings may differ.

    Returns:
        The checkpoint (None for none), and which newer ones were skipped and why.

    Raises:
        UserError: If any checkpoint belongs to a run that trains something else: resuming, or
            starting over, would replace it.
    """
    newest_first = sorted(_checkpoint_folders(folder), key=_step_of, reverse=True)
    for path in newest_first:
        check_checkpoint(path, settings, policy)
    skipped: list[str] = []
    for path in newest_first:
        if manifest.is_intact(path):
            return path, skipped
        skipped.append(f"{path.name}: not complete")
    return None, skipped


def prune_checkpoints(folder: Path, limit: int, state: TrainState, policy: ResumePolicy) -> None:
    """Remove all checkpoints but this run's newest ones.

    The others are incomplete, or belong to a run that this one replaces because it was asked to
    start over: `latest_checkpoint` refuses them otherwise.

    Args:
        folder: The output folder.
        limit: How many checkpoints stay.
        state: Progress of this run.
        policy: Which settings may differ.
    """
    candidates = [
        path
        for path in _checkpoint_folders(folder)
        if _step_of(path) <= state.step and _belongs_to(path, state.settings, policy)
    ]
    newest = sorted(candidates, key=_step_of, reverse=True)[:limit]
    for path in set(_checkpoint_folders(folder)) - set(newest):
        shutil.rmtree(path)


def checkpoint_names(folder: Path) -> list[str]:
    """Return the names of all checkpoints of a folder, the oldest first."""
    return [path.name for path in sorted(_checkpoint_folders(folder), key=_step_of)]


def delete_checkpoint(folder: Path) -> None:
    """Remove a checkpoint, if it is there."""
    shutil.rmtree(folder, ignore_errors=True)


def _load_settings(path: Path) -> dict[str, Any] | None:
    """Return the run settings of a checkpoint, {} if it has none; None if it cannot be read."""
    try:
        content = json.loads((path / _STATE_FILE).read_text(encoding="utf-8"))
        return dict(content["train_state"].get("settings", {}))
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None


def _belongs_to(path: Path, settings: Mapping[str, Any], policy: ResumePolicy) -> bool:
    then = _load_settings(path)
    return then is not None and not incompatibilities(then, settings, policy)


def _checkpoint_folders(folder: Path) -> list[Path]:
    return [p for p in folder.glob("checkpoint-*") if _NAME.fullmatch(p.name)]


def _step_of(path: Path) -> int:
    return int(path.name.rpartition("-")[2])
