"""Do runs of several processes end? Starts the same short run again and again and counts.

    python eval/bench/ending.py --runs 100 -- -m gen_msa.finetuning --recipe tiny_cpu max_steps=2
    python eval/bench/ending.py --runs 100 -- -m gen_msa.distillation --recipe text

What follows `--` goes to torchrun, with an output folder of its own for each run. A run that has
not ended after `--timeout` seconds is killed and counted as hung. Prints one line a run and one
JSON object; exits with 1 unless every run ended with 0.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone"]


def run_to_end(command: Sequence[str], log: Path, seconds: float) -> str:
    """Run a command and return how it ended: `0`, another exit code, or `hung`.

    It and the processes that it started are killed when the time is over.

    Args:
        command: The command.
        log: A file for its output.
        seconds: How long it may run.
    """
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True)
    try:
        return str(process.wait(seconds))
    except subprocess.TimeoutExpired:
        return "hung"
    finally:
        _kill(process)


def _kill(process: subprocess.Popen[bytes]) -> None:
    # torchrun gives its workers sessions of their own, so they are found by their parent.
    for child in _children(process.pid):
        os.kill(child, signal.SIGKILL)
    process.kill()
    process.wait()


def _children(pid: int) -> list[int]:
    """Return the processes that `pid` started and that still run. Linux only."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(p) for p in children.read_text().split()] if children.exists() else []


def main() -> int:
    """Run the command again and again; count and print how it ended."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--timeout", type=float, default=180, help="seconds of one run")
    parser.add_argument("command", nargs="+", help="after `--`: what torchrun starts")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    outcomes: Counter[str] = Counter()
    for number in range(1, options.runs + 1):
        with tempfile.TemporaryDirectory() as folder:
            command = [*TORCHRUN, "--nproc_per_node", str(options.processes), *options.command]
            log, started_at = Path(folder) / "log", time.monotonic()
            outcome = run_to_end([*command, f"output_dir={folder}/out"], log, options.timeout)
            outcomes[outcome] += 1
            sys.stdout.write(
                f"run {number}: {outcome} after {time.monotonic() - started_at:.0f} s\n"
            )
            if outcome != "0":
                sys.stdout.write(log.read_text(errors="replace")[-2000:] + "\n")
            sys.stdout.flush()
    sys.stdout.write(
        json.dumps({"runs": options.runs, "ended": outcomes["0"], "outcomes": outcomes}) + "\n"
    )
    return int(outcomes["0"] < options.runs)


if __name__ == "__main__":
    sys.exit(main())
