"""Runs that are killed, or whose disk fills up, at every kind of place; one fork for each.

A script of its own, because a process that has once gone backward cannot be forked. It prints one
JSON object a fault: where, how the run ended, what it said, what is left, and how it went on.

    python -m tests.finetuning.faults killed RECIPE.yaml FOLDER 20
"""

import hashlib
import itertools
import json
import os
import resource
import signal
import sys
from pathlib import Path

from gen_msa import manifest, settings
from gen_msa.finetuning.loop import Run, finetune
from gen_msa.finetuning.recipe import Recipe
from tests.fixtures.forks import full, in_child, spread, watch

CURVE = ("step", "loss", "grad_norm", "learning_rate")


def left(out):
    """What lies in the folder of a run: whole checkpoints, the adapter, the curve, and drafts."""
    whole = [p.name for p in out.glob("checkpoint-*") if manifest.whole(p)]
    adapter = out / "adapter/adapter_model.safetensors"
    lines = (out / "log.jsonl").read_text().splitlines() if (out / "log.jsonl").exists() else []
    steps = [json.loads(line) for line in lines]
    return {
        "whole": sorted(whole),
        "broken": sorted({p.name for p in out.glob("checkpoint-*")} - set(whole)),
        "drafts": sorted(p.name for p in out.glob(".*.part")),
        "adapter_whole": manifest.whole(out / "adapter"),
        "adapter": hashlib.sha256(adapter.read_bytes()).hexdigest() if adapter.exists() else "",
        "curve": [[s[k] for k in CURVE] for s in steps if "loss" in s],
    }


class Bench:
    """One recipe, run again and again with another fault."""

    def __init__(self, said, folder):
        self.said = said
        self.folder = folder
        self.number = itertools.count()

        # Everything is imported once, before the forks; nothing goes backward.
        warm = Run(self._to(folder / "warm"))
        warm.tell()
        warm._judge()

    def _to(self, out):
        return self.said.model_copy(update={"output_dir": str(out)})

    def run(self, out, prepare=lambda: None):
        return in_child(lambda: (prepare(), finetune(self._to(out))))

    def touches(self, **how):
        """How often an undisturbed run touches what is watched."""
        out = self.folder / "counted"
        r, w = os.pipe()

        def count():
            seen = watch(how["where"], lambda: None, after=0, writes=how["writes"])
            finetune(self._to(out))
            os.write(w, str(len(seen)).encode())

        code, said = in_child(count)
        assert code == 0, said
        os.close(w)
        total = int(os.read(r, 20))
        os.close(r)
        self.tell(point=0, code=code, said="", now=left(out))
        return total

    def fault(self, point, prepare):
        out = self.folder / f"fault-{next(self.number)}"
        code, said = self.run(out, prepare)
        then = left(out)
        again, words = self.run(out)
        told = {"again": again, "words": words[-3000:], "after": left(out)}
        self.tell(point=point, code=code, said=said[-1500:], now=then, **told)

    def tell(self, **told):
        print(json.dumps(told), flush=True)


def killed(bench, points):
    """SIGKILL just before the n-th touch of a checkpoint's files."""
    how = {"where": "checkpoint-", "writes": False}

    def die():
        os.kill(os.getpid(), signal.SIGKILL)

    for n in spread(bench.touches(**how), points):
        bench.fault(n, lambda n=n: watch(**how, act=die, after=n))


def filled(bench, points):
    """No space from the n-th write to the output folder on."""
    how = {"where": str(bench.folder), "writes": True}
    for n in spread(bench.touches(**how), points):
        bench.fault(n, lambda n=n: watch(**how, act=full, after=n, still=True))


def limited(bench, points):
    """No file may grow beyond so many bytes: what safetensors writes by itself fails too."""
    bench.touches(where=str(bench.folder), writes=True)
    for size in range(4200, 4200 + 2500 * points, 2500):
        bench.fault(size, lambda size=size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)))


if __name__ == "__main__":
    kind, file, folder, points = sys.argv[1:]
    at = Bench(settings.load(Recipe, file), Path(folder))
    {"killed": killed, "filled": filled, "limited": limited}[kind](at, int(points))
