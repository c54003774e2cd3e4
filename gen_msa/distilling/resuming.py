"""Where a run stands, in one sealed folder that each judging replaces: a killed run goes on there.

    model.safetensors       weights and buffers
    optimizer.safetensors   the optimiser's tensors
    random.safetensors      torch's random state
    state.json              step, best, schedule, and the key of the run

A run that went on writes the bytes of one that was never stopped. Knows nothing of rows or recipes.

    save(Path("out/checkpoint"), Stand(key="…", step=100), module, optimizer, scheduler)
"""

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from gen_msa import manifest, states


@dataclass
class Stand:
    """Where a run stands."""

    key: str
    """Changes with everything that decides the run; another run's checkpoint is passed over."""
    step: int = 0
    best: float = -1.0
    best_step: int = 0


def save(folder: Path, stand: Stand, module: Any, optimizer: Any, scheduler: Any) -> None:
    """Write the checkpoint in place of an older one. Raises `OSError` where it cannot."""
    tensors, facts = states.flat(optimizer.state_dict())
    told = {"stand": asdict(stand), "optimizer": facts, "scheduler": scheduler.state_dict()}
    with manifest.staged(folder) as draft:
        # Tied tensors are written once each: a copy has storage of its own.
        own = {k: v.detach().clone().contiguous() for k, v in module.state_dict().items()}
        save_file(own, draft / "model.safetensors")
        save_file(tensors, draft / "optimizer.safetensors")
        save_file({"torch": torch.get_rng_state()}, draft / "random.safetensors")
        (draft / "state.json").write_text(json.dumps(told), encoding="utf-8")


def restore(folder: Path, key: str, module: Any, optimizer: Any, scheduler: Any) -> Stand:
    """Put a whole checkpoint of the same run in place; where it stands, from the start if none."""
    manifest.restore(folder)
    if not manifest.whole(folder):
        return Stand(key)
    told = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    stand = Stand(**told["stand"])
    if stand.key != key:
        return Stand(key)
    module.load_state_dict(load_file(folder / "model.safetensors"))
    tensors = load_file(folder / "optimizer.safetensors")
    optimizer.load_state_dict(states.deep(tensors, told["optimizer"]))
    scheduler.load_state_dict(told["scheduler"])
    torch.set_rng_state(load_file(folder / "random.safetensors")["torch"])
    return stand


def forget(folder: Path) -> None:
    """Remove the checkpoint: the run has ended."""
    shutil.rmtree(folder, ignore_errors=True)
