"""Measure what `gen-msa finetune practice_cpu` learns: dev scores of the untrained model and after.

    python eval/bench/practice.py [--seeds 3]

The untrained model is the same run, stopped after one step of a learning rate of 1e-12. A guess of
one label is right in a third. Each seed takes some minutes of one core.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

UNTRAINED = ["learning_rate=1e-12", "max_steps=1", "eval_steps=1", "save_steps=1"]


def dev_scores(folder: Path, *overrides: str) -> tuple[float, float]:
    """Run the recipe and return accuracy and macro-F1 on dev.

    Args:
        folder: Output folder of the run.
        *overrides: Further settings.
    """
    command = [sys.executable, "-m", "gen_msa", "finetune", "practice_cpu", f"output_dir={folder}"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run([*command, *overrides], check=True, env=environment, capture_output=True)
    metrics = json.loads((folder / "adapter" / "metrics.json").read_text("utf-8"))
    (source,) = metrics["dev"]["sources"]
    return source["accuracy"], source["macro_f1"]


def main() -> None:
    """Print a line for the untrained model and for each seed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        runs = {"untrained": UNTRAINED} | {f"seed {n}": [f"seed={n}"] for n in range(options.seeds)}
        for name, overrides in runs.items():
            start = time.perf_counter()
            accuracy, macro_f1 = dev_scores(Path(temporary) / name.replace(" ", "_"), *overrides)
            minutes = (time.perf_counter() - start) / 60
            print(f"{name}: accuracy {accuracy:.1%}, macro-F1 {macro_f1:.1%}, {minutes:.1f} min")


if __name__ == "__main__":
    main()
