"""Shards a model over the processes of a run: PyTorch's fully_shard (FSDP2), layer by layer.

Each process holds a part of every weight of the language model and gathers one layer at a time.
Vision tower and projector are replicated: a batch without images calls neither, and the other
processes would wait for it. accelerate only starts the processes and reports that sharding was
requested, because it does not shard on a CPU.

    if fsdp_requested(): shard_model(model, accelerator.device)         # before the optimiser
    tensors = gather_full(tensors, is_main=accelerator.is_main_process)   # in every process
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import distributed, nn

from gen_msa.errors import UserError
from gen_msa.training.model_parts import find_model_parts, is_inside

_FSDP_ENV = "ACCELERATE_USE_FSDP"


def fsdp_requested() -> bool:
    """Return whether the launcher's configuration requests FSDP."""
    return _env_flag(_FSDP_ENV)


def check_fsdp_settings(quantization: str) -> None:
    """Check that the requested sharding is supported.

    Args:
        quantization: How the frozen weights are quantised; only `none` can be sharded.

    Raises:
        UserError: For an FSDP option, a number of processes or a quantisation that is not.
    """
    if os.environ.get("FSDP_VERSION", "1") != "2":
        raise UserError("FSDP 1 is not supported", hint="set fsdp_version: 2, as in fsdp2.yaml")
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        raise UserError(
            "FSDP splits a model over processes, and there is only one",
            hint="set num_processes; on a CPU start them with torchrun, as accelerate launch does "
            "not; or leave fsdp2.yaml out",
        )
    for name in ("OFFLOAD_PARAMS", "CPU_RAM_EFFICIENT_LOADING", "ACTIVATION_CHECKPOINTING"):
        if _env_flag(f"FSDP_{name}"):
            raise UserError(
                f"fsdp_{name.lower()} is not supported",
                hint="set it to false, as in finetune/accelerate/fsdp2.yaml",
            )
    if quantization != "none":
        raise UserError(
            f"quantization: {quantization} cannot be sharded over processes",
            hint="use one_gpu.yaml with --multi_gpu: each then has a complete copy",
        )


@contextmanager
def hide_fsdp_env() -> Iterator[None]:
    """Let accelerate create plain processes inside the block: sharding is done here."""
    previous = os.environ.pop(_FSDP_ENV, None)
    try:
        yield
    finally:
        if previous is not None:
            os.environ[_FSDP_ENV] = previous


def shard_model(model: Any, device: torch.device) -> None:
    """Shard a model in place; its parameters become DTensors, so build the optimiser after this.

    Args:
        model: The model, wrapped by peft or not, with the same weights in every process.
        device: Where its shards go; the model need not be there yet.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    base = unwrap_peft(model)
    parts, head = find_model_parts(base), base.get_output_embeddings()
    head_param_ids = {id(p) for p in head.parameters()} if head is not None else set()
    replicated = {
        p
        for name, p in base.named_parameters()
        if id(p) not in head_param_ids and not is_inside(name, (parts.language,))
    }
    for weight in replicated:
        weight.data = weight.data.to(device)
    mesh = init_device_mesh(device.type, (distributed.get_world_size(),))
    shard_options = {"mesh": mesh, "reshard_after_forward": True, "ignored_params": replicated}
    layer_lists = [m for m in base.get_decoder().children() if isinstance(m, nn.ModuleList)]
    for layer in max(layer_lists, key=lambda m: sum(p.numel() for p in m.parameters()), default=()):
        fully_shard(layer, **shard_options)
    fully_shard(base, **shard_options)
    if hasattr(base, "set_reduce_scatter_unused_params"):
        # An expert that only one process chose: the others give zeros for it.
        base.set_reduce_scatter_unused_params(True)


def is_sharded(model: Any) -> bool:
    """Return whether `shard_model` was applied."""
    return any(_is_dtensor(p) for p in model.parameters())


def unwrap_peft(model: Any) -> Any:
    """Return the model without its peft wrapper: what is called to gather the weights."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def average_replicated_grads(parameters: Iterable[nn.Parameter]) -> None:
    """Average the gradients of replicated parameters over all processes.

    A gradient that no process has stays None.

    Args:
        parameters: All parameters of the model; sharded and frozen ones are skipped.
    """
    replicated = [p for p in parameters if p.requires_grad and not _is_dtensor(p)]
    if not replicated:
        return
    grad_present = torch.tensor([p.grad is not None for p in replicated], dtype=torch.int32)
    grad_present = grad_present.to(replicated[0].device)
    distributed.all_reduce(grad_present, op=distributed.ReduceOp.MAX)
    for weight, has_grad in zip(replicated, grad_present.tolist(), strict=True):
        if has_grad:
            weight.grad = torch.zeros_like(weight) if weight.grad is None else weight.grad
            distributed.all_reduce(weight.grad)
            weight.grad /= distributed.get_world_size()


def any_nonzero(tensors: Sequence[torch.Tensor | None]) -> list[bool]:
    """Return for each tensor whether any number of it, in any process, is not zero.

    Args:
        tensors: Tensors of any shapes, sharded or not; None counts as zero.
    """
    local_flags = [t is not None and bool(_local_tensor(t).any()) for t in tensors]
    dtensor = next((t for t in tensors if t is not None and _is_dtensor(t)), None)
    if dtensor is None:
        return local_flags
    flags = torch.tensor(local_flags, dtype=torch.int32, device=_local_tensor(dtensor).device)
    distributed.all_reduce(flags, op=distributed.ReduceOp.MAX)
    return [bool(flag) for flag in flags.tolist()]


def to_float(value: Any) -> float:
    """Return a tensor of one number as a float, gathered if it is sharded."""
    return float(value.full_tensor() if _is_dtensor(value) else value)


def disable_foreach_if_mixed(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Turn off multi-tensor updates for groups that mix sharded and replicated parameters.

    Args:
        groups: Parameter groups of an optimiser; they are changed in place.

    Returns:
        The same groups.
    """
    for group in groups:
        mixed = len({_is_dtensor(p) for p in group["params"]}) > 1
        group["foreach"] = False if mixed else None
    return groups


def gather_full(state: Any, *, is_main: bool) -> Any:
    """Gather each sharded tensor in a nest of dicts and lists, on the CPU of the main process.

    All processes must call it together; the others get None for those tensors.

    Args:
        state: The nest; other values are returned unchanged.
        is_main: Whether this is the main process.

    Returns:
        The nest, with dicts and lists copied and full tensors in place of sharded ones.
    """
    if isinstance(state, Mapping):
        return {key: gather_full(value, is_main=is_main) for key, value in state.items()}
    if isinstance(state, list):
        return [gather_full(value, is_main=is_main) for value in state]
    if not _is_dtensor(state):
        return state
    full = state.detach().full_tensor()
    return full.cpu() if is_main else None


def gather_state_dict(model: Any, *, is_main: bool) -> dict[str, Any] | None:
    """Gather what `save_pretrained` of a sharded model needs.

    All processes must call it together. Frozen weights of a peft model are left out; tied weights
    stay one tensor.

    Args:
        model: The model, wrapped by peft or not.
        is_main: Whether this is the main process; the others get None for sharded tensors.

    Returns:
        Name -> full tensor; None for a model that is not sharded.
    """
    if not is_sharded(model):
        return None
    include_frozen = not hasattr(model, "peft_config")
    gathered: dict[int, Any] = {}
    state_dict: dict[str, Any] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if include_frozen or tensor.requires_grad or not _is_dtensor(tensor):
            if id(tensor) not in gathered:
                gathered[id(tensor)] = gather_full(tensor, is_main=is_main)
            state_dict[name] = gathered[id(tensor)]
    return state_dict


def shard_like(tensor: torch.Tensor, parameter: torch.Tensor) -> torch.Tensor:
    """Return this process' part of a full tensor.

    Args:
        tensor: The full tensor, equal in every process.
        parameter: A parameter of the same shape; if it is not sharded, `tensor` is returned.
    """
    if not _is_dtensor(parameter) or tensor.shape != parameter.shape:
        return tensor
    from torch.distributed.tensor import distribute_tensor

    reference: Any = parameter
    moved = tensor.to(_local_tensor(parameter).device)
    return distribute_tensor(moved, reference.device_mesh, reference.placements, src_data_rank=None)


def _is_dtensor(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and hasattr(value, "full_tensor")


def _local_tensor(tensor: Any) -> torch.Tensor:
    local: torch.Tensor = tensor.to_local() if _is_dtensor(tensor) else tensor
    return local


def _env_flag(name: str) -> bool:
    return os.environ.get(name, "false").lower() in ("true", "1", "yes")
