"""Checkpoints: what is trained, the optimiser, its schedule, and where the run stood.

A checkpoint is staged beside its place, sealed with a manifest and renamed, so it is there whole or
not at all; going on takes the newest whole one. Safetensors and JSON only. No random state: each
step draws its own. Knows no recipe.

    save(folder / "checkpoint-120", state); latest(folder)
"""

import json
import re
import shutil
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from gen_msa import manifest, states
from gen_msa.errors import UserError
from gen_msa.finetuning import resuming, sharding

NOT_WRITTEN = (OSError, SafetensorError)
"""What a disk that is full, gone or read-only raises, by way of Python or of safetensors."""
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
    settings: dict[str, Any] = field(default_factory=dict)
    """What decides what is trained (`resuming.deciding`): those of another run are refused."""


def save(
    folder: Path,
    trained: dict[str, torch.Tensor],
    optimizer: dict[str, Any],
    scheduler: Any,
    progress: Progress,
) -> None:
    """Write one checkpoint of whole tensors; `optimizer` is its state.

    Raises `UserError` when the disk will not take it; older ones stay.
    """
    tensors, facts = states.flat(optimizer)
    told = {"progress": asdict(progress), "optimizer": facts, "scheduler": scheduler.state_dict()}
    try:
        with manifest.staged(folder) as draft:
            save_file({k: v.contiguous() for k, v in trained.items()}, draft / _TRAINED)
            save_file(tensors, draft / _OPTIMISER)
            (draft / _FACTS).write_text(json.dumps(told), encoding="utf-8")
    except NOT_WRITTEN as e:
        raise UserError(
            f"the checkpoint {folder} cannot be written: {e}",
            mend="make room, then run again: it goes on from the last whole checkpoint",
        ) from None


def restore(folder: Path, model: Any, optimizer: torch.optim.Optimizer, scheduler: Any) -> Progress:
    """Put a checkpoint's state into model, optimiser and schedule; where the run stood.

    Raises `UserError` when other tensors are trained than were then.
    """
    trained = load_file(folder / _TRAINED)
    wanted = {n: p for n, p in model.named_parameters() if p.requires_grad}
    if set(trained) != set(wanted):
        odd = sorted(set(trained) ^ set(wanted))[:3]
        raise UserError(f"{folder} was made by another recipe: it differs in {', '.join(odd)}")
    with torch.no_grad():
        for name, parameter in wanted.items():
            parameter.copy_(sharding.like(trained[name], parameter))
    tensors = load_file(folder / _OPTIMISER)
    told = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
    state = states.deep(tensors, told["optimizer"])
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for number, facts in state["state"].items():
        for name, value in facts.items():
            if isinstance(value, torch.Tensor):
                facts[name] = sharding.like(value, parameters[number])
    optimizer.load_state_dict(state)
    # Saved by processes that split the model, or read by such.
    sharding.uniform(optimizer.param_groups)
    states.resume_schedule(scheduler, told["scheduler"])
    return Progress(**told["progress"])


def latest(folder: Path, settings: dict[str, Any]) -> tuple[Path | None, list[str]]:
    """The newest whole checkpoint, and what was passed over and why.

    Raises `UserError` naming what differs if any checkpoint of the folder is of a run that has not
    trained what these `settings` would have: going on, or beginning anew, would replace it.
    """
    found = sorted(_all(folder), key=_step, reverse=True)
    for path in found:
        if (then := _settings_of(path)) is not None:
            resuming.check(path, then, settings)
    passed: list[str] = []
    for path in found:
        if manifest.whole(path):
            return path, passed
        passed.append(f"{path.name}: not whole")
    return None, passed


def prune(folder: Path, keep: int, progress: Progress) -> None:
    """Remove all checkpoints but this run's newest `keep`.

    Others are not whole, or of a run in place of which this one was begun anew, as it was asked to:
    `latest` refuses them otherwise.
    """
    own = [p for p in _all(folder) if _step(p) <= progress.step and _own(p, progress.settings)]
    kept = sorted(own, key=_step, reverse=True)[:keep]
    for path in set(_all(folder)) - set(kept):
        shutil.rmtree(path)


def names(folder: Path) -> list[str]:
    """All checkpoints of a folder, the oldest first."""
    return [path.name for path in sorted(_all(folder), key=_step)]


def check_place(folder: Path) -> None:
    """Raise `UserError` unless files can be written to `folder`, which is made if need be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as f:
            f.write(b"0" * 4096)
    except OSError as e:
        raise UserError(
            f"output_dir {folder} cannot be written to: {e.strerror or e}",
            mend="choose another output_dir, or make room",
        ) from None


def _settings_of(path: Path) -> dict[str, Any] | None:
    """The settings a checkpoint was made by, {} if it has none; None if it cannot be read."""
    try:
        told = json.loads((path / _FACTS).read_text(encoding="utf-8"))
        return dict(told["progress"].get("settings", {}))
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None


def _own(path: Path, settings: dict[str, Any]) -> bool:
    then = _settings_of(path)
    return then is not None and not resuming.other(then, settings)


def _all(folder: Path) -> list[Path]:
    return [p for p in folder.glob("checkpoint-*") if _NAME.fullmatch(p.name)]


def _step(path: Path) -> int:
    return int(path.name.rpartition("-")[2])
