"""An optimiser's state as flat tensors and JSON, so that a checkpoint needs no pickle.

Knows nothing of files, models or runs.

    tensors, facts = flat(optimizer.state_dict())
    optimizer.load_state_dict(deep(tensors, facts))
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def flatten(state: dict[str, Any]) -> "tuple[dict[str, Tensor], dict[str, Any]]":
    """A torch optimiser's state as tensors by `PARAMETER.NAME`, and the rest as JSON."""
    from torch import Tensor

    tensors, scalars = {}, {}
    for param_index, param_state in state["state"].items():
        for name, value in param_state.items():
            if isinstance(value, Tensor):
                tensors[f"{param_index}.{name}"] = value.contiguous()
            else:
                scalars[f"{param_index}.{name}"] = value
    return tensors, {"groups": state["param_groups"], "rest": scalars}


def unflatten(tensors: "dict[str, Tensor]", metadata: dict[str, Any]) -> dict[str, Any]:
    """What `flat` was given."""
    state: dict[int, dict[str, Any]] = {}
    for key, value in [*tensors.items(), *metadata["rest"].items()]:
        param_index, _, name = key.partition(".")
        state.setdefault(int(param_index), {})[name] = value
    return {"state": state, "param_groups": metadata["groups"]}


def resume_schedule(scheduler: Any, facts: dict[str, Any]) -> None:
    """Load a `LambdaLR`'s state, with the next step's learning rates by its own schedule.

    A saved state holds the rates of the schedule that it was saved under, which a run of more steps
    does not follow; with the same schedule they are the same numbers.
    """
    scheduler.load_state_dict(facts)
    rates = [
        base * rate(scheduler.last_epoch)
        for base, rate in zip(scheduler.base_lrs, scheduler.lr_lambdas, strict=True)
    ]
    for group, rate in zip(scheduler.optimizer.param_groups, rates, strict=True):
        group["lr"] = rate
    scheduler._last_lr = rates
