"""Process groups that start, train and stop many times; a script for a distributed launcher.

A shutdown that hangs happens once in ten or a hundred runs, and a run takes long to start: here
only the end is repeated, with everything that holds the process group. A cycle that takes too long
ends its process.

    torchrun --nproc_per_node 2 -m tests.finetuning.teardown_cycles FOLDER 30
"""

import faulthandler
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import torch
from accelerate.state import AcceleratorState
from torch import distributed as dist

from gen_msa.training import distributed

TIMEOUT_SECONDS = 30
RANK, WORLD_SIZE = (int(os.environ.get(name, "0")) for name in ("RANK", "WORLD_SIZE"))


def run_cycle(store):
    """Two steps of a model that is wrapped for several processes, and the end of the run."""
    dist.init_process_group("gloo", store=store, rank=RANK, world_size=WORLD_SIZE)
    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = distributed.create_accelerator(cpu=True)
    layers = torch.nn.Sequential(*(torch.nn.Linear(64, 64) for _ in range(12)))
    model, optimizer = accelerator.prepare(layers, torch.optim.AdamW(layers.parameters()))
    wrapped = SimpleNamespace(model=model, optimizer=optimizer)
    del model, optimizer
    for _ in range(2):
        accelerator.backward(wrapped.model(torch.ones(2, 64)).sum())
        wrapped.optimizer.step()
    assert distributed.broadcast(accelerator, float(RANK)) == 0
    distributed.leave(accelerator, lambda: vars(wrapped).clear())
    assert not dist.is_initialized()


if __name__ == "__main__":
    folder, n_cycles = sys.argv[1:]
    launcher = dist.TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
    for i in range(int(n_cycles)):
        faulthandler.dump_traceback_later(TIMEOUT_SECONDS, exit=True)
        # A prefix per cycle: the launcher's store still has the addresses of the cycle before.
        run_cycle(dist.PrefixStore(f"cycle-{i}", launcher))
    faulthandler.cancel_dump_traceback_later()
    (Path(folder) / f"ended-{RANK}").write_text(n_cycles)
