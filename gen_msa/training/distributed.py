"""The processes of a run: one, or several, each with a whole copy of the model or a part of it.

A launcher (torchrun, `accelerate launch`) says how many; this file makes them meet, says no to what
would not train right, and checks that all of them see the same. Knows nothing of rows or steps.

    accelerator = begin(recipe); agree(accelerator, "rows", planner.fingerprint())
"""

import gc
import os
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

from gen_msa.errors import UserError
from gen_msa.finetuning.peft_model import TrainableParam
from gen_msa.finetuning.recipe import FinetuneRecipe
from gen_msa.training import fsdp

PROCESS_TIMEOUT = timedelta(hours=12)
"""How long processes wait for one another: the main one reads the dev posts alone."""
_REPLICATED_TYPES = ("NO", "MULTI_")
_UNSUPPORTED = {
    "DEEPSPEED": "DeepSpeed",
    "MEGATRON_LM": "Megatron-LM",
    "PARALLELISM_CONFIG": "tensor or context parallelism",
}
"""What a launcher sets as `ACCELERATE_USE_…`; on a CPU accelerate drops some without a word."""


def create_accelerator(recipe: FinetuneRecipe) -> Any:
    """The accelerator of this process, on its own device.

    Precision and accumulation are the recipe's, whatever a launcher's file says of them. Raises
    `UserError` for ways of splitting a model that this loop cannot train right.
    """
    for flag, name in _UNSUPPORTED.items():
        if os.environ.get(f"ACCELERATE_USE_{flag}", "").lower() == "true":
            raise _unsupported_sharding(name)
    if fsdp.fsdp_requested():
        fsdp.check_fsdp_settings(recipe)
    from accelerate import Accelerator
    from accelerate.utils import GradientAccumulationPlugin, InitProcessGroupKwargs

    from gen_msa.backends.hf import weights

    with fsdp.hide_fsdp_env():
        accelerator = Accelerator(
            cpu=weights.resolve_device(recipe.device) == "cpu",
            mixed_precision="no",
            gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
            kwargs_handlers=[InitProcessGroupKwargs(timeout=PROCESS_TIMEOUT)],
        )
    kind = str(accelerator.distributed_type.value)
    if not kind.startswith(_REPLICATED_TYPES):
        raise _unsupported_sharding(kind)
    return accelerator


def _unsupported_sharding(name: str) -> UserError:
    return UserError(
        f"{name} is not supported: gradients are checked before every update, and the model is "
        "judged and saved whole, for which it keeps both out of reach",
        hint="start it with torchrun, or with accelerate launch --multi_gpu; for a model too large "
        "for one GPU with --config_file finetune/accelerate/fsdp2.yaml, or quantization=nf4",
    )


def configure_ddp(accelerator: Any, params: Iterable[TrainableParam]) -> None:
    """Set how processes add up their gradients; before `accelerator.prepare`.

    A batch without a picture gives projector and tower no gradient, and one expert may be chosen by
    one process only: then the processes must not wait for it.
    """
    from accelerate.utils import DistributedDataParallelKwargs

    find_unused = any(t.kind in ("projector", "vision") or ".experts." in t.name for t in params)
    # No buffer is trained, so none has to be sent around.
    accelerator.ddp_handler = DistributedDataParallelKwargs(
        find_unused_parameters=find_unused, broadcast_buffers=False
    )


def assert_equal_across_ranks(accelerator: Any, name: str, value: str) -> None:
    """Raise `UserError` in every process unless all of them hold the same `value`."""
    if accelerator.num_processes == 1:
        return
    from accelerate.utils import gather_object

    values = gather_object([value])
    if len(set(values)) > 1:
        listing = ", ".join(f"process {i}: {v or 'none'}" for i, v in enumerate(values))
        raise UserError(
            f"the processes do not see the same {name} ({listing})",
            hint="data, cache and output_dir must lie where every process can read them",
        )


def leave(accelerator: Any, release: Callable[[], None]) -> None:
    """Part from the other processes, in all of them after their last step.

    `release` deletes the caller's references to name `accelerator.prepare` returned. DDP's reducer
    holds the process group, too: if it is the last that does, it ends gloo's threads while it holds
    the interpreter's lock, and waits for ever for a thread that needs the lock to end.
    """
    accelerator.wait_for_everyone()
    release()
    accelerator.free_memory()
    # Wrapped models are in cycles; those of accelerate are let go only after it has collected.
    gc.collect()
    accelerator.end_training()


def broadcast(accelerator: Any, value: float) -> float:
    """The main process' value, in all processes."""
    if accelerator.num_processes == 1:
        return value
    from accelerate.utils import broadcast_object_list

    return float(broadcast_object_list([value])[0])
