"""Whole runs on tiny random models saved to a folder: recipes, what a run leaves, and its faults.

Also a script, which runs a recipe file as any launcher would, with a fault put in if asked for:

    python -m tests.finetuning.running RECIPE.yaml [--nan STEP] [--kill AFTER_FILES]
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import torch

from gen_msa import settings
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


def weights(run):
    """A copy of what a run trains."""
    return {n: p.detach().clone() for n, p in run.model.named_parameters() if p.requires_grad}


def start(file, *options, processes=1, timeout=240, **environment):
    """The script below in a process of its own, or in several that meet; what it said."""
    several = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    command = [sys.executable, *(several if processes > 1 else []), "-m", __name__, str(file)]
    return subprocess.run(
        [*command, *map(str, options)],
        cwd=ROOT,
        env={**os.environ, **SPEAKS, **environment},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
