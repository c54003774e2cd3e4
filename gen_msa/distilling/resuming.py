"""Where a run stands, in one sealed folder that each judging replaces: a killed run goes on there.

    model.safetensors       weights and buffers
    optimizer.safetensors   the optimisers' tensors, each by its phase's number
    memory.safetensors      what a student remembers of rows, by their number
    random.safetensors      the random states of all processes
    state.json              step, best, schedules, the rows' ids, and the key of the run

A run that went on writes the bytes of one that was never stopped. Knows nothing of recipes.

    save(Path("out/checkpoint"), Stand(key="…", step=100), parts, {"torch": state})
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from gen_msa import manifest, states


@dataclass
class Stand:
    """Where a run stands."""

    key: str
    """Changes with everything that decides the run; another run's checkpoint is passed over."""
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


def restore(folder: Path, key: str, parts: Parts) -> tuple[Stand, dict[str, Tensor]]:
    """Put a whole checkpoint of the same run in place; where it stands, and its random states.

    From the start, and none, if there is no such checkpoint.
    """
    manifest.restore(folder)
    if not manifest.whole(folder):
        return Stand(key), {}
    told = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    stand = Stand(**told["stand"])
    if stand.key != key:
        return Stand(key), {}
    parts.module.load_state_dict(load_file(folder / "model.safetensors"))
    tensors = load_file(folder / "optimizer.safetensors")
    for number, facts in enumerate(told["updates"]):
        optimizer, scheduler = parts.updates[number]
        mark = f"{number}/"
        own = {n.removeprefix(mark): t for n, t in tensors.items() if n.startswith(mark)}
        optimizer.load_state_dict(states.deep(own, facts["optimizer"]))
        scheduler.load_state_dict(facts["scheduler"])
    known = load_file(folder / "memory.safetensors")
    parts.memory.clear()
    # In the order in which they were first met: sums over all of them are the same again.
    parts.memory.update({row: known[str(i)] for i, row in enumerate(told["memory"])})
    return stand, load_file(folder / "random.safetensors")


def forget(folder: Path) -> None:
    """Remove the checkpoint: the run has ended."""
    shutil.rmtree(folder, ignore_errors=True)
