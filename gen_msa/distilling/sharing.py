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
from gen_msa.students import Batch, Output

PATIENCE = timedelta(hours=12)
"""How long processes wait for one another: the main one reads the dev posts alone."""
_WHOLE_COPIES = ("NO", "MULTI_")


class Crew:
    """The processes of a run, as one of them sees them; without an accelerator: one, on the CPU."""

    def __init__(self, accelerator: Any = None) -> None:
        self._accelerator = accelerator
        self.rank = int(accelerator.process_index) if accelerator else 0
        self.size = int(accelerator.num_processes) if accelerator else 1
        self.device = torch.device(accelerator.device if accelerator else "cpu")

    @property
    def main(self) -> bool:
        """Whether this process judges, writes and speaks."""
        return self.rank == 0

    def part(self, batch: Batch) -> Batch:
        """This process' rows, on its device; one row that counts nothing when there are too few."""
        if self.size == 1:
            return batch.to(self.device)
        own = self._own(len(batch.ids))
        taken = own or [0]
        weight = torch.ones(len(batch.ids)) if batch.weight is None else batch.weight

        def some(named: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {name: tensor[taken] for name, tensor in named.items()}

        return replace(
            batch,
            ids=tuple(batch.ids[i] for i in taken),
            x=some(batch.x),
            mask=some(batch.mask),
            present=some(batch.present),
            raw_text=tuple(batch.raw_text[i] for i in taken),
            target=None if batch.target is None else batch.target[taken],
            soft=None if batch.soft is None else batch.soft[taken],
            weight=weight[taken] * bool(own),
        ).to(self.device)

    def share(self, batch: Batch) -> float:
        """Of the rows of a whole batch, the share (0..1) that this process has."""
        return len(self._own(len(batch.ids))) / len(batch.ids)

    def whole(self, said: Output, rows: int) -> Output:
        """What all processes made of a batch of `rows`, in its order; without gradients."""
        own = self._own(rows)

        def joined(mine: Tensor) -> Tensor:
            mine = mine.detach()
            if self.size == 1:
                return mine
            full = mine.new_zeros((rows, *mine.shape[1:]))
            if own:
                full[own] = mine
            return self.sum(full)

        return Output(joined(said.logits), {k: joined(v) for k, v in said.features.items()})

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over all processes, the same in each; has no gradient where there are several."""
        if self.size == 1:
            return tensor
        return torch.as_tensor(self._accelerator.reduce(tensor.detach(), reduction="sum"))

    def add_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Put the sum over all processes in place of each gradient."""
        if self.size == 1:
            return
        found = [p.grad for p in parameters if p.grad is not None]
        flat = self.sum(torch.cat([g.reshape(-1) for g in found]))
        for mine, total in zip(found, flat.split([g.numel() for g in found]), strict=True):
            mine.copy_(total.view_as(mine))

    def draw_apart(self, seed: int) -> None:
        """From now on dropout draws in each process by itself; in the main one as if alone."""
        if not self.main:
            torch.manual_seed(random.Random(f"{seed}/{self.rank}").getrandbits(63))

    def states(self) -> dict[str, Tensor]:
        """The random states of all processes, one a row: `torch`, and `cuda` on a GPU."""
        found = {"torch": torch.get_rng_state()}
        if self.device.type == "cuda":
            found["cuda"] = torch.cuda.get_rng_state(self.device)
        return {name: self._stacked(state) for name, state in found.items()}

    def go_on_from(self, states: Mapping[str, Tensor]) -> None:
        """Put back this process' own of `states`; one that was not there then draws as before."""
        mine = {name: state[self.rank] for name, state in states.items() if self.rank < len(state)}
        if "torch" in mine:
            torch.set_rng_state(mine["torch"].clone())
        if "cuda" in mine and self.device.type == "cuda":
            torch.cuda.set_rng_state(mine["cuda"].clone(), self.device)

    def from_main(self, value: float) -> float:
        """The main process' value, in all processes."""
        told = torch.tensor(value if self.main else 0.0, dtype=torch.float64, device=self.device)
        return float(self.sum(told))

    def agree(self, what: str, key: str) -> None:
        """Raise `UserError` in every process unless all of them hold the same `key`, in hex."""
        mine = torch.tensor(list(bytes.fromhex(key)), dtype=torch.uint8)
        if not bool((self._stacked(mine) == mine).all()):
            raise UserError(
                f"the processes do not see the same {what}",
                mend="recipe, data and output_dir must be the same for every process",
            )

    def wait(self) -> None:
        """Until all processes are here."""
        if self.size > 1:
            self._accelerator.wait_for_everyone()

    def _own(self, rows: int) -> list[int]:
        # One after the other: rows of like length lie together, and each process has some of all.
        return list(range(self.rank, rows, self.size))

    def _stacked(self, mine: Tensor) -> Tensor:
        full = torch.zeros((self.size, *mine.shape), dtype=mine.dtype, device=self.device)
        full[self.rank] = mine.to(self.device)
        return self.sum(full).cpu()


def join() -> Crew:
    """This process among those that its launcher started; on a GPU where there is one.

    Precision is the recipe's, whatever a launcher's file says of it. Raises `UserError` for ways of
    splitting a model among processes: students are small, and each process has one whole.
    """
    from accelerate import Accelerator
    from accelerate.utils import InitProcessGroupKwargs

    accelerator = Accelerator(
        cpu=not torch.cuda.is_available(),
        mixed_precision="no",
        kwargs_handlers=[InitProcessGroupKwargs(timeout=PATIENCE)],
    )
    kind = str(accelerator.distributed_type.value)
    if not kind.startswith(_WHOLE_COPIES):
        raise UserError(
            f"a student is not split among processes ({kind})",
            mend="start it with accelerate launch --multi_gpu, or in one process",
        )
    return Crew(accelerator)


def leave() -> None:
    """Part from the other processes, at the end of the last run of this one."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
