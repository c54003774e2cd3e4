"""Complete runs on tiny random models saved to a folder: recipes, and what a run leaves.

Also a script, for launchers of several processes: it runs recipes one after the other, `@2` from
their second checkpoint on, and each process writes a summary.

    torchrun --nproc_per_node 2 -m tests.finetuning.run_recipes FOLDER A.yaml A.yaml@2
"""

import hashlib
import itertools
import json
import os
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from gen_msa import settings
from gen_msa.finetuning.recipe import FinetuneRecipe
from gen_msa.training import fsdp
from tests.backends.tiny_adapters import saved

ROOT = Path(__file__).parents[2]
SUBPROCESS_ENV = {
    "PYTHONPATH": str(ROOT),
    "OMP_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


def save_tiny_model(folder, family="llama"):
    """Save a tiny model to a folder, once."""
    return folder if (folder / "config.json").exists() else saved(family, folder)


def build_recipe(model, out, *, limit=6, **overrides):
    """Six packaged posts, two per batch, four steps; fast, and without random draws."""
    defaults = {
        "model_name_or_path": str(model),
        "output_dir": str(out),
        "data": [{"source": "tiny", "prompt": "predict/brief", "limit": limit}],
        "inference": {"cues": {}, "max_new_tokens": 4},
        "device": "cpu",
        "lora_rank": 4,
        "lora_dropout": 0.0,
        "per_device_train_batch_size": 2,
        "max_steps": 4,
        "save_steps": 1,
        "save_total_limit": 10,
        "learning_rate": 0.01,
        "logging_steps": 1,
    }
    return settings.build(FinetuneRecipe, {**defaults, **overrides}, "test")


def write_recipe(recipe, path):
    """Write the recipe to a file."""
    settings.save(recipe, path)
    return path


def read_log(out, *keys):
    """The logged steps of a run, or some of their values."""
    log_rows = [json.loads(line) for line in (Path(out) / "log.jsonl").read_text().splitlines()]
    steps = [r for r in log_rows if "loss" in r]
    return [tuple(r[n] for n in keys) if len(keys) > 1 else r[keys[0]] for r in steps]


class Stopped(Exception):
    """The run was interrupted."""


def run_interrupted(recipe, *, after):
    """Interrupt a run before step `after + 1` has ended."""
    from gen_msa.finetuning.loop import FinetuneRun

    run = FinetuneRun(recipe)
    original_step, count = run.train_step.optimizer.step, itertools.count(1)

    def step():
        if next(count) > after:
            raise Stopped
        original_step()

    run.train_step.optimizer.step = step
    run.log_start()
    run.resume()
    with suppress(Stopped):
        run.train()
        raise AssertionError("the run was not interrupted")


def checkpoint_steps(out):
    """The steps that have a checkpoint."""
    return sorted(int(p.name.rpartition("-")[2]) for p in Path(out).glob("checkpoint-*"))


def trained_weights(run):
    """A copy of the trained weights, gathered if the model is sharded."""
    params = {n: p.detach().clone() for n, p in run.model.named_parameters() if p.requires_grad}
    return fsdp.gather_full(params, is_main=True)


def run_process(*command, processes=1, timeout=280, **environment):
    """Run a script or `-m module` in one process, or in several under torchrun."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    return subprocess.run(
        [sys.executable, *(torchrun if processes > 1 else []), *map(str, command)],
        cwd=ROOT,
        env={**os.environ, **SUBPROCESS_ENV, **environment},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def _run_recipe(name):
    """Run one recipe in this process and summarize it."""
    from gen_msa.finetuning.loop import FinetuneRun

    file, _, step = name.partition("@")
    run = FinetuneRun(settings.load(FinetuneRecipe, file))
    if step and run.accelerator.is_main_process:
        for later_checkpoint in run.folder.glob("checkpoint-*"):
            if int(later_checkpoint.name.rpartition("-")[2]) > int(step):
                shutil.rmtree(later_checkpoint)
    run.accelerator.wait_for_everyone()
    run.log_start()
    run.probe()
    run.resume()
    first_step = run.state.step
    run.train()
    run.accelerator.wait_for_everyone()
    step_batches = [
        b for step in run.sampler.remaining_steps(0) for b in run.sampler.step_batches(step)
    ]
    digest = hashlib.sha256()
    for weight in trained_weights(run).values():
        digest.update(weight.numpy().tobytes())
    return {
        "processes": run.accelerator.num_processes,
        "backend": run.accelerator.distributed_type.value,
        "sharded": run.train_step.sharded,
        "posts": len(run.prepared.sequences),
        "empty": sum(not b.names for b in step_batches),
        "has_images": ["pixel_values" in b.inputs for b in step_batches],
        "first_step": first_step,
        "rows": run.state.rows,
        "best": run.state.best_score,
        "weights": digest.hexdigest(),
        "curve": read_log(run.folder, "step", "loss", "grad_norm"),
    }


if __name__ == "__main__":
    out_dir, *names = sys.argv[1:]
    summaries = [_run_recipe(name) for name in names]
    rank = os.environ.get("RANK", "0")
    (Path(out_dir) / f"summary-{rank}.json").write_text(json.dumps(summaries))
