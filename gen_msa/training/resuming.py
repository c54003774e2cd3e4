"""Decides whether a run may resume from a checkpoint: whether both train the same thing.

A run records everything that decides what is trained as one flat mapping, its run settings. The
order of the data is planned by optimiser steps, so some of them may differ: a run may become
longer, and the number of processes may change as long as a step holds the same posts.

    policy = ResumePolicy(may_differ=("processes",))
    check(path, checkpoint_settings, now, policy)       # raises UserError, which names what differs
    allowed_changes(checkpoint_settings, now, policy)   # ["processes: 1 then, 2 now"]
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gen_msa import settings
from gen_msa.errors import UserError

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
