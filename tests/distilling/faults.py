"""Runs of a student that are killed at every kind of place and started again; one fork for each.

A script of its own, because a process that has once gone backward cannot be forked. It prints one
JSON object a run: where it was killed, how both runs ended, what is left.

    python -m tests.distilling.faults FOLDER 20
"""

import importlib
import json
import os
import signal
import sys
from pathlib import Path

from gen_msa.distilling.loop import distil
from gen_msa.distilling.recipe import Recipe
from tests.fixtures.forks import in_child, spread, watch
from tests.fixtures.tiny_students import TINY, example, write_examples, write_tokenizer


def recipe(folder, out):
    return Recipe(
        output_dir=str(out),
        data=({"source": str(folder / "train.jsonl")},),
        dev=({"source": str(folder / "dev.jsonl")},),
        numbers={**TINY, "dropout": 0.1},
        warm=False,
        max_length=48,
        per_device_train_batch_size=8,
        num_train_epochs=3,
        learning_rate=1e-2,
        logging_steps=2,
    )


def left(out):
    """Every file of the run by its bytes; drafts and checkpoints too, should one be left."""
    files = [p for p in sorted(out.rglob("*")) if p.is_file()]
    return {str(p.relative_to(out)): p.read_bytes().hex()[-200:] for p in files}


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def main(folder, points):
    write_examples(folder / "train.jsonl", [example(i) for i in range(16)])
    write_examples(folder / "dev.jsonl", [example(i) for i in range(30, 36)])
    tokenizer = write_tokenizer(folder)
    importlib.import_module("transformers.models.bert.modeling_bert")  # once, before the forks
    # One name for all: the card tells it.
    out = folder / "now" / "out"

    def train():
        distil(recipe(folder, out), tokenizer=tokenizer)

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
    main(Path(sys.argv[1]), int(sys.argv[2]))
