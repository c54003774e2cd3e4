"""Checkpoints: what is trained, the optimiser, the random state, and where the run stood.

A checkpoint is staged beside its place, sealed with a manifest and renamed, so it is there whole or
not at all; going on takes the newest whole one. Safetensors and JSON only. Knows no recipe.

    save(folder / "checkpoint-120", state); latest(folder)
"""

import json
import re
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from gen_msa import manifest
from gen_msa.errors import UserError

_NAME = re.compile(r"checkpoint-(\d+)")
_TRAINED, _OPTIMISER, _FACTS = "trained.safetensors", "optimizer.safetensors", "state.json"


@dataclass
class Progress:
    """Where a run stands."""

    step: int = 0
    """Optimiser steps done."""
    rows: int = 0
    tokens: int = 0
    best: float = -1.0
    """Best dev macro-F1 so far; -1 before the first evaluation."""
    best_step: int = 0
    worse: int = 0
    """Evaluations since the best."""
    history: list[dict[str, Any]] = field(default_factory=list)
    """Evaluations: step and figures."""
    recipe: str = ""
    """Hash of what decides the run; a checkpoint of another recipe is not gone on from."""


def save(
    folder: Path,
    trained: dict[str, torch.Tensor],
    optimizer: torch.optim.Optimizer,
    scheduler: Any,
    progress: Progress,
) -> None:
    """Write one checkpoint. Raises `UserError` when the disk will not take it; older ones stay."""
    tensors, facts = _flat(optimizer.state_dict())
    tensors["rng"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["rng.cuda"] = torch.cuda.get_rng_state()
    told = {"progress": asdict(progress), "optimizer": facts, "scheduler": scheduler.state_dict()}
    try:
        with manifest.staged(folder) as draft:
            save_file({k: v.contiguous() for k, v in trained.items()}, draft / _TRAINED)
            save_file(tensors, draft / _OPTIMISER)
            (draft / _FACTS).write_text(json.dumps(told), encoding="utf-8")
    except OSError as e:
        raise UserError(
            f"the checkpoint {folder} cannot be written: {e}", mend="free space; then run again"
        ) from None


def restore(folder: Path, model: Any, optimizer: torch.optim.Optimizer, scheduler: Any) -> Progress:
    """Put a checkpoint's state into model, optimiser, schedule and random state."""
    trained = load_file(folder / _TRAINED)
    wanted = {n: p for n, p in model.named_parameters() if p.requires_grad}
    if set(trained) != set(wanted):
        odd = sorted(set(trained) ^ set(wanted))[:3]
        raise UserError(f"{folder} was made by another recipe: it differs in {', '.join(odd)}")
    with torch.no_grad():
        for name, parameter in wanted.items():
            parameter.copy_(trained[name])
    tensors = load_file(folder / _OPTIMISER)
    told = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
    torch.set_rng_state(tensors.pop("rng"))
    if "rng.cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["rng.cuda"])
    tensors.pop("rng.cuda", None)
    optimizer.load_state_dict(_deep(tensors, told["optimizer"]))
    scheduler.load_state_dict(told["scheduler"])
    return Progress(**told["progress"])


def latest(folder: Path, recipe: str) -> tuple[Path | None, list[str]]:
    """The newest whole checkpoint of this recipe, and what was passed over and why."""
    passed: list[str] = []
    for path in sorted(_all(folder), key=_step, reverse=True):
        if not manifest.whole(path):
            passed.append(f"{path.name}: not whole")
            continue
        told = json.loads((path / _FACTS).read_text(encoding="utf-8"))
        if told["progress"]["recipe"] != recipe:
            passed.append(f"{path.name}: made by another recipe")
            continue
        return path, passed
    return None, passed


def prune(folder: Path, keep: int) -> None:
    """Remove all but the newest `keep` checkpoints."""
    for path in sorted(_all(folder), key=_step, reverse=True)[keep:]:
        shutil.rmtree(path)


def _all(folder: Path) -> list[Path]:
    return [p for p in folder.glob("checkpoint-*") if _NAME.fullmatch(p.name)]


def _step(path: Path) -> int:
    return int(path.name.rpartition("-")[2])


def _flat(state: dict[str, Any]) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """An optimiser's state as tensors by `PARAMETER.NAME`, and the rest as JSON."""
    tensors, rest = {}, {}
    for number, facts in state["state"].items():
        for name, value in facts.items():
            if isinstance(value, torch.Tensor):
                tensors[f"{number}.{name}"] = value.contiguous()
            else:
                rest[f"{number}.{name}"] = value
    return tensors, {"groups": state["param_groups"], "rest": rest}


def _deep(tensors: dict[str, torch.Tensor], facts: dict[str, Any]) -> dict[str, Any]:
    state: dict[int, dict[str, Any]] = {}
    for key, value in [*tensors.items(), *facts["rest"].items()]:
        number, _, name = key.partition(".")
        state.setdefault(int(number), {})[name] = value
    return {"state": state, "param_groups": facts["groups"]}
