"""Where a run stands, in one sealed folder that each judging replaces: a killed run goes on there.

    model.safetensors       weights and buffers
    optimizer.safetensors   the optimisers' tensors, each by its phase's number
    memory.safetensors      what a student remembers of rows, by their number
    random.safetensors      the random states of all processes
    state.json              step, best, schedules, the rows' ids, and the run's settings

A run that went on writes the bytes of one that was never stopped. Knows nothing of recipes.

    save(Path("out/checkpoint"), Stand({"seed": 0, …}, step=100), parts, {"torch": state})
"""

import json
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from gen_msa import manifest, settings, states
from gen_msa.errors import UserError

DATA, STEPS = "data (sha256)", "steps"
MAY_DIFFER = (STEPS, "processes", "device", "torch")
"""Settings by which a run may go on though they are not as they were; steps, if they are more."""


@dataclass
class Stand:
    """Where a run stands."""

    settings: dict[str, Any]
    """Everything that decides the run, flat; another run's checkpoint is refused."""
    step: int = 0
    best: float = -1.0
    best_step: int = 0


@dataclass(frozen=True)
class Parts:
    """What changes while a student is trained."""

    module: Any
    updates: Sequence[tuple[Any, Any]]
    """Optimiser and schedule of each phase."""
    memory: dict[str, Tensor] = field(default_factory=dict)
    """A student's own, of rows by their id; it is filled in place."""


def save(folder: Path, stand: Stand, parts: Parts, random: Mapping[str, Tensor]) -> None:
    """Write the checkpoint in place of an older one. Raises `OSError` where it cannot."""
    tensors, facts = dict[str, Tensor](), []
    for number, (optimizer, scheduler) in enumerate(parts.updates):
        found, rest = states.flat(optimizer.state_dict())
        tensors |= {f"{number}/{name}": tensor for name, tensor in found.items()}
        facts.append({"optimizer": rest, "scheduler": scheduler.state_dict()})
    told = {"stand": asdict(stand), "updates": facts, "memory": list(parts.memory)}
    with manifest.staged(folder) as draft:
        # Tied tensors are written once each: a copy has storage of its own.
        own = {k: v.detach().clone().contiguous() for k, v in parts.module.state_dict().items()}
        known = {str(i): v.clone().contiguous() for i, v in enumerate(parts.memory.values())}
        save_file(own, draft / "model.safetensors")
        save_file(tensors, draft / "optimizer.safetensors")
        save_file(known, draft / "memory.safetensors")
        save_file(dict(random), draft / "random.safetensors")
        (draft / "state.json").write_text(json.dumps(told), encoding="utf-8")


def check(folder: Path, now: Mapping[str, Any], *, besides: Collection[str] = ()) -> None:
    """Raise `UserError`, which names what differs, if the checkpoint is of another run than `now`.

    It is of the same run if all that was trained so far is what this one would have: a batch is the
    same whatever the number of processes, and a run may get longer. `besides` is not looked at.
    """
    then = _settings_of(folder)
    if then is None:
        return
    free = {*MAY_DIFFER, *besides}
    pair = ({k: v for k, v in told.items() if k not in free} for told in (then, now))
    found = settings.differences(*pair) if then else ["it does not say by which settings"]
    if STEPS not in besides and then.get(STEPS, 0) > now[STEPS]:
        found.append(f"{STEPS}: {then[STEPS]} then, {now[STEPS]} now (num_train_epochs)")
    if found:
        raise UserError(
            f"{folder} is of another run, which would be written over: {'; '.join(found)}",
            mend="choose another output_dir, or begin anew in its place: --fresh (resume=false)",
        )


def restore(
    folder: Path, now: dict[str, Any], parts: Parts
) -> tuple[Stand, dict[str, Tensor], list[str]]:
    """Put a whole checkpoint of the same run in place: where it stands, and its random states.

    Last comes which settings of `MAY_DIFFER` are not as they were. From the start, and none, if
    there is no whole checkpoint. Raises `UserError` as `check` does.
    """
    manifest.restore(folder)
    check(folder, now)
    if not manifest.whole(folder):
        return Stand(now), {}, []
    told = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    stand = Stand(**told["stand"])
    changed = settings.differences(
        *({k: s[k] for k in MAY_DIFFER if k in s} for s in (stand.settings, now))
    )
    stand.settings = now
    parts.module.load_state_dict(load_file(folder / "model.safetensors"))
    tensors = load_file(folder / "optimizer.safetensors")
    for number, facts in enumerate(told["updates"]):
        optimizer, scheduler = parts.updates[number]
        mark = f"{number}/"
        own = {n.removeprefix(mark): t for n, t in tensors.items() if n.startswith(mark)}
        optimizer.load_state_dict(states.deep(own, facts["optimizer"]))
        states.resume_schedule(scheduler, facts["scheduler"])
    known = load_file(folder / "memory.safetensors")
    parts.memory.clear()
    # In the order in which they were first met: sums over all of them are the same again.
    parts.memory.update({row: known[str(i)] for i, row in enumerate(told["memory"])})
    return stand, load_file(folder / "random.safetensors"), changed


def _settings_of(folder: Path) -> dict[str, Any] | None:
    """What decided the run of a checkpoint, {} if it does not say; None if it cannot be read."""
    try:
        told = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        return dict(told["stand"].get("settings", {}))
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None


def forget(folder: Path) -> None:
    """Remove the checkpoint: the run has ended."""
    shutil.rmtree(folder, ignore_errors=True)
