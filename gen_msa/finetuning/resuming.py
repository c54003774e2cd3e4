"""Decides whether a run may resume from a checkpoint: whether both train the same thing.

The data order is planned by optimiser steps, so the number of processes may differ as long as a
step holds the same number of posts, and a run may become longer.

    now = run_settings(recipe, {"data": "…"}, {"processes": 2, "fsdp": False, "steps": 24})
    check(path, checkpoint_settings, now)       # raises UserError, which names what differs
    allowed_changes(checkpoint_settings, now)   # ["processes: 1 then, 2 now"]
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gen_msa import settings
from gen_msa.errors import UserError
from gen_msa.finetuning.recipe import FinetuneRecipe

_OUTPUT_FIELDS = {
    "output_dir",
    "resume",
    "report_to",
    "logging_steps",
    "save_steps",
    "save_total_limit",
}
_HARDWARE_FIELDS = {"device", "gradient_checkpointing", "attn_implementation", "save_dtype"}
_LENGTH_FIELDS = {"max_steps", "num_train_epochs", "eval_steps", "early_stopping_patience"}
_LOSSLESS_OPTIMIZATIONS = {"prefetch", "feature_cache", "answer_only_head"}
_STEPS = "steps"
_STEP_SIZE_FIELDS = (
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "processes",
)
"""The number of posts in a step is the product of these."""
_MAY_DIFFER = (_STEPS, *_STEP_SIZE_FIELDS, "fsdp")
"""What may differ between a checkpoint and the run that resumes from it; it is reported."""


def run_settings(
    recipe: FinetuneRecipe, hashes: Mapping[str, str], execution: Mapping[str, int]
) -> dict[str, Any]:
    """Return everything that decides what is trained, as one flat mapping.

    Recipe fields that change no weight (beyond rounding) are left out: output, hardware, and when
    the model is validated.

    Args:
        recipe: The recipe of the run.
        hashes: Name (`base model`, `data`, `dev`) to hash of what the run reads.
        execution: `processes`, `fsdp` (whether the model is sharded) and `steps` of the run.
    """
    ignored = {*_OUTPUT_FIELDS, *_HARDWARE_FIELDS, *_LENGTH_FIELDS, "model_name_or_path"}
    tree = recipe.model_dump(
        mode="json",
        exclude={**dict.fromkeys(ignored, True), "optimizations": _LOSSLESS_OPTIMIZATIONS},
    )
    return {
        **settings.flatten(tree),
        **{f"{name} (sha256)": value for name, value in hashes.items()},
        **execution,
    }


def incompatibilities(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return what makes two runs incompatible, one line each; empty if `now` may resume `then`.

    Args:
        then: `run_settings` stored in the checkpoint.
        now: `run_settings` of the run that wants to resume.
    """
    if not set(_MAY_DIFFER) <= set(then):
        return ["it does not record the settings that it was made with"]
    lines = settings.differences(_without(then, _MAY_DIFFER), _without(now, _MAY_DIFFER))
    if _posts_per_step(then) != _posts_per_step(now):
        lines += settings.differences(
            _select(then, _STEP_SIZE_FIELDS), _select(now, _STEP_SIZE_FIELDS)
        )
    if then[_STEPS] > now[_STEPS]:
        shorter = settings.differences(_select(then, (_STEPS,)), _select(now, (_STEPS,)))
        lines += [f"{shorter[0]} (max_steps, num_train_epochs)"]
    return lines


def check(checkpoint: Path, then: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Check that a run may resume from a checkpoint.

    Args:
        checkpoint: The checkpoint's folder, for the message.
        then: `run_settings` stored in the checkpoint.
        now: `run_settings` of the run that wants to resume.

    Raises:
        UserError: If the checkpoint is of another run; it names what differs.
    """
    lines = incompatibilities(then, now)
    if not lines:
        return
    hint = "choose another output_dir, or start over in this one: --no-resume (resume=false)"
    if set(_STEP_SIZE_FIELDS) <= set(then) and _posts_per_step(then) != _posts_per_step(now):
        per_pass = now["per_device_train_batch_size"] * now["processes"]
        accumulation, remainder = divmod(_posts_per_step(then), per_pass)
        if accumulation and not remainder:
            hint = (
                f"gradient_accumulation_steps={accumulation} keeps {_posts_per_step(then)} posts "
                f"a step; or {hint}"
            )
    raise UserError(
        f"{checkpoint} belongs to another run and would be overwritten: {'; '.join(lines)}",
        hint=hint,
    )


def allowed_changes(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return what differs in a run that may resume all the same, one line each.

    Args:
        then: `run_settings` stored in the checkpoint.
        now: `run_settings` of the run that resumes.
    """
    return settings.differences(_select(then, _MAY_DIFFER), _select(now, _MAY_DIFFER))


def _posts_per_step(values: Mapping[str, Any]) -> int:
    """Return the posts of an optimiser step, over all processes."""
    return math.prod(values[name] for name in _STEP_SIZE_FIELDS)


def _select(values: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: values[name] for name in names}


def _without(values: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in names}


other = incompatibilities
