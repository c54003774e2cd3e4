"""Where a run stands, in one sealed folder that each judging replaces: a killed run goes on there.

    model.safetensors       weights and buffers
    optimizer.safetensors   the optimisers' tensors, each by its phase's number
    memory.safetensors      what a student remembers of rows, by their number
    rng_states.safetensors    the random states of all processes
    state.json              step, best_score, schedules, the rows' ids, and the run's settings

A run that went on writes the bytes of one that was never stopped. Knows nothing of recipes.

    save_checkpoint(Path("out/checkpoint"), StudentTrainState({"seed": 0, …}, step=100), stateful, {"torch": state})
"""

import json
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from gen_msa import manifest, optim_state, settings
from gen_msa.errors import UserError

DATA, STEPS = "data (sha256)", "steps"
MAY_DIFFER = (STEPS, "processes", "device", "torch")
"""Settings by which a run may go on though they are not as they were; steps, if they are more."""


@dataclass
class StudentTrainState:
    """Where a run stands."""

    settings: dict[str, Any]
    """Everything that decides the run, flat; another run's checkpoint is refused."""
    step: int = 0
    best_score: float = -1.0
    best_step: int = 0


@dataclass(frozen=True)
class Stateful:
    """What changes while a student is trained."""

    module: Any
    optimizers: Sequence[tuple[Any, Any]]
    """Optimiser and schedule of each phase."""
    memory: dict[str, Tensor] = field(default_factory=dict)
    """A student's own, of rows by their id; it is filled in place."""


def save_checkpoint(
    folder: Path, state: StudentTrainState, stateful: Stateful, rng_states: Mapping[str, Tensor]
) -> None:
    """Write the checkpoint in place of an older one. Raises `OSError` where it cannot."""
    tensors, optimizer_states = dict[str, Tensor](), []
    for number, (optimizer, scheduler) in enumerate(stateful.optimizers):
        optimizer_tensors, optimizer_scalars = optim_state.flatten(optimizer.state_dict())
        tensors |= {f"{number}/{name}": tensor for name, tensor in optimizer_tensors.items()}
        optimizer_states.append(
            {"optimizer": optimizer_scalars, "scheduler": scheduler.state_dict()}
        )
    content = {"state": asdict(state), "optimizers": optimizer_states, "memory": list(stateful.memory)}
    with manifest.atomic_directory(folder) as staging:
        # Tied tensors are written once each: a copy has storage of its own.
        weights = {
            k: v.detach().clone().contiguous() for k, v in stateful.module.state_dict().items()
        }
        memory = {str(i): v.clone().contiguous() for i, v in enumerate(stateful.memory.values())}
        save_file(weights, staging / "model.safetensors")
        save_file(tensors, staging / "optimizer.safetensors")
        save_file(memory, staging / "memory.safetensors")
        save_file(dict(rng_states), staging / "rng_states.safetensors")
        (staging / "state.json").write_text(json.dumps(content), encoding="utf-8")


def check(folder: Path, now: Mapping[str, Any], *, besides: Collection[str] = ()) -> None:
    """Raise `UserError`, which names what differs, if the checkpoint is of another run than `now`.

    It is of the same run if all that was trained so far is what this one would have: a batch is the
    same whatever the number of processes, and a run may get longer. `besides` is not looked at.
    """
    then = _settings_of(folder)
    if then is None:
        return
    free = {*MAY_DIFFER, *besides}
    pair = ({k: v for k, v in content.items() if k not in free} for content in (then, now))
    optimizer_tensors = (
        settings.differences(*pair) if then else ["it does not say by which settings"]
    )
    if STEPS not in besides and then.get(STEPS, 0) > now[STEPS]:
        optimizer_tensors.append(
            f"{STEPS}: {then[STEPS]} then, {now[STEPS]} now (num_train_epochs)"
        )
    if optimizer_tensors:
        raise UserError(
            f"{folder} is of another run, which would be written over: {'; '.join(optimizer_tensors)}",
            hint="choose another output_dir, or begin anew in its place: --no-resume (resume=false)",
        )


def restore_checkpoint(
    folder: Path, now: dict[str, Any], stateful: Stateful
) -> tuple[StudentTrainState, dict[str, Tensor], list[str]]:
    """Put a whole checkpoint of the same run in place: where it stands, and its random states.

    Last comes which settings of `MAY_DIFFER` are not as they were. From the start, and none, if
    there is no is_intact checkpoint. Raises `UserError` as `check` does.
    """
    manifest.recover(folder)
    check(folder, now)
    if not manifest.is_intact(folder):
        return StudentTrainState(now), {}, []
    content = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    state = StudentTrainState(**content["state"])
    changed = settings.differences(
        *({k: s[k] for k in MAY_DIFFER if k in s} for s in (state.settings, now))
    )
    state.settings = now
    stateful.module.load_state_dict(load_file(folder / "model.safetensors"))
    tensors = load_file(folder / "optimizer.safetensors")
    for number, optimizer_state in enumerate(content["optimizers"]):
        optimizer, scheduler = stateful.optimizers[number]
        prefix = f"{number}/"
        optimizer_tensors = {
            n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)
        }
        optimizer.load_state_dict(
            optim_state.unflatten(optimizer_tensors, optimizer_state["optimizer"])
        )
        optim_state.resume_schedule(scheduler, optimizer_state["scheduler"])
    memory = load_file(folder / "memory.safetensors")
    stateful.memory.clear()
    # In the order in which they were first met: sums over all of them are the same again.
    stateful.memory.update({row: memory[str(i)] for i, row in enumerate(content["memory"])})
    return state, load_file(folder / "rng_states.safetensors"), changed


def _settings_of(folder: Path) -> dict[str, Any] | None:
    """What decided the run of a checkpoint, {} if it does not say; None if it cannot be read."""
    try:
        content = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        return dict(content["state"].get("settings", {}))
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None


def delete_checkpoint(folder: Path) -> None:
    """Remove the checkpoint: the run has ended."""
    shutil.rmtree(folder, ignore_errors=True)
