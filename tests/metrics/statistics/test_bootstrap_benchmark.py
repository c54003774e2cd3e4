"""Test that the benchmark of the bootstrap runs, with the same intervals as its peers."""

import json
import subprocess
import sys
from pathlib import Path

import gen_msa

SCRIPT = Path(gen_msa.__file__).parent.parent / "eval/bench/bootstrap.py"


def test_bootstrap_benchmark_agrees_with_scipy_and_numpy():
    process = subprocess.run(
        [sys.executable, str(SCRIPT), "--quick"], capture_output=True, text=True, timeout=120
    )
    assert process.returncode == 0, process.stderr
    report = json.loads(process.stdout)
    assert set(report["cpu_seconds"]) == {"ours", "scipy.stats.bootstrap", "numpy loop"}
    assert all(s > 0 for s in report["cpu_seconds"].values())
    assert report["systems"] == 5
    assert report["largest_gap_to_scipy"] < 0.1  # 200 replicates
