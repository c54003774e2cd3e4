"""Runs of a student that are killed at many file accesses and started again; one fork each.

A separate script, because a process that has run a backward pass cannot be forked. It prints one
JSON object a run: where it was killed, how both runs ended, which files are left.

    python -m tests.distillation.fault_injection FOLDER 20 text
"""

import importlib
import json
import os
import signal
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from gen_msa.distillation.loop import distill
from gen_msa.distillation.recipe import DistillRecipe
from gen_msa.types import Media
from tests.distillation.fake_models import two_optimizers, two_stage
from tests.fixtures.forked_process import call_on_file_access, evenly_spaced, run_in_fork
from tests.fixtures.tiny_students import TINY, example, write_examples, write_tokenizer

MODEL_CONFIGS = {
    "text": {**TINY, "dropout": 0.1},
    "self_mm": {**TINY, "sources": ["audio"]},
    **{double.__name__.rpartition(".")[2]: {} for double in (two_optimizers, two_stage)},
}
"""Student -> its hyper-parameters."""


def example_with_features(i):
    """Return an example with two steps of audio and of video features."""
    labelled_example = example(i)
    media = (
        Media(kind="features", path="sound.safetensors", key=f"{m}/{i}") for m in ("audio", "video")
    )
    return labelled_example.model_copy(
        update={"post": labelled_example.post.model_copy(update={"media": tuple(media)})}
    )


def build_recipe(folder, out, student="text", **overrides):
    return DistillRecipe(
        student=student,
        output_dir=str(out),
        data=({"source": str(folder / "train.jsonl")},),
        dev=({"source": str(folder / "dev.jsonl")},),
        config=MODEL_CONFIGS[student],
        pretrained=False,
        max_length=48,
        per_device_train_batch_size=8,
        learning_rate=1e-2,
        logging_steps=2,
        **{"num_train_epochs": 3, **overrides},
    )


def write_data(folder, n=16, *, odd_count=False):
    """Write the files that `build_recipe` names, two rows a post; return the tokenizer."""
    rng = torch.Generator().manual_seed(0)
    keys = (f"{m}/{i}" for m in ("audio", "video") for i in range(36))
    tensors = {key: torch.randn(2, 4, generator=rng) for key in keys}
    save_file(tensors, folder / "sound.safetensors")
    examples = [example_with_features(i) for i in range(n)]
    if odd_count:
        examples[-1] = examples[-1].model_copy(update={"opinions": examples[-1].opinions[:1]})
    write_examples(folder / "train.jsonl", examples)
    write_examples(folder / "dev.jsonl", [example_with_features(i) for i in range(30, 36)])
    return write_tokenizer(folder)


def run_files(out):
    """Return every file of the run by its last bytes, staging files and checkpoints included."""
    files = [p for p in sorted(out.rglob("*")) if p.is_file()]
    return {str(p.relative_to(out)): p.read_bytes().hex()[-200:] for p in files}


def kill_self():
    os.kill(os.getpid(), signal.SIGKILL)


def main(folder, n_points, student):
    tokenizer = write_data(folder)
    importlib.import_module("transformers.models.bert.modeling_bert")  # once, before the forks
    importlib.import_module("accelerate")
    # One folder name for all runs: the card contains it.
    out = folder / "now" / "out"
    # Within epochs too, where there is a row memory.
    overrides = {} if student == "text" else {"eval_steps": 3, "num_train_epochs": 2}

    def train():
        distill(build_recipe(folder, out, student, **overrides), tokenizer=tokenizer)

    def count():
        touched = call_on_file_access(str(out), lambda: None, nth=0, writes=False)
        train()
        (folder / "touches").write_text(str(len(touched)))

    def train_until_kill(touch):
        call_on_file_access(str(out), kill_self, nth=touch, writes=False)
        train()

    code, output = run_in_fork(count)
    assert code == 0, output
    print(json.dumps({"point": 0, "files": run_files(out)}), flush=True)
    for n in evenly_spaced(int((folder / "touches").read_text()), n_points):
        out.parent.rename(folder / f"before-{n}")
        code, _ = run_in_fork(lambda n=n: train_until_kill(n))
        resumed_code, resumed_output = run_in_fork(train)
        outcome = {
            "code": code,
            "resumed_code": resumed_code,
            "is_resumed": "resuming from" in resumed_output,
        }
        print(json.dumps({"point": n, **outcome, "files": run_files(out)}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
