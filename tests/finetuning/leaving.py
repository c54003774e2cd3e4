"""Processes that meet, train and part again and again; a script for a launcher of several.

An end that hangs is one of ten or of a hundred, and a run takes long to begin: here only its end is
repeated, with all that holds the process group. A cycle that takes too long ends its process.

    torchrun --nproc_per_node 2 -m tests.finetuning.leaving FOLDER 30
"""

import faulthandler
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import torch
from accelerate.state import AcceleratorState
from torch import distributed

from gen_msa.training import distributed
from tests.finetuning.tiny_peft import recipe

SECONDS = 30
RANK, SIZE = (int(os.environ.get(name, "0")) for name in ("RANK", "WORLD_SIZE"))


def cycle(store):
    """Two steps of a model that is wrapped for several processes, and the end of the run."""
    distributed.init_process_group("gloo", store=store, rank=RANK, world_size=SIZE)
    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = distributed.begin(recipe(device="cpu"))
    layers = torch.nn.Sequential(*(torch.nn.Linear(64, 64) for _ in range(12)))
    model, optimizer = accelerator.prepare(layers, torch.optim.AdamW(layers.parameters()))
    held = SimpleNamespace(model=model, optimizer=optimizer)
    del model, optimizer
    for _ in range(2):
        accelerator.backward(held.model(torch.ones(2, 64)).sum())
        held.optimizer.step()
    assert distributed.from_main(accelerator, float(RANK)) == 0
    distributed.leave(accelerator, lambda: vars(held).clear())
    assert not distributed.is_initialized()


if __name__ == "__main__":
    folder, count = sys.argv[1:]
    launcher = distributed.TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
    for number in range(int(count)):
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        # Names of its own: the launcher's store still has the addresses of the cycle before.
        cycle(distributed.PrefixStore(f"cycle-{number}", launcher))
    faulthandler.cancel_dump_traceback_later()
    (Path(folder) / f"ended-{RANK}").write_text(count)
