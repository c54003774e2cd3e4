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

from gen_msa import manifest, optim_state
from gen_msa.errors import UserError
from gen_msa.finetuning import resuming
from gen_msa.training import fsdp

WRITE_ERRORS = (OSError, SafetensorError)
"""What a disk that is full, gone or read-only raises, by way of Python or of safetensors."""
_NAME = re.compile(r"checkpoint-(\d+)")
_WEIGHTS_FILE, _OPTIMIZER_FILE, _STATE_FILE = (
    "trained.safetensors",
    "optimizer.safetensors",
    "state.json",
)


@dataclass
class TrainState:
    """Where a run stands."""

    step: int = 0
    """Optimiser steps done."""
    rows: int = 0
    tokens: int = 0
    best_score: float = -1.0
    """Best dev macro-F1 so far; -1 before the first evaluation."""
    best_step: int = 0
    evals_since_best: int = 0
    """Evaluations since the best."""
    history: list[dict[str, Any]] = field(default_factory=list)
    """Evaluations: step and figures."""
    settings: dict[str, Any] = field(default_factory=dict)
    """What decides what is trained (`resuming.deciding`): those of another run are refused."""


def save_checkpoint(
    folder: Path,
    weights: dict[str, torch.Tensor],
    optimizer: dict[str, Any],
    scheduler: Any,
    train_state: TrainState,
) -> None:
    """Write one checkpoint of whole tensors; `optimizer` is its state.

    Raises `UserError` when the disk will not take it; older ones stay.
    """
    tensors, optimizer_scalars = optim_state.flatten(optimizer)
    content = {
        "train_state": asdict(train_state),
        "optimizer": optimizer_scalars,
        "scheduler": scheduler.state_dict(),
    }
    try:
        with manifest.atomic_directory(folder) as staging:
            save_file({k: v.contiguous() for k, v in weights.items()}, staging / _WEIGHTS_FILE)
            save_file(tensors, staging / _OPTIMIZER_FILE)
            (staging / _STATE_FILE).write_text(json.dumps(content), encoding="utf-8")
    except WRITE_ERRORS as e:
        raise UserError(
            f"the checkpoint {folder} cannot be written: {e}",
            hint="make room, then run again: it goes on from the last whole checkpoint",
        ) from None


def restore_checkpoint(
    folder: Path, model: Any, optimizer: torch.optim.Optimizer, scheduler: Any
) -> TrainState:
    """Put a checkpoint's state into model, optimiser and schedule; where the run stood.

    Raises `UserError` when other tensors are trained than were then.
    """
    weights = load_file(folder / _WEIGHTS_FILE)
    params = {n: p for n, p in model.named_parameters() if p.requires_grad}
    if set(weights) != set(params):
        differing = sorted(set(weights) ^ set(params))[:3]
        raise UserError(
            f"{folder} was made by another recipe: it differs in {', '.join(differing)}"
        )
    with torch.no_grad():
        for name, parameter in params.items():
            parameter.copy_(fsdp.shard_like(weights[name], parameter))
    tensors = load_file(folder / _OPTIMIZER_FILE)
    content = json.loads((folder / _STATE_FILE).read_text(encoding="utf-8"))
    state = optim_state.unflatten(tensors, content["optimizer"])
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for number, param_state in state["state"].items():
        for name, value in param_state.items():
            if isinstance(value, torch.Tensor):
                param_state[name] = fsdp.shard_like(value, parameters[number])
    optimizer.load_state_dict(state)
    # Saved by processes that split the model, or read by such.
    fsdp.disable_foreach_if_mixed(optimizer.param_groups)
    optim_state.resume_schedule(scheduler, content["scheduler"])
    return TrainState(**content["train_state"])


def latest_checkpoint(folder: Path, settings: dict[str, Any]) -> tuple[Path | None, list[str]]:
    """The newest whole checkpoint, and what was passed over and why.

    Raises `UserError` naming what differs if any checkpoint of the folder is of a run that has not
    weights what these `settings` would have: going on, or beginning anew, would replace it.
    """
    found = sorted(_checkpoint_folders(folder), key=_step_of, reverse=True)
    for path in found:
        if (then := _settings_of(path)) is not None:
            resuming.check(path, then, settings)
    skipped: list[str] = []
    for path in found:
        if manifest.is_intact(path):
            return path, skipped
        skipped.append(f"{path.name}: not is_intact")
    return None, skipped


def prune_checkpoints(folder: Path, limit: int, train_state: TrainState) -> None:
    """Remove all checkpoints but this run's newest `keep`.

    Others are not is_intact, or of a run in place of which this one was begun anew, as it was asked to:
    `latest_checkpoint` refuses them otherwise.
    """
    checkpoints = [
        p
        for p in _checkpoint_folders(folder)
        if _step_of(p) <= train_state.step and _own(p, train_state.settings)
    ]
    newest = sorted(checkpoints, key=_step_of, reverse=True)[:limit]
    for path in set(_checkpoint_folders(folder)) - set(newest):
        shutil.rmtree(path)


def names(folder: Path) -> list[str]:
    """All checkpoints of a folder, the oldest first."""
    return [path.name for path in sorted(_checkpoint_folders(folder), key=_step_of)]


def check_writable(folder: Path) -> None:
    """Raise `UserError` unless files can be written to `folder`, which is made if need be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as f:
            f.write(b"0" * 4096)
    except OSError as e:
        raise UserError(
            f"output_dir {folder} cannot be written to: {e.strerror or e}",
            hint="choose another output_dir, or make room",
        ) from None


def _settings_of(path: Path) -> dict[str, Any] | None:
    """The settings a checkpoint was made by, {} if it has none; None if it cannot be read."""
    try:
        content = json.loads((path / _STATE_FILE).read_text(encoding="utf-8"))
        return dict(content["train_state"].get("settings", {}))
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None


def _own(path: Path, settings: dict[str, Any]) -> bool:
    then = _settings_of(path)
    return then is not None and not resuming.other(then, settings)


def _checkpoint_folders(folder: Path) -> list[Path]:
    return [p for p in folder.glob("checkpoint-*") if _NAME.fullmatch(p.name)]


def _step_of(path: Path) -> int:
    return int(path.name.rpartition("-")[2])
