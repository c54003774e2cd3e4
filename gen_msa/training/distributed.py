"""Processes that train together: how they start, share the rows of a batch, agree, and end.

A launcher (torchrun, `accelerate launch`) decides how many there are. Fine-tuning wraps the model
in DDP or shards it (`fsdp`), and each process plans its own batches. A student is small: every
process builds the complete batch, takes its own rows of it, and gradients are summed, so that
padding and normalisation are those of one process. Only the main process validates and writes.

    group = init_process_group()
    loss = loss_of(model(group.local_rows(batch)))
    loss.backward(); group.all_reduce_gradients(model.parameters())
"""

import gc
import os
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any, Protocol

import torch
from torch import Tensor

from gen_msa.errors import UserError
from gen_msa.models import Batch, Output
from gen_msa.training import fsdp

PROCESS_TIMEOUT = timedelta(hours=12)
"""How long processes wait for one another: the main one reads the dev posts alone."""
_REPLICATED_TYPES = ("NO", "MULTI_")
_UNSUPPORTED = {
    "DEEPSPEED": "DeepSpeed",
    "MEGATRON_LM": "Megatron-LM",
    "PARALLELISM_CONFIG": "tensor or context parallelism",
}
"""What a launcher sets as `ACCELERATE_USE_…`; on a CPU accelerate ignores some of them silently."""


class NamedParam(Protocol):
    """A trained parameter: its name, and the part of the model that it belongs to."""

    @property
    def kind(self) -> str:
        """Return the part, a `model_parts.ParamKind`."""
        ...

    @property
    def name(self) -> str:
        """Return the name among the model's parameters."""
        ...


def create_accelerator(*, cpu: bool, can_shard: bool = True, quantization: str = "none") -> Any:
    """Create the accelerator of this process, on the process' own device.

    Precision and gradient accumulation follow the recipe, whatever a launcher's file says of them.

    Args:
        cpu: Whether to train on the CPU even where there is a GPU.
        can_shard: Whether the model may be sharded over processes (FSDP2).
        quantization: `none`, or how the frozen weights are quantised; such a model has no shards.

    Returns:
        An `accelerate.Accelerator` for one process, several replicas or FSDP2.

    Raises:
        UserError: For a way of splitting the model that this package does not train correctly.
    """
    for flag, name in _UNSUPPORTED.items():
        if os.environ.get(f"ACCELERATE_USE_{flag}", "").lower() == "true":
            raise _unsupported_sharding(name, can_shard=can_shard)
    if fsdp.fsdp_requested():
        if not can_shard:
            raise _unsupported_sharding("FSDP", can_shard=False)
        fsdp.check_fsdp_settings(quantization)
    from accelerate import Accelerator
    from accelerate.utils import GradientAccumulationPlugin, InitProcessGroupKwargs

    with fsdp.hide_fsdp_env():
        accelerator = Accelerator(
            cpu=cpu,
            mixed_precision="no",
            gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
            kwargs_handlers=[InitProcessGroupKwargs(timeout=PROCESS_TIMEOUT)],
        )
    kind = str(accelerator.distributed_type.value)
    if not kind.startswith(_REPLICATED_TYPES):
        raise _unsupported_sharding(kind, can_shard=can_shard)
    return accelerator


def _unsupported_sharding(name: str, *, can_shard: bool) -> UserError:
    if not can_shard:
        return UserError(
            f"a student is not split among processes ({name})",
            hint="start it with accelerate launch --multi_gpu, or in one process",
        )
    return UserError(
        f"{name} is not supported: gradients are checked before every update, and the model is "
        "validated and saved in one piece, and it allows neither",
        hint="start it with torchrun, or with accelerate launch --multi_gpu; for a model too large "
        "for one GPU with --config_file finetune/accelerate/fsdp2.yaml, or quantization=nf4",
    )


def configure_ddp(accelerator: Any, params: Iterable[NamedParam]) -> None:
    """Set how DDP sums gradients; call it before `accelerator.prepare`.

    A batch without an image gives projector and vision tower no gradient, and an expert may be
    chosen by one process only: then the processes must not wait for those gradients.

    Args:
        accelerator: The accelerator that will wrap the model.
        params: The parameters that are trained.
    """
    from accelerate.utils import DistributedDataParallelKwargs

    find_unused = any(p.kind in ("projector", "vision") or ".experts." in p.name for p in params)
    # No buffer is trained, so none has to be sent around.
    accelerator.ddp_handler = DistributedDataParallelKwargs(
        find_unused_parameters=find_unused, broadcast_buffers=False
    )


def assert_equal_across_ranks(accelerator: Any, name: str, value: str) -> None:
    """Check that all processes hold the same value.

    Args:
        accelerator: The accelerator of this process.
        name: What the value is, for the message.
        value: The value of this process: a name or a hash.

    Raises:
        UserError: In every process, if two of them differ; it lists all values.
    """
    if accelerator is None or accelerator.num_processes == 1:
        return
    from accelerate.utils import gather_object

    values = gather_object([value])
    if len(set(values)) > 1:
        listing = ", ".join(f"process {i}: {v or 'none'}" for i, v in enumerate(values))
        raise UserError(
            f"the processes do not see the same {name} ({listing})",
            hint="recipe, data, cache and output_dir must be the same for every process",
        )


def broadcast(accelerator: Any, value: float) -> float:
    """Return the main process' value in all processes.

    Args:
        accelerator: The accelerator of this process.
        value: The value of this process; only that of the main one counts.
    """
    if accelerator is None or accelerator.num_processes == 1:
        return value
    from accelerate.utils import broadcast_object_list

    return float(broadcast_object_list([value])[0])


def leave(accelerator: Any, release: Callable[[], None]) -> None:
    """Leave the other processes, in all of them after the last step.

    DDP's reducer holds the process group, too: if it is the last that does, it ends gloo's threads
    while it holds the interpreter's lock, and waits forever for a thread that needs that lock.

    Args:
        accelerator: The accelerator of this process.
        release: Deletes the caller's references to what `accelerator.prepare` returned.
    """
    accelerator.wait_for_everyone()
    release()
    accelerator.free_memory()
    # Wrapped models are part of reference cycles; accelerate collects before it drops its own.
    gc.collect()
    accelerator.end_training()


class ProcessGroup:
    """The processes that share the rows of every batch, as one of them sees them.

    Without an accelerator it is one process on the CPU.
    """

    def __init__(self, accelerator: Any = None) -> None:
        self._accelerator = accelerator
        self.rank = int(accelerator.process_index) if accelerator else 0
        self.world_size = int(accelerator.num_processes) if accelerator else 1
        self.device = torch.device(accelerator.device if accelerator else "cpu")

    @property
    def is_main(self) -> bool:
        """Return whether this process validates, writes and prints."""
        return self.rank == 0

    def local_rows(self, batch: Batch) -> Batch:
        """Return this process' rows of a batch, on its device.

        Args:
            batch: The complete batch of all processes.

        Returns:
            The rows of this process; one row of weight 0 when there are fewer rows than processes.
        """
        if self.world_size == 1:
            return batch.to(self.device)
        local = self._local_indices(len(batch.ids))
        selected = local or [0]
        weight = torch.ones(len(batch.ids)) if batch.weight is None else batch.weight

        def select(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {name: tensor[selected] for name, tensor in tensors.items()}

        return replace(
            batch,
            ids=tuple(batch.ids[i] for i in selected),
            inputs=select(batch.inputs),
            mask=select(batch.mask),
            present=select(batch.present),
            texts=tuple(batch.texts[i] for i in selected),
            target=None if batch.target is None else batch.target[selected],
            teacher_probs=None if batch.teacher_probs is None else batch.teacher_probs[selected],
            weight=weight[selected] * bool(local),
        ).to(self.device)

    def local_fraction(self, batch: Batch) -> float:
        """Return the share (0..1) of the rows of a complete batch that this process has."""
        return len(self._local_indices(len(batch.ids))) / len(batch.ids)

    def all_gather(self, output: Output, rows: int) -> Output:
        """Gather what all processes computed for a batch, in the order of its rows.

        Args:
            output: This process' output for `local_rows`.
            rows: Number of rows of the complete batch.

        Returns:
            Logits and features of all `rows`, without gradients and without losses.
        """
        local = self._local_indices(rows)

        def gather(local_tensor: Tensor) -> Tensor:
            local_tensor = local_tensor.detach()
            if self.world_size == 1:
                return local_tensor
            full = local_tensor.new_zeros((rows, *local_tensor.shape[1:]))
            if local:
                full[local] = local_tensor
            return self.all_reduce_sum(full)

        return Output(gather(output.logits), {k: gather(v) for k, v in output.features.items()})

    def all_reduce_sum(self, tensor: Tensor) -> Tensor:
        """Return the sum of a tensor over all processes.

        Args:
            tensor: Any shape, the same in every process.

        Returns:
            The sum, equal in all processes; it has no gradient where there are several.
        """
        if self.world_size == 1:
            return tensor
        return torch.as_tensor(self._accelerator.reduce(tensor.detach(), reduction="sum"))

    def all_reduce_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Replace each gradient by its sum over all processes.

        Args:
            parameters: Parameters of any shapes, the same ones in every process.
        """
        if self.world_size == 1:
            return
        grads = [p.grad for p in parameters if p.grad is not None]
        flat = self.all_reduce_sum(torch.cat([g.reshape(-1) for g in grads]))
        for grad, total in zip(grads, flat.split([g.numel() for g in grads]), strict=True):
            grad.copy_(total.view_as(grad))

    def seed_per_rank(self, seed: int) -> None:
        """Let each process draw its own dropout from now on; the main one draws as if alone."""
        if not self.is_main:
            torch.manual_seed(random.Random(f"{seed}/{self.rank}").getrandbits(63))

    def rng_states(self) -> dict[str, Tensor]:
        """Return the random states of all processes, one a row: `torch`, and `cuda` on a GPU."""
        local_states = {"torch": torch.get_rng_state()}
        if self.device.type == "cuda":
            local_states["cuda"] = torch.cuda.get_rng_state(self.device)
        return {name: self._stack_ranks(state) for name, state in local_states.items()}

    def restore_rng(self, rng_states: Mapping[str, Tensor]) -> None:
        """Restore this process' random state; a process that had none keeps its current one.

        Args:
            rng_states: What `rng_states` returned, with one row for each process of that run.
        """
        local_states = {
            name: state[self.rank] for name, state in rng_states.items() if self.rank < len(state)
        }
        if "torch" in local_states:
            torch.set_rng_state(local_states["torch"].clone())
        if "cuda" in local_states and self.device.type == "cuda":
            torch.cuda.set_rng_state(local_states["cuda"].clone(), self.device)

    def broadcast(self, value: float) -> float:
        """Return the main process' value in all processes."""
        return broadcast(self._accelerator, value)

    def assert_equal_across_ranks(self, name: str, value: str) -> None:
        """Check that all processes hold the same value, as the function of the same name does.

        Args:
            name: What the value is, for the message.
            value: The value of this process: a name or a hash.

        Raises:
            UserError: In every process, if two of them differ.
        """
        assert_equal_across_ranks(self._accelerator, name, value)

    def barrier(self) -> None:
        """Wait until all processes are here."""
        if self.world_size > 1:
            self._accelerator.wait_for_everyone()

    def _local_indices(self, rows: int) -> list[int]:
        # Interleaved: rows of similar length are neighbours, and each process gets some of all.
        return list(range(self.rank, rows, self.world_size))

    def _stack_ranks(self, tensor: Tensor) -> Tensor:
        full = torch.zeros((self.world_size, *tensor.shape), dtype=tensor.dtype, device=self.device)
        full[self.rank] = tensor.to(self.device)
        return self.all_reduce_sum(full).cpu()


def init_process_group() -> ProcessGroup:
    """Join the processes that a launcher started to train a student; on a GPU where there is one.

    Raises:
        UserError: For ways of splitting a model: each process holds a complete student.
    """
    cpu = not torch.cuda.is_available()
    return ProcessGroup(create_accelerator(cpu=cpu, can_shard=False))


def destroy_process_group() -> None:
    """Leave the other processes, at the end of the last run of this one."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
