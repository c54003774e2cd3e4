"""Do runs of several processes end? Starts the same short run again and again and counts.

    python eval/bench/ending.py --runs 100 -- -m gen_msa.finetuning --recipe tiny_cpu max_steps=2
    python eval/bench/ending.py --runs 100 -- -m gen_msa.distillation --recipe text

What follows `--` goes to torchrun, with an output folder of its own for each run. A run that has
not ended after `--timeout` seconds is killed and counted as hung. Prints one line a run and one
JSON object; exits with 1 unless every run ended with 0. Knows nothing of what is trained.
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


def ended(command: Sequence[str], log: Path, seconds: float) -> str:
    """How a command ended within `seconds`: `0`, another exit code, or `hung`; its words in `log`.

    It and the processes that it started are killed when the time is over.
    """
    with log.open("wb") as out:
        ran = subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True)
    try:
        return str(ran.wait(seconds))
    except subprocess.TimeoutExpired:
        return "hung"
    finally:
        _kill(ran)


def _kill(ran: subprocess.Popen[bytes]) -> None:
    # torchrun gives its workers sessions of their own, so they are found by their parent.
    for child in _children(ran.pid):
        os.kill(child, signal.SIGKILL)
    ran.kill()
    ran.wait()


def _children(pid: int) -> list[int]:
    """Processes that `pid` started and that still run. Linux."""
    listed = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(p) for p in listed.read_text().split()] if listed.exists() else []


def main() -> int:
    """Run, count, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--timeout", type=float, default=180, help="seconds of one run")
    parser.add_argument("command", nargs="+", help="after `--`: what torchrun is to start")
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    found: Counter[str] = Counter()
    for number in range(1, given.runs + 1):
        with tempfile.TemporaryDirectory() as folder:
            start = [*TORCHRUN, "--nproc_per_node", str(given.processes), *given.command]
            log, began = Path(folder) / "log", time.monotonic()
            how = ended([*start, f"output_dir={folder}/out"], log, given.timeout)
            found[how] += 1
            sys.stdout.write(f"run {number}: {how} after {time.monotonic() - began:.0f} s\n")
            if how != "0":
                sys.stdout.write(log.read_text(errors="replace")[-2000:] + "\n")
            sys.stdout.flush()
    sys.stdout.write(json.dumps({"runs": given.runs, "ended": found["0"], "how": found}) + "\n")
    return int(found["0"] < given.runs)


if __name__ == "__main__":
    sys.exit(main())
