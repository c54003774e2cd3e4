"""Runs that are killed, or whose disk fills up, at every stage of writing; one fork for each.

A separate script, because a process that has run backward once cannot be forked. It prints one JSON
object per fault: the point, how the run ended, its output, what is on disk, and the resumed run.

    python -m tests.finetuning.fault_injection kill RECIPE.yaml FOLDER 20
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
from gen_msa.finetuning.loop import FinetuneRun, finetune
from gen_msa.finetuning.recipe import FinetuneRecipe
from tests.fixtures.forked_process import (
    call_on_file_access,
    evenly_spaced,
    raise_disk_full,
    run_in_fork,
)

CURVE_FIELDS = ("step", "loss", "grad_norm", "learning_rate")


def run_state(out):
    """What the folder of a run holds: complete checkpoints, adapter, curve, staging folders."""
    complete = [p.name for p in out.glob("checkpoint-*") if manifest.is_intact(p)]
    adapter = out / "adapter/adapter_model.safetensors"
    log_lines = (out / "log.jsonl").read_text().splitlines() if (out / "log.jsonl").exists() else []
    log_rows = [json.loads(line) for line in log_lines]
    return {
        "complete": sorted(complete),
        "incomplete": sorted({p.name for p in out.glob("checkpoint-*")} - set(complete)),
        "staging_folders": sorted(p.name for p in out.glob(".*.part")),
        "adapter_complete": manifest.is_intact(out / "adapter"),
        "adapter": hashlib.sha256(adapter.read_bytes()).hexdigest() if adapter.exists() else "",
        "curve": [[s[k] for k in CURVE_FIELDS] for s in log_rows if "loss" in s],
    }


class FaultHarness:
    """One recipe, run repeatedly with different faults."""

    def __init__(self, recipe, folder):
        self.recipe = recipe
        self.folder = folder
        self.counter = itertools.count()

        # Everything is imported once, before the forks; no backward pass is run.
        first_run = FinetuneRun(self._with_output_dir(folder / "first-run"))
        first_run.log_start()
        first_run._validate()

    def _with_output_dir(self, out):
        return self.recipe.model_copy(update={"output_dir": str(out)})

    def run(self, out, prepare=lambda: None):
        return run_in_fork(lambda: (prepare(), finetune(self._with_output_dir(out))))

    def count_touches(self, **watch_options):
        """Count how often a run without faults accesses the watched files."""
        out = self.folder / "counted"
        r, w = os.pipe()

        def count():
            touched = call_on_file_access(
                watch_options["where"], lambda: None, nth=0, writes=watch_options["writes"]
            )
            finetune(self._with_output_dir(out))
            os.write(w, str(len(touched)).encode())

        code, output = run_in_fork(count)
        assert code == 0, output
        os.close(w)
        total = int(os.read(r, 20))
        os.close(r)
        self.report(point=0, code=code, output="", state=run_state(out))
        return total

    def inject(self, point, prepare):
        out = self.folder / f"fault-{next(self.counter)}"
        code, output = self.run(out, prepare)
        state_after_fault = run_state(out)
        resumed_code, resumed_output = self.run(out)
        resumed = {
            "resumed_code": resumed_code,
            "resumed_output": resumed_output[-3000:],
            "resumed_state": run_state(out),
        }
        self.report(
            point=point, code=code, output=output[-1500:], state=state_after_fault, **resumed
        )

    def report(self, **fields):
        print(json.dumps(fields), flush=True)


def inject_kills(harness, n_points):
    """SIGKILL just before the n-th access to a checkpoint's files."""
    watch_options = {"where": "checkpoint-", "writes": False}

    def die():
        os.kill(os.getpid(), signal.SIGKILL)

    for n in evenly_spaced(harness.count_touches(**watch_options), n_points):
        harness.inject(n, lambda n=n: call_on_file_access(**watch_options, callback=die, nth=n))


def inject_full_disk(harness, n_points):
    """No space left from the n-th write to the output folder on."""
    watch_options = {"where": str(harness.folder), "writes": True}
    for n in evenly_spaced(harness.count_touches(**watch_options), n_points):
        harness.inject(
            n,
            lambda n=n: call_on_file_access(
                **watch_options, callback=raise_disk_full, nth=n, repeat=True
            ),
        )


def inject_file_size_limit(harness, n_points):
    """A limit on the size of every file: writes by safetensors itself fail too."""
    harness.count_touches(where=str(harness.folder), writes=True)
    for size in range(4200, 4200 + 2500 * n_points, 2500):
        harness.inject(
            size, lambda size=size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        )


if __name__ == "__main__":
    fault_kind, recipe_file, folder, points = sys.argv[1:]
    fault_harness = FaultHarness(settings.load(FinetuneRecipe, recipe_file), Path(folder))
    {
        "kill": inject_kills,
        "full_disk": inject_full_disk,
        "file_size_limit": inject_file_size_limit,
    }[fault_kind](fault_harness, int(points))
