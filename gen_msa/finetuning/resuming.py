"""Whether a run may go on from a checkpoint: if what was trained so far is what it would have been.

Posts are planned by optimiser steps, so the number of processes may change where a step has as many
posts as before, and a run may get longer. Knows nothing of files or tensors.

    now = deciding(recipe, {"data": "…"}, {"processes": 2, "fsdp": False, "steps": 24})
    check(path, then, now); changes(then, now)
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gen_msa import settings
from gen_msa.errors import UserError
from gen_msa.finetuning.recipe import Recipe

_PLACES = {"output_dir", "resume", "report_to", "logging_steps", "save_steps", "save_total_limit"}
_MACHINE = {"device", "gradient_checkpointing", "attn_implementation", "save_dtype"}
_LENGTH = {"max_steps", "num_train_epochs", "eval_steps", "early_stopping_patience"}
_LEVERS = {"prefetch", "feature_cache", "labelled_head"}
_STEPS = "steps"
_STEP = ("per_device_train_batch_size", "gradient_accumulation_steps", "processes")
"""What a step's posts are the product of."""
_WAYS = (_STEPS, *_STEP, "fsdp")
"""What may differ in a run that goes on; said where it does."""


def deciding(recipe: Recipe, hashes: Mapping[str, str], ways: Mapping[str, int]) -> dict[str, Any]:
    """What decides what is trained, flat: the recipe, `hashes` of base model and rows, and `ways`.

    `ways` are `processes`, `fsdp` (whether they split the model) and `steps` of the run. Left out
    of the recipe is what moves no weight (up to rounding): places, the machine, when it is judged.
    """
    free = {*_PLACES, *_MACHINE, *_LENGTH, "model_name_or_path"}
    told = recipe.model_dump(mode="json", exclude={**dict.fromkeys(free, True), "levers": _LEVERS})
    return {
        **settings.flat(told),
        **{f"{name} (sha256)": value for name, value in hashes.items()},
        **ways,
    }


def other(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What makes two runs different ones, as `settings.differences` says it; empty: go on."""
    if not set(_WAYS) <= set(then):
        return ["it does not say by which settings it was made"]
    found = settings.differences(_without(then, _WAYS), _without(now, _WAYS))
    if _posts(then) != _posts(now):
        found += settings.differences(_only(then, _STEP), _only(now, _STEP))
    if then[_STEPS] > now[_STEPS]:
        length = settings.differences(_only(then, (_STEPS,)), _only(now, (_STEPS,)))
        found += [f"{length[0]} (max_steps, num_train_epochs)"]
    return found


def check(checkpoint: Path, then: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise `UserError`, which names what differs, unless a run by `now` may go on from it."""
    found = other(then, now)
    if not found:
        return
    mend = "choose another output_dir, or begin anew in its place: --fresh (resume=false)"
    if set(_STEP) <= set(then) and _posts(then) != _posts(now):
        there = math.prod(now[name] for name in _STEP if name != "gradient_accumulation_steps")
        many, rest = divmod(_posts(then), there)
        if many and not rest:
            mend = (
                f"gradient_accumulation_steps={many} keeps {_posts(then)} posts a step; or {mend}"
            )
    raise UserError(
        f"{checkpoint} is of another run, which would be written over: {'; '.join(found)}",
        mend=mend,
    )


def changes(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What is not as it was in a run that goes on all the same."""
    return settings.differences(_only(then, _WAYS), _only(now, _WAYS))


def _posts(told: Mapping[str, Any]) -> int:
    """Posts of an optimiser step, over all processes."""
    return math.prod(told[name] for name in _STEP)


def _only(told: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: told[name] for name in names}


def _without(told: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: value for name, value in told.items() if name not in names}
