"""The processes of a run: one, or several that share the rows of every batch and hold the same.

A launcher (`accelerate launch`, torchrun) says how many. Every process makes the whole batch and
takes its own rows of it, so that padding and sums are those of one process; gradients are added up.
Only the main process judges, writes and speaks. Knows nothing of losses or files.

    crew = join(); loss = ...(crew.part(batch)); crew.add_gradients(parameters)
"""

import random
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor

from gen_msa.errors import UserError
from gen_msa.models import Batch, Output

PROCESS_TIMEOUT = timedelta(hours=12)
"""How long processes wait for one another: the main one reads the dev posts alone."""
_REPLICATED_TYPES = ("NO", "MULTI_")


class ProcessGroup:
    """The processes of a run, as one of them sees them; without an accelerator: one, on the CPU."""

    def __init__(self, accelerator: Any = None) -> None:
        self._accelerator = accelerator
        self.rank = int(accelerator.process_index) if accelerator else 0
        self.world_size = int(accelerator.num_processes) if accelerator else 1
        self.device = torch.device(accelerator.device if accelerator else "cpu")

    @property
    def is_main(self) -> bool:
        """Whether this process judges, writes and speaks."""
        return self.rank == 0

    def local_rows(self, batch: Batch) -> Batch:
        """This process' rows, on its device; one row that counts nothing when there are too few."""
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
        """Of the rows of a whole batch, the share (0..1) that this process has."""
        return len(self._local_indices(len(batch.ids))) / len(batch.ids)

    def all_gather(self, output: Output, rows: int) -> Output:
        """What all processes made of a batch of `rows`, in its order; without gradients."""
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
        """The sum over all processes, the same in each; has no gradient where there are several."""
        if self.world_size == 1:
            return tensor
        return torch.as_tensor(self._accelerator.reduce(tensor.detach(), reduction="sum"))

    def all_reduce_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Put the sum over all processes in place of each gradient."""
        if self.world_size == 1:
            return
        grads = [p.grad for p in parameters if p.grad is not None]
        flat = self.all_reduce_sum(torch.cat([g.reshape(-1) for g in grads]))
        for grad, total in zip(grads, flat.split([g.numel() for g in grads]), strict=True):
            grad.copy_(total.view_as(grad))

    def seed_per_rank(self, seed: int) -> None:
        """From now on dropout draws in each process by itself; in the main one as if alone."""
        if not self.is_main:
            torch.manual_seed(random.Random(f"{seed}/{self.rank}").getrandbits(63))

    def rng_states(self) -> dict[str, Tensor]:
        """The random states of all processes, one a row: `torch`, and `cuda` on a GPU."""
        local_states = {"torch": torch.get_rng_state()}
        if self.device.type == "cuda":
            local_states["cuda"] = torch.cuda.get_rng_state(self.device)
        return {name: self._stack_ranks(state) for name, state in local_states.items()}

    def restore_rng(self, rng_states: Mapping[str, Tensor]) -> None:
        """Put back this process' own of `states`; one that was not there then draws as before."""
        mine = {
            name: state[self.rank] for name, state in rng_states.items() if self.rank < len(state)
        }
        if "torch" in mine:
            torch.set_rng_state(mine["torch"].clone())
        if "cuda" in mine and self.device.type == "cuda":
            torch.cuda.set_rng_state(mine["cuda"].clone(), self.device)

    def broadcast(self, value: float) -> float:
        """The main process' value, in all processes."""
        tensor = torch.tensor(
            value if self.is_main else 0.0, dtype=torch.float64, device=self.device
        )
        return float(self.all_reduce_sum(tensor))

    def assert_equal_across_ranks(self, name: str, key: str) -> None:
        """Raise `UserError` in every process unless all of them hold the same `key`, in hex."""
        digest = torch.tensor(list(bytes.fromhex(key)), dtype=torch.uint8)
        if not bool((self._stack_ranks(digest) == digest).all()):
            raise UserError(
                f"the processes do not see the same {name}",
                hint="recipe, data and output_dir must be the same for every process",
            )

    def barrier(self) -> None:
        """Until all processes are here."""
        if self.world_size > 1:
            self._accelerator.wait_for_everyone()

    def _local_indices(self, rows: int) -> list[int]:
        # One after the other: rows of like length lie together, and each process has some of all.
        return list(range(self.rank, rows, self.world_size))

    def _stack_ranks(self, tensor: Tensor) -> Tensor:
        full = torch.zeros((self.world_size, *tensor.shape), dtype=tensor.dtype, device=self.device)
        full[self.rank] = tensor.to(self.device)
        return self.all_reduce_sum(full).cpu()


def init_process_group() -> ProcessGroup:
    """This process among those that its launcher started; on a GPU where there is one.

    Precision is the recipe's, whatever a launcher's file says of it. Raises `UserError` for ways of
    splitting a model among processes: students are small, and each process has one whole.
    """
    from accelerate import Accelerator
    from accelerate.utils import InitProcessGroupKwargs

    accelerator = Accelerator(
        cpu=not torch.cuda.is_available(),
        mixed_precision="no",
        kwargs_handlers=[InitProcessGroupKwargs(timeout=PROCESS_TIMEOUT)],
    )
    kind = str(accelerator.distributed_type.value)
    if not kind.startswith(_REPLICATED_TYPES):
        raise UserError(
            f"a student is not split among processes ({kind})",
            hint="start it with accelerate launch --multi_gpu, or in one process",
        )
    return ProcessGroup(accelerator)


def destroy_process_group() -> None:
    """Part from the other processes, at the end of the last run of this one."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
