"""How long `gen-msa --help` takes, against an empty Python start in the same run.

    python eval/bench/help.py [RUNS]

Wall time, median: what a person waits for.
"""

import json
import statistics
import subprocess
import sys
import time


def seconds(*command: str) -> float:
    """Wall time of one command."""
    began = time.perf_counter()
    subprocess.run([sys.executable, *command], check=True, capture_output=True)
    return time.perf_counter() - began


def main(runs: int) -> None:
    """Measure interleaved, and print one JSON line."""
    bare: list[float] = []
    ours: list[float] = []
    for _ in range(runs):
        bare.append(seconds("-c", "pass"))
        ours.append(seconds("-m", "gen_msa", "--help"))
    median = statistics.median(ours)
    report = {
        "runs": runs,
        "help_seconds": round(median, 3),
        "python_seconds": round(statistics.median(bare), 3),
        "within_0.4_s": median <= 0.4,
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7)
