"""Fine-tuning speed: rows per second of gen_msa and TRL's SFTTrainer, and of each optimization.

    GEN_MSA_DATA=... python eval/bench/finetune.py losses       # first 50 losses, same batches
    GEN_MSA_DATA=... python eval/bench/finetune.py mams         # SmolLM2-135M, prompt predict/brief
    GEN_MSA_DATA=... python eval/bench/finetune.py mams_full    # the same with prompt predict/full
    GEN_MSA_DATA=... python eval/bench/finetune.py mvsa         # the builtin model, with images
    python eval/bench/finetune.py --quick [--model FOLDER]      # a smoke test on packaged posts

TRL is not a dependency: `pip install trl==1.16.0`. Without it only gen_msa is measured. Each
contender is a process of one thread; two are loaded at a time. A lap is one pass over the same
posts; laps alternate, so that a busy machine is busy for both. Times are process CPU time without
the first lap. Speed is the median over laps; ratios are of laps of the same round, median and
range.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from finetuners import Contender, Lap, Spec, tables, theirs, trials


def run_rounds(specs: Sequence[Spec], laps: int) -> Iterator[tuple[Spec, list[Lap], list[Lap]]]:
    """Run each contender in turn beside the first one.

    Two are loaded at a time, and they alternate in going first. The first lap of each is left out.

    Args:
        specs: The contenders.
        laps: Measured laps of each.

    Returns:
        Each contender with its laps and those of the first in the same rounds.
    """
    with Contender(specs[0]) as ours:
        ours.lap()
        for spec in specs[1:]:
            rounds: list[dict[Contender, Lap]] = []
            with Contender(spec) as other:
                other.lap()
                for number in range(laps):
                    order = (ours, other) if number % 2 else (other, ours)
                    rounds.append({contender: contender.lap() for contender in order})
            yield spec, [r[other] for r in rounds], [r[ours] for r in rounds]


def measure(trial: str, options: argparse.Namespace) -> dict[str, Any]:
    """Return one table of speeds.

    Args:
        trial: The name of the trial.
        options: The command-line options.
    """
    lines, ours = [], []
    with trials.models(trial, options.model) as model:
        specs = trials.specs(trial, model, options)
        for spec, theirs_laps, ours_laps in run_rounds(specs, options.laps):
            ours += ours_laps
            lines.append(tables.line(spec, theirs_laps, ours_laps))
            print(json.dumps(lines[-1]), file=sys.stderr, flush=True)
    return {
        "trial": trial,
        "posts": options.posts,
        "laps": options.laps,
        "seed": options.seed,
        "recipe": list(specs[0].recipe),
        "tasks": [tables.line(specs[0], ours, ours), *lines],
    }


def losses(options: argparse.Namespace) -> dict[str, Any]:
    """Return the losses of the first steps on equal batches, and their differences."""
    with trials.models("losses", options.model) as model, tempfile.TemporaryDirectory() as folder:
        specs = trials.same_batches(model, Path(folder), options)
        loss_curves = []
        for spec in specs:
            with Contender(spec) as contender:
                loss_curves.append(contender.lap().losses)
    differences = [abs(a - b) / abs(b) for a, b in zip(*loss_curves, strict=True)]
    return {
        "trial": "losses",
        "steps": len(differences),
        "seed": options.seed,
        "first": loss_curves[0][0],
        "last": loss_curves[0][-1],
        "largest_relative_difference": max(differences),
        "median_relative_difference": statistics.median(differences),
    }


def machine() -> str:
    """Return the machine and its load."""
    import torch
    import transformers

    load = f"load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return ", ".join(
        [
            platform.machine(),
            f"{os.cpu_count()} cores",
            torch.backends.cpu.get_cpu_capability(),
            f"Python {platform.python_version()}",
            f"torch {torch.__version__}",
            f"transformers {transformers.__version__}",
            load,
        ]
    )


def main() -> None:
    """Print one JSON line per table, and the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("trial", nargs="*", help=f"of {', '.join(trials.NAMES)}; all without one")
    parser.add_argument("--quick", action="store_true", help="one lap over eight packaged posts")
    parser.add_argument("--model", default="", help="a folder to use instead of the trial's model")
    parser.add_argument("--posts", type=int, default=32)
    parser.add_argument("--laps", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="contenders whose names have one of these: a|b")
    options = parser.parse_args()
    if theirs.missing():
        print(f"TRL is left out; to measure it: {theirs.missing()}", file=sys.stderr)
    if options.quick:
        options.posts, options.laps = 8, 1
    print(machine(), flush=True)
    for trial in ["quick"] if options.quick else options.trial or trials.NAMES:
        report = losses(options) if trial == "losses" else measure(trial, options)
        print(json.dumps(report), flush=True)
        if "tasks" in report:
            print(tables.table(report["tasks"]))


if __name__ == "__main__":
    main()
