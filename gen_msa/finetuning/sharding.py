"""A model split among the processes of a run: PyTorch's fully_shard (FSDP2), layer by layer.

Each process holds a part of every weight of the language model and gathers one layer at a time.
Vision tower and projector stay whole in each, since a batch without pictures calls neither, and the
others would wait for it. accelerate only starts the processes and says that a split is wanted: it
does not split on a CPU. Knows nothing of rows, steps or files.

    if sharding.wanted(): sharding.split(model, accelerator.device)     # before the optimiser
    tensors = sharding.whole(tensors, main=accelerator.is_main_process)   # in every process
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import distributed, nn

from gen_msa.errors import UserError
from gen_msa.finetuning.parts import inside, parts_of
from gen_msa.finetuning.recipe import Recipe

_USE = "ACCELERATE_USE_FSDP"


def wanted() -> bool:
    """Whether a launcher's file asks for a split."""
    return _yes(_USE)


def check(recipe: Recipe) -> None:
    """Raise `UserError` for what cannot be split, or is asked for in a way not known here."""
    if os.environ.get("FSDP_VERSION", "1") != "2":
        raise UserError("FSDP 1 is not supported", mend="set fsdp_version: 2, as in fsdp2.yaml")
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        raise UserError(
            "FSDP splits a model over processes, and there is only one",
            mend="set num_processes; on a CPU start them with torchrun, as accelerate launch does "
            "not; or leave fsdp2.yaml out",
        )
    for name in ("OFFLOAD_PARAMS", "CPU_RAM_EFFICIENT_LOADING", "ACTIVATION_CHECKPOINTING"):
        if _yes(f"FSDP_{name}"):
            raise UserError(
                f"fsdp_{name.lower()} is not supported",
                mend="set it to false, as in finetune/accelerate/fsdp2.yaml",
            )
    if recipe.quantization != "none":
        raise UserError(
            f"quantization: {recipe.quantization} cannot be split over processes",
            mend="use one_gpu.yaml with --multi_gpu: each then has a whole copy",
        )


@contextmanager
def unseen() -> Iterator[None]:
    """Within it accelerate makes plain processes: the splitting is done here."""
    was = os.environ.pop(_USE, None)
    try:
        yield
    finally:
        if was is not None:
            os.environ[_USE] = was


def split(model: Any, device: torch.device) -> None:
    """Split the adapted `model` in place, on `device`, which it need not lie on yet.

    Every process holds the same weights before. Parameters become DTensors, so an optimiser is made
    after this.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    base = bare(model)
    parts, head = parts_of(base), base.get_output_embeddings()
    ours = {id(p) for p in head.parameters()} if head is not None else set()
    copied = {
        p
        for name, p in base.named_parameters()
        if id(p) not in ours and not inside(name, (parts.language,))
    }
    for weight in copied:
        weight.data = weight.data.to(device)
    mesh = init_device_mesh(device.type, (distributed.get_world_size(),))
    given = {"mesh": mesh, "reshard_after_forward": True, "ignored_params": copied}
    lists = [m for m in base.get_decoder().children() if isinstance(m, nn.ModuleList)]
    for layer in max(lists, key=lambda m: sum(p.numel() for p in m.parameters()), default=()):
        fully_shard(layer, **given)
    fully_shard(base, **given)
    if hasattr(base, "set_reduce_scatter_unused_params"):
        # An expert that only one process chose: the others give zeros for it.
        base.set_reduce_scatter_unused_params(True)


def is_split(model: Any) -> bool:
    """Whether `split` was done."""
    return any(_parted(p) for p in model.parameters())


def bare(model: Any) -> Any:
    """The model without what peft wraps around it: what is called to gather the weights."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def average_copies(parameters: Iterable[nn.Parameter]) -> None:
    """Average the gradients of weights that each process holds whole, over those processes.

    A gradient that no process has stays None.
    """
    copies = [p for p in parameters if p.requires_grad and not _parted(p)]
    if not copies:
        return
    there = torch.tensor([p.grad is not None for p in copies], dtype=torch.int32)
    there = there.to(copies[0].device)
    distributed.all_reduce(there, op=distributed.ReduceOp.MAX)
    for weight, has in zip(copies, there.tolist(), strict=True):
        if has:
            weight.grad = torch.zeros_like(weight) if weight.grad is None else weight.grad
            distributed.all_reduce(weight.grad)
            weight.grad /= distributed.get_world_size()


def nonzero(tensors: Sequence[torch.Tensor | None]) -> list[bool]:
    """Of each tensor whether any number in it, in whichever process, is not zero."""
    found = [t is not None and bool(_local(t).any()) for t in tensors]
    parted = next((t for t in tensors if t is not None and _parted(t)), None)
    if parted is None:
        return found
    flags = torch.tensor(found, dtype=torch.int32, device=_local(parted).device)
    distributed.all_reduce(flags, op=distributed.ReduceOp.MAX)
    return [bool(flag) for flag in flags.tolist()]


def number(value: Any) -> float:
    """A tensor of one number, whole."""
    return float(value.full_tensor() if _parted(value) else value)


def uniform(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Optimiser groups; one that mixes split and whole weights is updated one by one."""
    for group in groups:
        mixed = len({_parted(p) for p in group["params"]}) > 1
        group["foreach"] = False if mixed else None
    return groups


def whole(state: Any, *, main: bool) -> Any:
    """A nest of dicts and lists with each split tensor gathered, on the CPU of the main process.

    All processes call it together; the others get None for those tensors.
    """
    if isinstance(state, Mapping):
        return {key: whole(value, main=main) for key, value in state.items()}
    if isinstance(state, list):
        return [whole(value, main=main) for value in state]
    if not _parted(state):
        return state
    found = state.detach().full_tensor()
    return found.cpu() if main else None


def whole_state(model: Any, *, main: bool) -> dict[str, Any] | None:
    """What `save_pretrained` of a split model needs; None for one that is not split.

    All processes call it together. Of an adapted model what is frozen is left out; tied weights
    stay one tensor.
    """
    if not is_split(model):
        return None
    every = not hasattr(model, "peft_config")
    made: dict[int, Any] = {}
    found: dict[str, Any] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if every or tensor.requires_grad or not _parted(tensor):
            if id(tensor) not in made:
                made[id(tensor)] = whole(tensor, main=main)
            found[name] = made[id(tensor)]
    return found


def like(tensor: torch.Tensor, parameter: torch.Tensor) -> torch.Tensor:
    """This process's part of a whole `tensor`, split as `parameter` is, if it is."""
    if not _parted(parameter) or tensor.shape != parameter.shape:
        return tensor
    from torch.distributed.tensor import distribute_tensor

    given: Any = parameter
    on = tensor.to(_local(parameter).device)
    return distribute_tensor(on, given.device_mesh, given.placements, src_data_rank=None)


def _parted(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and hasattr(value, "full_tensor")


def _local(tensor: Any) -> torch.Tensor:
    found: torch.Tensor = tensor.to_local() if _parted(tensor) else tensor
    return found


def _yes(name: str) -> bool:
    return os.environ.get(name, "false").lower() in ("true", "1", "yes")
