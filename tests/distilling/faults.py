"""Runs of a student that are killed at every kind of place and started again; one fork for each.

A script of its own, because a process that has once gone backward cannot be forked. It prints one
JSON object a run: where it was killed, how both runs ended, what is left.

    python -m tests.distilling.faults FOLDER 20 text
"""

import importlib
import json
import os
import signal
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from gen_msa.distilling.loop import distil
from gen_msa.distilling.recipe import Recipe
from gen_msa.types import Media
from tests.distilling.doubles import estimating, staging
from tests.fixtures.forks import in_child, spread, watch
from tests.fixtures.tiny_students import TINY, example, write_examples, write_tokenizer

NUMBERS = {
    "text": {**TINY, "dropout": 0.1},
    "self_mm": {**TINY, "sources": ["audio"]},
    **{double.__name__.rpartition(".")[2]: {} for double in (estimating, staging)},
}
"""Student -> its numbers."""


def heard(i):
    """An example with two steps of sound and of film."""
    one = example(i)
    media = (
        Media(kind="features", path="sound.safetensors", key=f"{m}/{i}") for m in ("audio", "video")
    )
    return one.model_copy(update={"post": one.post.model_copy(update={"media": tuple(media)})})


def recipe(folder, out, student="text", **changed):
    return Recipe(
        student=student,
        output_dir=str(out),
        data=({"source": str(folder / "train.jsonl")},),
        dev=({"source": str(folder / "dev.jsonl")},),
        numbers=NUMBERS[student],
        warm=False,
        max_length=48,
        per_device_train_batch_size=8,
        learning_rate=1e-2,
        logging_steps=2,
        **{"num_train_epochs": 3, **changed},
    )


def write_rows(folder, n=16, *, odd=False):
    """The files that `recipe` names; the words' own. Two rows a post; `odd`: one of the last."""
    dice = torch.Generator().manual_seed(0)
    keys = (f"{m}/{i}" for m in ("audio", "video") for i in range(36))
    sounds = {key: torch.randn(2, 4, generator=dice) for key in keys}
    save_file(sounds, folder / "sound.safetensors")
    found = [heard(i) for i in range(n)]
    if odd:
        found[-1] = found[-1].model_copy(update={"opinions": found[-1].opinions[:1]})
    write_examples(folder / "train.jsonl", found)
    write_examples(folder / "dev.jsonl", [heard(i) for i in range(30, 36)])
    return write_tokenizer(folder)


def left(out):
    """Every file of the run by its bytes; drafts and checkpoints too, should one be left."""
    files = [p for p in sorted(out.rglob("*")) if p.is_file()]
    return {str(p.relative_to(out)): p.read_bytes().hex()[-200:] for p in files}


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def main(folder, points, student):
    tokenizer = write_rows(folder)
    importlib.import_module("transformers.models.bert.modeling_bert")  # once, before the forks
    importlib.import_module("accelerate")
    # One name for all: the card tells it.
    out = folder / "now" / "out"
    # In the middle of epochs too, where there is a memory.
    changed = {} if student == "text" else {"eval_steps": 3, "num_train_epochs": 2}

    def train():
        distil(recipe(folder, out, student, **changed), tokenizer=tokenizer)

    def count():
        seen = watch(str(out), lambda: None, after=0, writes=False)
        train()
        (folder / "touches").write_text(str(len(seen)))

    def killed(n):
        watch(str(out), die, after=n, writes=False)
        train()

    code, said = in_child(count)
    assert code == 0, said
    print(json.dumps({"point": 0, "after": left(out)}), flush=True)
    for n in spread(int((folder / "touches").read_text()), points):
        out.parent.rename(folder / f"before-{n}")
        code, _ = in_child(lambda n=n: killed(n))
        again, words = in_child(train)
        told = {"code": code, "again": again, "on": "going on after" in words}
        print(json.dumps({"point": n, **told, "after": left(out)}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
