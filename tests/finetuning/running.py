"""Whole runs on tiny random models saved to a folder: recipes, and what a run leaves.

Also a script, for launchers of several processes: it runs recipes one after the other, `@2` from
their second checkpoint on, and each process writes down what it saw.

    torchrun --nproc_per_node 2 -m tests.finetuning.running FOLDER A.yaml A.yaml@2
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
from gen_msa.finetuning import sharding
from gen_msa.finetuning.recipe import Recipe
from tests.backends.trained import saved

ROOT = Path(__file__).parents[2]
SPEAKS = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}


def base(folder, family="llama"):
    """A tiny model's folder, saved once."""
    return folder if (folder / "config.json").exists() else saved(family, folder)


def recipe(model, out, *, limit=6, **given):
    """Six shipped posts, two a batch, four steps; quick, and without any random draw."""
    told = {
        "model_name_or_path": str(model),
        "output_dir": str(out),
        "data": [{"source": "tiny", "prompt": "reader/brief", "limit": limit}],
        "reading": {"cues": {}, "max_new_tokens": 4},
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
    return settings.build(Recipe, {**told, **given}, "test")


def written(said, path):
    """The recipe as a file."""
    settings.save(said, path)
    return path


def log(out, *names):
    """The logged steps of a run, whole or only some of their figures."""
    rows = [json.loads(line) for line in (Path(out) / "log.jsonl").read_text().splitlines()]
    steps = [r for r in rows if "loss" in r]
    return [tuple(r[n] for n in names) if len(names) > 1 else r[names[0]] for r in steps]


class Stopped(Exception):
    """The plug was pulled."""


def interrupted(said, *, after):
    """A run that is cut off before step `after + 1` has ended."""
    from gen_msa.finetuning.loop import Run

    run = Run(said)
    real, count = run.stepper.optimizer.step, itertools.count(1)

    def step():
        if next(count) > after:
            raise Stopped
        real()

    run.stepper.optimizer.step = step
    run.tell()
    run.resume()
    with suppress(Stopped):
        run.train()
        raise AssertionError("it was not stopped")


def checkpoints(out):
    """The steps of which there is a checkpoint."""
    return sorted(int(p.name.rpartition("-")[2]) for p in Path(out).glob("checkpoint-*"))


def weights(run):
    """A copy of what a run trains, whole if it is split."""
    trained = {n: p.detach().clone() for n, p in run.model.named_parameters() if p.requires_grad}
    return sharding.whole(trained, main=True)


def start(*command, processes=1, timeout=280, **environment):
    """A script or `-m module` in a process of its own, or in several that meet; what it said."""
    several = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    return subprocess.run(
        [sys.executable, *(several if processes > 1 else []), *map(str, command)],
        cwd=ROOT,
        env={**os.environ, **SPEAKS, **environment},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def _run(name):
    """One recipe in this process; what it saw of it."""
    from gen_msa.finetuning.loop import Run

    file, _, step = name.partition("@")
    run = Run(settings.load(Recipe, file))
    if step and run.accelerator.is_main_process:
        for later in run.folder.glob("checkpoint-*"):
            if int(later.name.rpartition("-")[2]) > int(step):
                shutil.rmtree(later)
    run.accelerator.wait_for_everyone()
    run.tell()
    run.probe()
    run.resume()
    began = run.progress.step
    run.train()
    run.accelerator.wait_for_everyone()
    made = [b for step in run.planner.left(0) for b in run.planner.batches(step)]
    total = hashlib.sha256()
    for weight in weights(run).values():
        total.update(weight.numpy().tobytes())
    return {
        "processes": run.accelerator.num_processes,
        "kind": run.accelerator.distributed_type.value,
        "split": run.stepper.split,
        "posts": len(run.prepared.lines),
        "empty": sum(not b.names for b in made),
        "pictured": ["pixel_values" in b.inputs for b in made],
        "began": began,
        "rows": run.progress.rows,
        "best": run.progress.best,
        "weights": total.hexdigest(),
        "curve": log(run.folder, "step", "loss", "grad_norm"),
    }


if __name__ == "__main__":
    place, *names = sys.argv[1:]
    seen = [_run(name) for name in names]
    rank = os.environ.get("RANK", "0")
    (Path(place) / f"saw-{rank}.json").write_text(json.dumps(seen))
