"""Convert an optimizer's state to flat tensors and JSON, so that a checkpoint needs no pickle.

tensors, metadata = flatten(optimizer.state_dict())
optimizer.load_state_dict(unflatten(tensors, metadata))
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def flatten(state: dict[str, Any]) -> "tuple[dict[str, Tensor], dict[str, Any]]":
    """Split a torch optimizer's state into tensors and JSON values.

    Returns:
        Tensors by `PARAMETER.NAME` (PARAMETER is the index of the parameter), and a JSON tree of
        the
        parameter groups and of all scalars.
    """
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
    """Rebuild the state that `flatten` was given.

    Args:
        tensors: Tensors by `PARAMETER.NAME`.
        metadata: The JSON tree of `flatten`.

    Returns:
        A state for `Optimizer.load_state_dict`.
    """
    state: dict[int, dict[str, Any]] = {}
    for key, value in [*tensors.items(), *metadata["rest"].items()]:
        param_index, _, name = key.partition(".")
        state.setdefault(int(param_index), {})[name] = value
    return {"state": state, "param_groups": metadata["groups"]}


def resume_schedule(scheduler: Any, state: dict[str, Any]) -> None:
    """Load the state of a `LambdaLR` and set the learning rates that its own schedule has next.

    A saved state holds the rates of the schedule it was saved under, which a run of more steps does
    not follow; with the same schedule both are equal.

    Args:
        scheduler: Scheduler to change, with its optimizer.
        state: Saved `state_dict` of a scheduler.
    """
    scheduler.load_state_dict(state)
    rates = [
        base * rate(scheduler.last_epoch)
        for base, rate in zip(scheduler.base_lrs, scheduler.lr_lambdas, strict=True)
    ]
    for group, rate in zip(scheduler.optimizer.param_groups, rates, strict=True):
        group["lr"] = rate
    scheduler._last_lr = rates
